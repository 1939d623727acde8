#include "stages/sample.h"
#include "gpu/math.h"

#include <stdlib.h>

/* Behind the real vocabulary's last token its embedding has rows that no token has (docs/model.md, section 6). */
enum { REAL_VOCABULARY = 200064, REAL_TOKENS = 200032 };

enum { PHILOX_ROUNDS = 10 };

void pk_philox(uint32_t out[4], const uint32_t counter[4], const uint32_t key[2])
{
    uint32_t a = counter[0], b = counter[1], c = counter[2], d = counter[3], k0 = key[0], k1 = key[1];
    for (int round = 0; round < PHILOX_ROUNDS; round++) {
        uint64_t p0 = (uint64_t)0xd2511f53u * a, p1 = (uint64_t)0xcd9e8d57u * c;
        a = (uint32_t)(p1 >> 32) ^ b ^ k0;
        b = (uint32_t)p1;
        c = (uint32_t)(p0 >> 32) ^ d ^ k1;
        d = (uint32_t)p0;
        k0 += 0x9e3779b9u;
        k1 += 0xbb67ae85u;
    }
    out[0] = a;
    out[1] = b;
    out[2] = c;
    out[3] = d;
}

double pk_sample_uniform(const pk_sample *sample, uint32_t position)
{
    const uint32_t key[2] = {(uint32_t)sample->seed, (uint32_t)(sample->seed >> 32)};
    const uint32_t counter[4] = {(uint32_t)sample->prompt_hash, (uint32_t)(sample->prompt_hash >> 32), sample->choice,
                                 position};
    uint32_t words[4];
    pk_philox(words, counter, key);
    return (double)(((uint64_t)words[1] << 32 | words[0]) >> 11) * 0x1p-53;
}

/* Sorts ascending by order, then by id. */
typedef struct {
    uint32_t order; /* of the logit: smaller is better */
    uint32_t id;
} candidate;

struct pk_sampler {
    size_t tokens; /* ids that may be chosen */
    candidate *candidates, *other;
    double *masses;
};

pk_err pk_sampler_open(pk_sampler **out, size_t vocabulary)
{
    pk_sampler *sampler = calloc(1, sizeof *sampler);
    if (!sampler)
        return pk_fail(PK_NOMEM, "a sampler");
    sampler->tokens = vocabulary == REAL_VOCABULARY ? REAL_TOKENS : vocabulary;
    sampler->candidates = calloc(sampler->tokens, sizeof *sampler->candidates);
    sampler->other = calloc(sampler->tokens, sizeof *sampler->other);
    sampler->masses = calloc(sampler->tokens, sizeof *sampler->masses);
    *out = sampler;
    if (sampler->candidates && sampler->other && sampler->masses)
        return PK_OK;
    pk_sampler_close(out);
    return pk_fail(PK_NOMEM, "a sampler of %zu tokens", vocabulary);
}

void pk_sampler_close(pk_sampler **sampler)
{
    if (!*sampler)
        return;
    free((*sampler)->candidates);
    free((*sampler)->other);
    free((*sampler)->masses);
    free(*sampler);
    *sampler = NULL;
}

/* exp of the distance to the best logit, 1 for the best even where both are infinite. */
static double mass_of(float logit, float best, double temperature)
{
    return logit == best ? 1.0 : pk_exp(((double)logit - (double)best) / temperature);
}

/* An integer that falls as the logit rises; both zeros are one. */
static uint32_t order_of(float logit)
{
    float value = logit + 0.0f;
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits & 0x80000000u ? bits : ~(bits | 0x80000000u);
}

enum { DIGIT_BITS = 11, DIGITS = 1 << DIGIT_BITS, PASSES = 3 };

static void sort_by_digit(candidate *to, const candidate *from, size_t count, unsigned shift)
{
    uint32_t starts[DIGITS] = {0}, sum = 0;
    for (size_t i = 0; i < count; i++)
        starts[from[i].order >> shift & (DIGITS - 1)]++;
    for (size_t digit = 0; digit < DIGITS; digit++) {
        uint32_t here = starts[digit];
        starts[digit] = sum;
        sum += here;
    }
    for (size_t i = 0; i < count; i++)
        to[starts[from[i].order >> shift & (DIGITS - 1)]++] = from[i];
}

/* Least digit first, each pass stable: equals stay in the order of their ids. */
static const candidate *sort_candidates(pk_sampler *s, const float *logits)
{
    candidate *from = s->candidates, *to = s->other;
    for (uint32_t id = 0; id < s->tokens; id++)
        from[id] = (candidate){.order = order_of(logits[id]), .id = id};
    for (unsigned pass = 0; pass < PASSES; pass++) {
        sort_by_digit(to, from, s->tokens, pass * DIGIT_BITS);
        candidate *sorted = to;
        to = from;
        from = sorted;
    }
    return from;
}

static double sum(const double *values, size_t count)
{
    double total = 0.0;
    for (size_t i = 0; i < count; i++)
        total += values[i];
    return total;
}

/* How many of the best candidates stay. masses [count], falling. */
static size_t keep(const double *masses, size_t count, const pk_sample *sample)
{
    size_t kept = count;
    if (sample->top_p < 1.0f) {
        double enough = (double)sample->top_p * sum(masses, count), reached = masses[0];
        for (kept = 1; kept < count && reached < enough; kept++)
            reached += masses[kept];
    }
    while (kept > 1 && masses[kept - 1] < (double)sample->min_p) /* the best has mass 1 */
        kept--;
    return kept;
}

static uint32_t draw(pk_sampler *s, const float *logits, const pk_sample *sample, uint32_t position)
{
    const candidate *candidates = sort_candidates(s, logits);
    size_t count = sample->top_k && sample->top_k < s->tokens ? sample->top_k : s->tokens;
    for (size_t i = 0; i < count; i++)
        s->masses[i] = mass_of(logits[candidates[i].id], logits[candidates[0].id], (double)sample->temperature);
    count = keep(s->masses, count, sample);
    double target = pk_sample_uniform(sample, position) * sum(s->masses, count), reached = s->masses[0];
    size_t chosen = 0;
    while (chosen + 1 < count && reached <= target)
        reached += s->masses[++chosen];
    return candidates[chosen].id;
}

/* The first of the largest; false when a NaN is among them. */
static bool find_best(const float *logits, size_t count, uint32_t *best)
{
    *best = 0;
    for (uint32_t id = 0; id < count; id++) {
        if (logits[id] != logits[id])
            return false;
        if (logits[id] > logits[*best])
            *best = id;
    }
    return true;
}

static float log_probability(const float *logits, size_t count, uint32_t token, float best)
{
    double total = 0.0, distance = logits[token] == best ? 0.0 : (double)logits[token] - (double)best;
    for (size_t id = 0; id < count; id++)
        total += mass_of(logits[id], best, 1.0);
    return (float)(distance - pk_log(total));
}

pk_answer pk_sampler_choose(pk_sampler *sampler, const float *logits, const pk_sample *sample, uint32_t position)
{
    uint32_t best, token;
    if (!find_best(logits, sampler->tokens, &best))
        return (pk_answer){.token = -1, .status = PK_ANSWER_NAN};
    token = sample->temperature > 0.0f ? draw(sampler, logits, sample, position) : best;
    return (pk_answer){.token = (int32_t)token,
                       .logprob = log_probability(logits, sampler->tokens, token, logits[best]),
                       .status = PK_ANSWER_OK};
}
