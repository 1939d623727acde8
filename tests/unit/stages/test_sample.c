#include "stages/sample.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void philox_gives_the_published_numbers(void **state)
{
    static const struct {
        uint32_t counter[4], key[2], expected[4];
    } vectors[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    (void)state;
    for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) {
        uint32_t out[4];
        pk_philox(out, vectors[i].counter, vectors[i].key);
        assert_memory_equal(out, vectors[i].expected, sizeof out);
    }
}

static void seed_prompt_choice_and_position_are_key_and_counter(void **state)
{
    (void)state;
    pk_sample sample = {.seed = 0x299f31d0a4093822, .prompt_hash = 0x85a308d3243f6a88, .choice = 0x13198a2e};
    uint64_t bits = (0x94fdccebd16cfe09u) >> 11;
    double u = pk_sample_uniform(&sample, 0x03707344);
    assert_true(u == (double)bits / 9007199254740992.0);
    assert_true(u >= 0.0 && u < 1.0);
}

static pk_answer choose(const float *logits, size_t count, pk_sample sample, uint32_t position)
{
    pk_sampler *sampler;
    assert_int_equal(pk_sampler_open(&sampler, count), PK_OK);
    pk_answer answer = pk_sampler_choose(sampler, logits, &sample, position);
    pk_sampler_close(&sampler);
    return answer;
}

static void greedy_takes_the_lowest_id_among_equals(void **state)
{
    (void)state;
    const float logits[] = {1, 5, -3, 5, 5};
    pk_answer answer = choose(logits, 5, (pk_sample){.top_p = 1}, 0);
    assert_int_equal(answer.status, PK_ANSWER_OK);
    assert_int_equal(answer.token, 1);
    double total = exp(-4) + 3 + exp(-8);
    assert_true(fabs((double)answer.logprob + log(total)) < 1e-6);
}

static void a_nan_is_no_answer(void **state)
{
    (void)state;
    const float logits[] = {1, NAN, 3};
    for (int t = 0; t < 2; t++) {
        pk_answer answer = choose(logits, 3, (pk_sample){.temperature = (float)t, .top_p = 1}, 0);
        assert_int_equal(answer.status, PK_ANSWER_NAN);
        assert_int_equal(answer.token, -1);
    }
}

static void infinities_are_certainties(void **state)
{
    (void)state;
    const float logits[] = {1, -INFINITY, INFINITY, 3};
    for (int t = 0; t < 2; t++)
        for (uint32_t position = 0; position < 50; position++) {
            pk_answer answer = choose(logits, 4, (pk_sample){.temperature = (float)t, .top_p = 1}, position);
            assert_int_equal(answer.token, 2);
            assert_true(answer.logprob == 0.0f);
        }
}

static void padding_of_the_real_vocabulary_is_never_chosen(void **state)
{
    (void)state;
    float *logits = calloc(200064, sizeof *logits);
    assert_non_null(logits);
    logits[200031] = 5;
    logits[200032] = 9;
    logits[200063] = NAN;
    pk_answer answer = choose(logits, 200064, (pk_sample){.top_p = 1}, 0);
    assert_int_equal(answer.token, 200031);
    assert_true(fabs((double)answer.logprob - (5 - log(exp(5) + 200031))) < 1e-5);
    answer = choose(logits, 200064, (pk_sample){.temperature = 0.01f, .top_p = 1}, 0);
    assert_int_equal(answer.token, 200031);
    logits[200063] = 9; /* any other size has no padding */
    assert_int_equal(choose(logits, 200063, (pk_sample){.top_p = 1}, 0).token, 200032);
    free(logits);
}

static void one_candidate_is_always_chosen(void **state)
{
    (void)state;
    const float logits[] = {1, 2, 2, 0};
    const pk_sample narrow[] = {{.temperature = 2, .top_p = 1, .top_k = 1},
                                {.temperature = 2, .top_p = 0},
                                {.temperature = 2, .top_p = 1e-6f},
                                {.temperature = 1e-6f, .top_p = 1, .top_k = 1},
                                {.temperature = 1e-45f, .top_p = 0.1f}};
    for (size_t i = 0; i < sizeof narrow / sizeof *narrow; i++)
        for (uint32_t position = 0; position < 100; position++)
            assert_int_equal(choose(logits, 4, narrow[i], position).token, 1);
    assert_int_equal(choose(logits, 1, (pk_sample){.temperature = 1, .top_p = 1}, 0).token, 0);
}

/* The plain reference: candidates by insertion sort, exp of libm. Probabilities by id; 0 where cut. */
static void reference(const float *logits, size_t count, pk_sample sample, double *probability)
{
    size_t order[64], kept = count;
    double mass[64], total = 0, reached = 0;
    for (size_t i = 0; i < count; i++) {
        size_t at = i;
        for (; at > 0 && logits[order[at - 1]] < logits[i]; at--)
            order[at] = order[at - 1];
        order[at] = i;
        probability[i] = 0;
    }
    if (sample.top_k && sample.top_k < kept)
        kept = sample.top_k;
    for (size_t i = 0; i < kept; i++)
        total += mass[i] = exp(((double)logits[order[i]] - (double)logits[order[0]]) / (double)sample.temperature);
    size_t most = kept;
    for (kept = 0; kept < most && (kept == 0 || reached < (double)sample.top_p * total); kept++)
        reached += mass[kept];
    while (kept > 1 && mass[kept - 1] < (double)sample.min_p)
        kept--;
    total = 0;
    for (size_t i = 0; i < kept; i++)
        total += mass[i];
    for (size_t i = 0; i < kept; i++)
        probability[order[i]] = mass[i] / total;
}

