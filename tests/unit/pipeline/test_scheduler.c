/* The scheduler against a model that is a function of (sequence, position): whatever the limits and whenever answers
 * come, each request gets the outcome that it would get alone, and each batch keeps the rules of the stages. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "pipeline/scheduler.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { REQUESTS_MOST = 64, IN_FLIGHT_MOST = 64, ANSWERS_MOST = 256, END_TOKEN = 5, VOCABULARY = 40, NOWHERE = -1 };

/* What the stages would know of a sequence. */
typedef struct {
    pk_request request;
    int32_t *prompt;
    int64_t nan_at; /* the position whose answer is a NaN; NOWHERE */
    bool started, ended, dropped;
    uint32_t position, known; /* rows that have come; tokens that exist: prompt and answers */
    uint32_t answered;        /* rows of answered batches: below it is a replay */
    bool finished;            /* by its answers */
    unsigned states, outcomes;
    uint64_t admitted_by; /* the batch of its START */
} sequence;

typedef struct {
    pk_span spans[ANSWERS_MOST];
    pk_answer answers[ANSWERS_MOST];
    uint32_t count;
    pk_span rows[ANSWERS_MOST]; /* that the batch brought */
    uint32_t row_count;
} reply;

typedef struct {
    pk_scheduler *scheduler;
    pk_scheduler_options options;
    sequence sequences[REQUESTS_MOST];
    uint32_t count, live, in_flight;
    uint64_t kv, sent, answered;
    reply replies[IN_FLIGHT_MOST]; /* by batch number */
} bench;

static uint64_t mixed(uint64_t x)
{
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

/* The model: the token at a position of a sequence, a prompt's or a sampled one. */
static int32_t token_of(uint32_t id, uint32_t position)
{
    return (int32_t)(mixed(((uint64_t)id << 32 | position) + 12345) % VOCABULARY);
}

static bench *open_bench(pk_scheduler_options options)
{
    static const int32_t ends[] = {END_TOKEN, 1000};
    bench *b = calloc(1, sizeof *b);
    assert_non_null(b);
    options.end_tokens = ends;
    options.end_token_count = 2;
    b->options = options;
    assert_int_equal(pk_scheduler_open(&b->scheduler, options), PK_OK);
    return b;
}

static void close_bench(bench *b)
{
    for (uint32_t i = 0; i < b->count; i++)
        free(b->sequences[i].prompt);
    pk_scheduler_close(&b->scheduler);
    assert_null(b->scheduler);
    free(b);
}

static sequence *submit(bench *b, pk_request request)
{
    uint32_t id = UINT32_MAX;
    sequence *s = &b->sequences[b->count];
    assert_true(b->count < REQUESTS_MOST);
    s->prompt = malloc(request.count * sizeof *s->prompt);
    assert_non_null(s->prompt);
    for (uint32_t i = 0; i < request.count; i++)
        s->prompt[i] = token_of(b->count, i);
    request.ids = s->prompt;
    s->request = request;
    s->nan_at = NOWHERE;
    s->known = request.count;
    if (pk_scheduler_submit(b->scheduler, &request, &id))
        fail_msg("%s", pk_error_text());
    assert_int_equal(id, b->count++);
    return s;
}

static pk_request plain(uint32_t count, uint32_t max_tokens)
{
    return (pk_request){.count = count, .max_tokens = max_tokens, .decode_from = UINT32_MAX};
}

static uint64_t peak(const sequence *s)
{
    return (uint64_t)s->request.count + s->request.max_tokens;
}

static void see_start(bench *b, const pk_span *span, uint32_t argument)
{
    sequence *s = &b->sequences[span->sequence];
    assert_false(s->started || s->dropped);
    assert_int_equal(span->position, 0);
    assert_int_equal(argument, peak(s));
    s->started = true;
    s->admitted_by = b->sent;
    b->kv += peak(s);
    assert_true(++b->live <= b->options.sequences);
    assert_true(b->kv <= b->options.kv_tokens);
}

static void see_end(bench *b, const pk_span *span)
{
    sequence *s = &b->sequences[span->sequence];
    assert_true(s->started && !s->ended);
    s->ended = true;
    b->live--;
    b->kv -= peak(s);
}

/* In the order in which a layers stage applies them: what stands before the tokens. */
static void see_opening_ops(bench *b, const pk_batch *head)
{
    for (const pk_op *op = head->ops; op < head->ops + head->op_count; op++) {
        assert_true(op->span < head->span_count);
        if (op->code == PK_OP_START)
            see_start(b, &head->spans[op->span], op->argument);
        else if (op->code == PK_OP_END && !head->spans[op->span].count)
            see_end(b, &head->spans[op->span]);
        else
            assert_true(op->code == PK_OP_END || op->code == PK_OP_STATE);
    }
}

static void see_closing_ops(bench *b, const pk_batch *head)
{
    for (const pk_op *op = head->ops; op < head->ops + head->op_count; op++) {
        const pk_span *span = &head->spans[op->span];
        sequence *s = &b->sequences[span->sequence];
        if (op->code == PK_OP_STATE) {
            assert_true(s->request.state && s->position == s->request.count && !s->ended);
            s->states++;
        } else if (op->code == PK_OP_END && span->count)
            see_end(b, span);
    }
}

static bool replayed(const sequence *s, const pk_span *span)
{
    return span->position < s->answered;
}

static bool decodes(const sequence *s, const pk_span *span)
{
    return !replayed(s, span) && (span->position >= s->request.count || span->position >= s->request.decode_from);
}

static void see_rows(const sequence *s, const pk_span *span, const int32_t *ids)
{
    assert_true(s->started && !s->ended);
    assert_int_equal(span->position, s->position); /* no gap, nothing twice */
    assert_true(span->position + span->count <= s->known);
    if (replayed(s, span))
        assert_true(span->position + span->count <= s->answered);
    else if (decodes(s, span))
        assert_int_equal(span->count, 1);
    else if (span->position < s->request.decode_from)
        assert_true(span->position + span->count <= s->request.decode_from || s->known <= s->request.decode_from);
    for (uint32_t i = 0; i < span->count; i++)
        assert_int_equal(ids[i], token_of(span->sequence, span->position + i));
}

static const pk_sample *sample_of(const pk_batch *head, uint32_t span)
{
    const pk_sample *found = NULL;
    for (const pk_sample *sample = head->samples; sample < head->samples + head->sample_count; sample++)
        if (sample->span == span) {
            assert_null(found);
            found = sample;
        }
    return found;
}

/* Of a replay nothing is wanted but the last token, once more. */
static void see_sample_again(const sequence *s, const pk_span *span, const pk_sample *sample)
{
    bool due = s->position == s->answered && s->known > s->request.count;
    assert_int_equal(sample != NULL, due);
    assert_int_equal(span->want, due ? PK_WANT_LAST : PK_WANT_NONE);
    if (sample)
        assert_int_equal(sample->flags, 0);
}

/* Sampled is what ends at the last token that exists, while tokens are wanted; and the answer is due in this order. */
static void see_sample(const sequence *s, const pk_span *span, const pk_sample *sample)
{
    bool last = span->count && s->position == s->known, of_prompt = span->position < s->request.count;
    bool due = last && s->known - s->request.count < s->request.max_tokens;
    assert_int_equal(sample != NULL, due);
    uint8_t want = due ? PK_WANT_LAST : PK_WANT_NONE;
    if (span->count && of_prompt && s->request.want == PK_WANT_ALL)
        want = PK_WANT_ALL;
    else if (last && of_prompt && s->request.want)
        want = PK_WANT_LAST;
    assert_int_equal(span->want, want);
    if (!sample)
        return;
    bool shown = s->known == s->request.count && s->request.want;
    assert_int_equal(sample->flags, shown ? PK_SAMPLE_LOGITS : 0);
    assert_true(sample->seed == s->request.seed && sample->choice == s->request.choice);
    assert_true(sample->top_k == s->request.top_k && sample->min_p == s->request.min_p);
    assert_true(sample->temperature == s->request.temperature && sample->top_p == s->request.top_p);
}

static void prepare_answer(bench *b, const pk_span *span)
{
    reply *r = &b->replies[b->sent % IN_FLIGHT_MOST];
    uint32_t at = span->position + span->count;
    bool nan = b->sequences[span->sequence].nan_at == at;
    assert_true(r->count < ANSWERS_MOST);
    r->spans[r->count] = (pk_span){.sequence = span->sequence, .position = at, .count = 1};
    r->answers[r->count++] = (pk_answer){.token = nan ? -1 : token_of(span->sequence, at),
                                         .status = nan ? PK_ANSWER_NAN : PK_ANSWER_OK};
}

static void see_spans(bench *b, const pk_batch *head, const int32_t *ids)
{
    bool prefill = false, touched[REQUESTS_MOST] = {0};
    for (uint32_t i = 0; i < head->span_count; i++) {
        const pk_span *span = &head->spans[i];
        assert_true(span->sequence < b->count);
        sequence *s = &b->sequences[span->sequence];
        assert_false(touched[span->sequence]);
        touched[span->sequence] = true;
        if (span->count) {
            see_rows(s, span, ids);
            assert_false(prefill && decodes(s, span)); /* decode rows first */
            prefill = !decodes(s, span);
        }
        ids += span->count;
        s->position += span->count;
        (span->count && replayed(s, span) ? see_sample_again : see_sample)(s, span, sample_of(head, i));
        reply *r = &b->replies[b->sent % IN_FLIGHT_MOST];
        r->rows[r->row_count++] = *span;
    }
    for (uint32_t i = 0; i < head->sample_count; i++)
        prepare_answer(b, &head->spans[head->samples[i].span]);
}

/* Takes the next batch and checks all that can be known of it; false when there is none. */
static bool take_batch(bench *b, pk_batch *head)
{
    const int32_t *ids = NULL;
    if (!pk_scheduler_next(b->scheduler, head, &ids))
        return false;
    b->sent++;
    b->replies[b->sent % IN_FLIGHT_MOST].count = b->replies[b->sent % IN_FLIGHT_MOST].row_count = 0;
    assert_int_equal(head->number, b->sent);
    assert_true(++b->in_flight <= b->options.window);
    assert_int_equal(head->kind, PK_KIND_TOKENS);
    assert_int_equal(head->dtype, PK_I32);
    assert_int_equal(head->width, 1);
    assert_true(pk_batch_rows(head) <= b->options.batch_rows);
    assert_true(head->span_count > 0 && head->span_count <= b->options.batch_rows + 2 * b->options.sequences);
    see_opening_ops(b, head);
    see_spans(b, head, ids);
    see_closing_ops(b, head);
    return true;
}

static bool batch(bench *b)
{
    pk_batch head;
    return take_batch(b, &head);
}

static void see_answer(sequence *s, uint32_t position, const pk_answer *answer)
{
    bool again = position < s->known; /* a token that was known */
    s->known += !again && answer->status == PK_ANSWER_OK;
    s->finished |= answer->status != PK_ANSWER_OK || answer->token == END_TOKEN ||
                   s->known - s->request.count == s->request.max_tokens;
}

/* The answers to the oldest batch in flight. */
static void answer(bench *b)
{
    reply *r = &b->replies[++b->answered % IN_FLIGHT_MOST];
    const pk_batch head = {.kind = PK_KIND_ANSWERS, .number = b->answered, .dtype = PK_U8, .width = sizeof(pk_answer),
                           .spans = r->spans, .span_count = r->count};
    if (pk_scheduler_answer(b->scheduler, &head, r->answers))
        fail_msg("%s", pk_error_text());
    b->in_flight--;
    for (uint32_t i = 0; i < r->count; i++)
        see_answer(&b->sequences[r->spans[i].sequence], r->spans[i].position, &r->answers[i]);
    for (uint32_t i = 0; i < r->row_count; i++) {
        sequence *s = &b->sequences[r->rows[i].sequence];
        uint32_t end = r->rows[i].position + r->rows[i].count;
        s->answered = end > s->answered ? end : s->answered;
    }
}

/* The stages forget everything. What was decided is done, what was asked of unanswered rows is asked again. */
static void reset(bench *b)
{
    pk_scheduler_reset(b->scheduler);
    b->in_flight = b->live = 0;
    b->kv = b->sent = b->answered = 0;
    for (sequence *s = b->sequences; s < b->sequences + b->count; s++) {
        if (s->outcomes)
            continue;
        bool done = s->finished || (s->request.max_tokens == 0 && s->answered == s->request.count);
        s->started = s->ended = done;
        s->position = 0;
        if (s->answered < s->request.count)
            s->states = 0;
    }
}

/* What the request would get if it were alone. */
static pk_finish expected_finish(const sequence *s, uint32_t id, uint32_t *tokens)
{
    if (s->request.max_tokens == 0)
        return *tokens = 0, PK_FINISH_NONE;
    for (*tokens = 0; *tokens < s->request.max_tokens;) {
        uint32_t at = s->request.count + *tokens;
        if (s->nan_at == at)
            return PK_FINISH_NAN;
        ++*tokens;
        if (token_of(id, at) == END_TOKEN)
            return PK_FINISH_STOP;
    }
    return PK_FINISH_LENGTH;
}

static void take_outcomes(bench *b)
{
    pk_outcome out;
    while (pk_scheduler_outcome(b->scheduler, &out)) {
        uint32_t tokens;
        assert_true(out.sequence < b->count);
        sequence *s = &b->sequences[out.sequence];
        assert_int_equal(s->outcomes++, 0);
        assert_true(s->ended);
        assert_int_equal(out.finish, expected_finish(s, out.sequence, &tokens));
        assert_int_equal(out.prompt_tokens, s->request.count);
        assert_int_equal(out.token_count, tokens);
        for (uint32_t i = 0; i < tokens; i++)
            assert_int_equal(out.tokens[i], token_of(out.sequence, s->request.count + i));
    }
}

static void run_dry(bench *b)
{
    while (!pk_scheduler_idle(b->scheduler)) {
        while (batch(b))
            ;
        assert_true(b->in_flight > 0); /* else nothing would ever happen again */
        answer(b);
        take_outcomes(b);
    }
}

static void assert_all_ended_once(const bench *b)
{
    for (uint32_t i = 0; i < b->count; i++) {
        const sequence *s = &b->sequences[i];
        assert_int_equal(s->outcomes, s->dropped ? 0 : 1);
        assert_int_equal(s->states, s->request.state && !s->dropped);
    }
    assert_int_equal(b->live, 0);
    assert_true(b->kv == 0);
}

static void finish_bench(bench *b)
{
    run_dry(b);
    assert_all_ended_once(b);
    close_bench(b);
}

static const pk_scheduler_options roomy = {
    .batch_rows = 16, .sequences = 8, .context = 256, .window = 4, .kv_tokens = 4096};

/* A sequence whose first tokens after the prompt are no end token. */
static uint32_t quiet_prompt(uint32_t id, uint32_t tokens)
{
    for (uint32_t count = 3;; count++) {
        uint32_t i = 0;
        while (i < tokens && token_of(id, count + i) != END_TOKEN)
            i++;
        if (i == tokens)
            return count;
    }
}

static void decode_rows_go_before_prefill_chunks(void **state)
{
    bench *b = open_bench(roomy);
    pk_batch head;
    (void)state;
    submit(b, plain(quiet_prompt(0, 4), 4));
    assert_true(batch(b));
    answer(b);
    submit(b, plain(100, 1));
    assert_true(take_batch(b, &head));
    assert_int_equal(head.span_count, 2);
    assert_int_equal(head.spans[0].sequence, 0);
    assert_int_equal(head.spans[0].count, 1);
    assert_int_equal(head.spans[1].sequence, 1);
    assert_int_equal(head.spans[1].count, 15);
    finish_bench(b);
}

static void chunks_of_one_prompt_fill_the_window_and_no_more(void **state)
{
    bench *b = open_bench(roomy);
    (void)state;
    submit(b, plain(100, 1));
    for (uint32_t i = 0; i < roomy.window; i++)
        assert_true(batch(b));
    assert_int_equal(b->sequences[0].position, 64);
    assert_false(batch(b));
    answer(b);
    assert_true(batch(b));
    assert_false(batch(b));
    assert_int_equal(pk_scheduler_count(b->scheduler).in_flight, roomy.window);
    finish_bench(b);
}

static void a_token_is_scheduled_only_after_the_one_before_it_was_answered(void **state)
{
    bench *b = open_bench(roomy);
    (void)state;
    submit(b, plain(quiet_prompt(0, 3), 3));
    assert_true(batch(b));
    assert_false(batch(b));
    answer(b);
    assert_true(batch(b));
    assert_false(batch(b));
    finish_bench(b);
}

static void requests_are_admitted_first_come_first_served(void **state)
{
    pk_scheduler_options options = roomy;
    options.kv_tokens = 256;
    bench *b = open_bench(options);
    (void)state;
    submit(b, plain(100, 50));
    submit(b, plain(100, 50)); /* does not fit beside the first */
    submit(b, plain(3, 1));    /* would fit, but came later */
    run_dry(b);
    assert_true(b->sequences[0].admitted_by < b->sequences[1].admitted_by);
    assert_true(b->sequences[1].admitted_by <= b->sequences[2].admitted_by);
    finish_bench(b);
}

static void a_place_is_free_for_the_next_in_the_batch_of_the_end(void **state)
{
    pk_scheduler_options options = roomy;
    options.sequences = 1;
    bench *b = open_bench(options);
    pk_batch head;
    uint32_t stop = 3;
    (void)state;
    while (token_of(0, stop) != END_TOKEN)
        stop++;
    submit(b, plain(stop, 9)); /* its first answer ends it: END comes in a span without tokens */
    submit(b, plain(4, 1));
    while (batch(b))
        ;
    while (b->in_flight)
        answer(b);
    assert_true(take_batch(b, &head));
    assert_int_equal(head.span_count, 2);
    assert_int_equal(head.spans[0].count, 0);
    assert_int_equal(head.ops[0].code, PK_OP_END);
    assert_int_equal(head.spans[1].sequence, 1);
    assert_int_equal(head.ops[1].code, PK_OP_START);
    finish_bench(b);
}

static void end_travels_with_the_last_span_where_the_length_decides(void **state)
{
    bench *b = open_bench(roomy);
    pk_batch head;
    (void)state;
    submit(b, plain(10, 1));
    submit(b, plain(5, 0));
    assert_true(take_batch(b, &head));
    assert_true(b->sequences[0].ended && b->sequences[1].ended);
    assert_int_equal(head.sample_count, 1);
    answer(b);
    assert_false(batch(b));
    take_outcomes(b);
    assert_true(pk_scheduler_idle(b->scheduler));
    finish_bench(b);
}

static void from_decode_from_on_the_prompt_goes_token_by_token(void **state)
{
    bench *b = open_bench(roomy);
    pk_batch head;
    pk_request request = plain(20, 2);
    (void)state;
    request.decode_from = 13;
    submit(b, request);
    assert_true(take_batch(b, &head));
    assert_int_equal(head.spans[0].count, 13);
    for (uint32_t position = 13; position < 20; position++) {
        if (!take_batch(b, &head)) {
            answer(b);
            assert_true(take_batch(b, &head));
        }
        assert_int_equal(head.spans[0].position, position);
        assert_int_equal(head.spans[0].count, 1);
    }
    finish_bench(b);
}

static void logits_are_asked_for_with_the_prompt_s_sample_only(void **state)
{
    bench *b = open_bench(roomy);
    pk_batch head;
    pk_request request = plain(quiet_prompt(0, 3), 3);
    (void)state;
    request.want = PK_WANT_LAST;
    request.state = true;
    submit(b, request);
    assert_true(take_batch(b, &head));
    assert_int_equal(head.samples[0].flags, PK_SAMPLE_LOGITS);
    assert_int_equal(b->sequences[0].states, 1);
    answer(b);
    assert_true(take_batch(b, &head));
    assert_int_equal(head.samples[0].flags, 0);
    finish_bench(b);
}

static void equal_prompts_have_equal_hashes_and_different_ones_do_not(void **state)
{
    static const int32_t a[] = {1, 2, 3}, other[] = {1, 2, 4};
    pk_scheduler *scheduler = NULL;
    pk_batch head;
    const int32_t *ids;
    uint32_t id;
    pk_request request = {.ids = a, .count = 3, .max_tokens = 1, .decode_from = UINT32_MAX};
    (void)state;
    assert_int_equal(pk_scheduler_open(&scheduler, roomy), PK_OK);
    assert_int_equal(pk_scheduler_submit(scheduler, &request, &id), PK_OK);
    assert_int_equal(pk_scheduler_submit(scheduler, &request, &id), PK_OK);
    request.ids = other;
    assert_int_equal(pk_scheduler_submit(scheduler, &request, &id), PK_OK);
    assert_true(pk_scheduler_next(scheduler, &head, &ids));
    assert_int_equal(head.sample_count, 3);
    assert_true(head.samples[0].prompt_hash == head.samples[1].prompt_hash);
    assert_true(head.samples[0].prompt_hash != head.samples[2].prompt_hash);
    pk_scheduler_close(&scheduler);
}

static void what_can_never_fit_is_refused_at_once(void **state)
{
    static const int32_t ids[300];
    bench *b = open_bench(roomy);
    uint32_t id;
    (void)state;
    assert_int_equal(pk_scheduler_submit(b->scheduler, &(pk_request){.ids = ids, .count = 250, .max_tokens = 7}, &id),
                     PK_INVALID);
    assert_string_equal(pk_error_text(),
                        "250 prompt tokens and 7 to answer are 1 more than the context of 256");
    assert_int_equal(
        pk_scheduler_submit(b->scheduler, &(pk_request){.ids = ids, .count = 2, .max_tokens = UINT32_MAX}, &id),
        PK_INVALID);
    assert_int_equal(pk_scheduler_submit(b->scheduler, &(pk_request){.ids = ids, .max_tokens = 7}, &id), PK_INVALID);
    assert_string_equal(pk_error_text(), "the prompt has no tokens");
    assert_true(pk_scheduler_idle(b->scheduler));
    close_bench(b);
}

static void a_nan_ends_its_request_and_no_other(void **state)
{
    bench *b = open_bench(roomy);
    (void)state;
    uint32_t prompt = quiet_prompt(0, 5);
    submit(b, plain(prompt, 5))->nan_at = prompt + 2;
    submit(b, plain(6, 5));
    run_dry(b);
    uint32_t tokens;
    assert_int_equal(expected_finish(&b->sequences[0], 0, &tokens), PK_FINISH_NAN);
    assert_int_equal(tokens, 2);
    finish_bench(b);
}

static void dropping_what_waits_leaves_what_runs(void **state)
{
    pk_scheduler_options options = roomy;
    options.sequences = 2;
    bench *b = open_bench(options);
    (void)state;
    for (int i = 0; i < 5; i++)
        submit(b, plain(30, 3));
    assert_true(batch(b));
    assert_int_equal(pk_scheduler_drop_waiting(b->scheduler), 3);
    for (int i = 2; i < 5; i++)
        b->sequences[i].dropped = true;
    assert_int_equal(pk_scheduler_count(b->scheduler).waiting, 0);
    submit(b, plain(4, 1)); /* the queue is usable afterwards */
    finish_bench(b);
}

static void answers_that_nobody_asked_for_are_refused(void **state)
{
    static const pk_answer token = {.token = 1};
    const pk_span wrong_position = {.sequence = 0, .position = 9, .count = 1};
    const pk_span no_sequence = {.sequence = 77, .position = 10, .count = 1};
    const pk_span two_rows = {.sequence = 0, .position = 10, .count = 2};
    const pk_batch good = {.kind = PK_KIND_ANSWERS, .number = 1, .dtype = PK_U8, .width = 16, .span_count = 1};
    const struct {
        const pk_span *span;
        uint8_t kind;
        uint64_t number;
        const char *words;
    } wrong[] = {
        {&wrong_position, PK_KIND_ANSWERS, 1, "an answer for sequence 0, position 9, which nobody asked for"},
        {&no_sequence, PK_KIND_ANSWERS, 1, "an answer for sequence 77, position 10, which nobody asked for"},
        {&two_rows, PK_KIND_ANSWERS, 1, "an answer of 2 rows"},
        {&wrong_position, PK_KIND_ANSWERS, 2,
         "answers to batch 2 (kind 3) where those to batch 1 were expected"},
        {&wrong_position, PK_KIND_TEXT, 1, "answers to batch 1 (kind 4) where those to batch 1 were expected"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        bench *b = open_bench(roomy);
        pk_batch head = good;
        submit(b, plain(10, 5));
        assert_true(batch(b));
        head.spans = wrong[i].span;
        head.kind = wrong[i].kind;
        head.number = wrong[i].number;
        assert_int_equal(pk_scheduler_answer(b->scheduler, &head, &token), PK_PEER);
        assert_string_equal(pk_error_text(), wrong[i].words);
        close_bench(b);
    }
}

static void a_reset_replays_from_the_first_token_and_compares_the_last(void **state)
{
    bench *b = open_bench(roomy);
    pk_batch head;
    (void)state;
    uint32_t prompt = quiet_prompt(0, 4);
    submit(b, plain(prompt, 4));
    for (int i = 0; i < 3; i++) {
        while (batch(b))
            ;
        answer(b);
    }
    reset(b);
    assert_true(take_batch(b, &head));
    assert_int_equal(head.number, 1);
    assert_int_equal(head.spans[0].position, 0);
    assert_int_equal(head.ops[0].code, PK_OP_START);
    while (b->sequences[0].position < b->sequences[0].answered)
        assert_true(take_batch(b, &head));
    assert_int_equal(head.sample_count, 1);
    assert_true(take_batch(b, &head)); /* the next row need not wait for the comparison */
    assert_int_equal(head.spans[0].position, b->sequences[0].known - 1);
    assert_int_equal(pk_scheduler_count(b->scheduler).replayed_tokens, b->sequences[0].answered);
    finish_bench(b);
}

static void another_token_after_a_reset_is_a_failure_of_row_purity(void **state)
{
    bench *b = open_bench(roomy);
    char words[128];
    (void)state;
    uint32_t prompt = quiet_prompt(0, 2);
    submit(b, plain(prompt, 4));
    while (batch(b))
        ;
    answer(b);
    reset(b);
    while (b->replies[b->sent % IN_FLIGHT_MOST].count == 0)
        assert_true(batch(b));
    reply *r = &b->replies[b->sent % IN_FLIGHT_MOST];
    r->answers[0].token++;
    const pk_batch wrong = {.kind = PK_KIND_ANSWERS, .number = b->sent, .dtype = PK_U8, .width = sizeof(pk_answer),
                            .spans = r->spans, .span_count = r->count};
    assert_int_equal(pk_scheduler_answer(b->scheduler, &wrong, r->answers), PK_PEER);
    snprintf(words, sizeof words, "row purity: sequence 0, position %" PRIu32 ": after a reset", prompt);
    assert_non_null(strstr(pk_error_text(), words));
    close_bench(b);
}

static void after_a_reset_what_ran_goes_before_what_waited_and_is_not_dropped(void **state)
{
    pk_scheduler_options options = roomy;
    options.sequences = 2;
    bench *b = open_bench(options);
    pk_batch head;
    (void)state;
    for (int i = 0; i < 4; i++)
        submit(b, plain(quiet_prompt((uint32_t)i, 3), 3));
    assert_true(batch(b));
    reset(b);
    assert_int_equal(pk_scheduler_drop_waiting(b->scheduler), 2);
    b->sequences[2].dropped = b->sequences[3].dropped = true;
    assert_true(take_batch(b, &head));
    assert_int_equal(head.spans[0].sequence, 0);
    assert_int_equal(head.spans[1].sequence, 1);
    finish_bench(b);
}

static void decoding_sequences_are_spread_over_the_stages(void **state)
{
    pk_scheduler_options options = roomy;
    options.batch_rows = 100;
    options.stages = 2;
    bench *b = open_bench(options);
    pk_batch head;
    (void)state;
    for (uint32_t i = 0; i < 5; i++)
        submit(b, plain(quiet_prompt(i, 9), 9));
    assert_true(batch(b));
    answer(b);
    for (int i = 0; i < 3; i++) { /* always two batches under way, of three and two rows */
        assert_true(take_batch(b, &head));
        assert_int_equal(head.span_count, 3);
        if (i)
            answer(b);
        assert_true(take_batch(b, &head));
        assert_int_equal(head.span_count, 2);
        assert_false(batch(b));
        answer(b);
    }
    finish_bench(b);
}

static uint32_t draw(uint64_t *state, uint32_t least, uint32_t most)
{
    return least + (uint32_t)(mixed(*state += 0x9e3779b97f4a7c15u) % (most - least + 1));
}

static pk_scheduler_options draw_options(uint64_t *random)
{
    pk_scheduler_options options = {.batch_rows = draw(random, 1, draw(random, 0, 1) ? 8 : 100),
                                    .sequences = draw(random, 1, 10),
                                    .context = draw(random, 40, 200),
                                    .window = draw(random, 1, 9),
                                    .stages = draw(random, 0, 4)};
    options.kv_tokens = options.context + draw(random, 0, 500);
    return options;
}

static void submit_drawn(bench *b, uint64_t *random)
{
    pk_request request = plain(draw(random, 1, b->options.context), 0);
    uint32_t room = b->options.context - request.count;
    request.max_tokens = draw(random, 0, room < 30 ? room : 30);
    request.want = (uint8_t)draw(random, 0, 2);
    request.state = draw(random, 0, 3) == 0;
    request.seed = draw(random, 0, 1000);
    request.temperature = (float)draw(random, 0, 2) / 2;
    request.top_p = (float)draw(random, 1, 4) / 4;
    request.top_k = draw(random, 0, 3);
    request.min_p = (float)draw(random, 0, 2) / 4;
    if (draw(random, 0, 1))
        request.decode_from = draw(random, 0, request.count + 2);
    sequence *s = submit(b, request);
    if (draw(random, 0, 4) == 0)
        s->nan_at = request.count + draw(random, 0, 5);
}

/* One run: requests come, batches go, answers return in an order that the seed draws. */
static void run_drawn(uint64_t *random)
{
    bench *b = open_bench(draw_options(random));
    uint32_t requests = draw(random, 1, 30);
    while (b->count < requests) {
        submit_drawn(b, random);
        for (uint32_t steps = draw(random, 0, 12); steps; steps--) {
            if (draw(random, 0, 19) == 0)
                reset(b);
            else if (draw(random, 0, 1))
                batch(b);
            else if (b->in_flight)
                answer(b);
            if (draw(random, 0, 2) == 0)
                take_outcomes(b);
        }
    }
    finish_bench(b);
}

static void every_request_has_exactly_its_outcome_whatever_the_limits(void **state)
{
    const char *given = getenv("PENSTOCK_TEST_SEED");
    uint64_t seed = given ? strtoull(given, NULL, 10) : 1;
    (void)state;
    for (int i = 0; i < 300; i++) {
        uint64_t random = seed + (uint64_t)i;
        fprintf(stderr, i ? "" : "seeds from %" PRIu64 "\n", seed);
        run_drawn(&random);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decode_rows_go_before_prefill_chunks),
        cmocka_unit_test(chunks_of_one_prompt_fill_the_window_and_no_more),
        cmocka_unit_test(a_token_is_scheduled_only_after_the_one_before_it_was_answered),
        cmocka_unit_test(requests_are_admitted_first_come_first_served),
        cmocka_unit_test(a_place_is_free_for_the_next_in_the_batch_of_the_end),
        cmocka_unit_test(end_travels_with_the_last_span_where_the_length_decides),
        cmocka_unit_test(from_decode_from_on_the_prompt_goes_token_by_token),
        cmocka_unit_test(logits_are_asked_for_with_the_prompt_s_sample_only),
        cmocka_unit_test(equal_prompts_have_equal_hashes_and_different_ones_do_not),
        cmocka_unit_test(what_can_never_fit_is_refused_at_once),
        cmocka_unit_test(a_nan_ends_its_request_and_no_other),
        cmocka_unit_test(dropping_what_waits_leaves_what_runs),
        cmocka_unit_test(answers_that_nobody_asked_for_are_refused),
        cmocka_unit_test(a_reset_replays_from_the_first_token_and_compares_the_last),
        cmocka_unit_test(another_token_after_a_reset_is_a_failure_of_row_purity),
        cmocka_unit_test(after_a_reset_what_ran_goes_before_what_waited_and_is_not_dropped),
        cmocka_unit_test(decoding_sequences_are_spread_over_the_stages),
        cmocka_unit_test(every_request_has_exactly_its_outcome_whatever_the_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