enum { KINDS = 12, DRAWS = 20000 };

/* Draws at many positions and compares the counts with what the reference says: each within five deviations. */
static void check_distribution(pk_sample sample)
{
    float logits[KINDS];
    double probability[KINDS];
    size_t counts[KINDS] = {0};
    pk_sampler *sampler;
    for (int i = 0; i < KINDS; i++)
        logits[i] = (float)((i * 7) % KINDS) * 0.4f - 2.0f;
    logits[3] = logits[5];
    reference(logits, KINDS, sample, probability);
    assert_int_equal(pk_sampler_open(&sampler, KINDS), PK_OK);
    for (uint32_t position = 0; position < DRAWS; position++)
        counts[pk_sampler_choose(sampler, logits, &sample, position).token]++;
    pk_sampler_close(&sampler);
    for (int i = 0; i < KINDS; i++) {
        double expected = probability[i] * DRAWS, deviation = sqrt(expected * (1 - probability[i]));
        if (fabs((double)counts[i] - expected) > 5 * deviation)
            fail_msg("token %d was drawn %zu times, %.1f were expected", i, counts[i], expected);
    }
}

static void draws_follow_the_distribution(void **state)
{
    (void)state;
    check_distribution((pk_sample){.seed = 1, .temperature = 1, .top_p = 1});
    check_distribution((pk_sample){.seed = 2, .prompt_hash = 77, .temperature = 0.7f, .top_p = 1});
    check_distribution((pk_sample){.seed = 3, .choice = 5, .temperature = 1.5f, .top_p = 1});
}

static void top_k_top_p_and_min_p_cut_the_tail(void **state)
{
    (void)state;
    check_distribution((pk_sample){.seed = 4, .temperature = 1, .top_p = 1, .top_k = 3});
    check_distribution((pk_sample){.seed = 5, .temperature = 1, .top_p = 0.6f});
    check_distribution((pk_sample){.seed = 6, .temperature = 1, .top_p = 1, .min_p = 0.2f});
    check_distribution((pk_sample){.seed = 7, .temperature = 1.2f, .top_p = 0.9f, .top_k = 8, .min_p = 0.05f});
}

static void top_p_keeps_the_first_prefix_that_reaches_it(void **state)
{
    (void)state;
    /* Four equals, a quarter each: a half is reached by exactly two, whichever they are by id. */
    const float logits[] = {2, 2, 2, 2};
    bool seen[4] = {false};
    for (uint32_t position = 0; position < 200; position++)
        seen[choose(logits, 4, (pk_sample){.temperature = 1, .top_p = 0.5f}, position).token] = true;
    assert_true(seen[0] && seen[1] && !seen[2] && !seen[3]);
    for (uint32_t position = 0; position < 200; position++)
        seen[choose(logits, 4, (pk_sample){.temperature = 1, .top_p = 0.50001f}, position).token] = true;
    assert_true(seen[2] && !seen[3]);
}

static void a_draw_depends_on_every_part_of_its_key(void **state)
{
    (void)state;
    const pk_sample base = {.seed = 1, .prompt_hash = 2, .choice = 3};
    pk_sample other = base;
    double u = pk_sample_uniform(&base, 4);
    assert_true(u != pk_sample_uniform(&base, 5));
    other.seed = 1ull << 40 | 1;
    assert_true(u != pk_sample_uniform(&other, 4));
    other = base;
    other.prompt_hash = 1ull << 40 | 2;
    assert_true(u != pk_sample_uniform(&other, 4));
    other = base;
    other.choice = 4;
    assert_true(u != pk_sample_uniform(&other, 4));
    assert_true(u == pk_sample_uniform(&base, 4));
}

static void zeros_of_both_signs_are_equal(void **state)
{
    (void)state;
    const float logits[] = {-0.0f, 0.0f, -1.0f};
    assert_int_equal(choose(logits, 3, (pk_sample){.temperature = 1, .top_k = 1, .top_p = 1}, 0).token, 0);
    assert_int_equal(choose(logits, 3, (pk_sample){.top_p = 1}, 0).token, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(philox_gives_the_published_numbers),
        cmocka_unit_test(seed_prompt_choice_and_position_are_key_and_counter),
        cmocka_unit_test(a_draw_depends_on_every_part_of_its_key),
        cmocka_unit_test(greedy_takes_the_lowest_id_among_equals),
        cmocka_unit_test(a_nan_is_no_answer),
        cmocka_unit_test(infinities_are_certainties),
        cmocka_unit_test(padding_of_the_real_vocabulary_is_never_chosen),
        cmocka_unit_test(one_candidate_is_always_chosen),
        cmocka_unit_test(draws_follow_the_distribution),
        cmocka_unit_test(top_k_top_p_and_min_p_cut_the_tail),
        cmocka_unit_test(top_p_keeps_the_first_prefix_that_reaches_it),
        cmocka_unit_test(zeros_of_both_signs_are_equal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
