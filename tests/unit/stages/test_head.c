#include "stages/head.h"
#include "golden.h"
#include "stages/layers.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { NANO_HIDDEN = 64, NANO_VOCAB = 384 };

static pk_layers layers_self;
static pk_head self;
static bench layers, b;

static void open_head(const char *model)
{
    char path[512];
    snprintf(path, sizeof path, GOLDEN "%s", model);
    bench_init(&b, &pk_head_ops, &self, path);
    bench_open(&b);
}

static void open_both(const char *model, uint64_t layer_count)
{
    open_head(model);
    bench_init(&layers, &pk_layers_ops, &layers_self, b.stage.assignment.model);
    layers.stage.assignment.last_layer = layer_count - 1;
    bench_open(&layers);
}

/* Through the layers into the head; what the head sent is in b. */
static void feed(const int32_t *ids, pk_span span, const pk_op *ops, uint32_t op_count, const pk_sample *sample)
{
    bench_works(&layers,
                (pk_batch){.kind = PK_KIND_TOKENS,
                           .dtype = PK_I32,
                           .width = 1,
                           .spans = &span,
                           .span_count = 1,
                           .ops = ops,
                           .op_count = op_count,
                           .samples = sample,
                           .sample_count = sample != NULL},
                payload_of(ids, span.count * sizeof *ids));
    sent_batch *sent = &layers.out.sent[0];
    pk_buffer *payload = sent->payload;
    sent->payload = NULL;
    bench_works(&b, sent->head, payload);
}

/* The logits of one whole sequence, fed in chunks, into out [count, vocab]. */
static void run_sequence(const golden_tensor *ids, uint32_t sequence, size_t chunk, size_t vocab, float *out)
{
    for (size_t at = 0; at < ids->count; at += chunk) {
        size_t count = ids->count - at < chunk ? ids->count - at : chunk;
        pk_op ops[2] = {{.code = PK_OP_START, .argument = (uint32_t)ids->count}, {.code = PK_OP_END}};
        bool first = at == 0, last = at + count == ids->count;
        pk_span span = {
            .sequence = sequence, .position = (uint32_t)at, .count = (uint32_t)count, .want = PK_WANT_ALL};
        feed(ids->i32 + at, span, first ? ops : ops + 1, (uint32_t)(first + last), NULL);
        const sent_batch *logits = bench_sent(&b, PK_PORT_NEXT, 0);
        assert_int_equal(logits->head.kind, PK_KIND_LOGITS);
        assert_int_equal(logits->payload->bytes, count * vocab * sizeof(float));
        memcpy(out + at * vocab, logits->payload->data, logits->payload->bytes);
        assert_int_equal(bench_sent(&b, PK_PORT_NEXT, 1)->head.kind, PK_KIND_ANSWERS);
        assert_int_equal(bench_count(&b, PK_PORT_NEXT), 2);
    }
}

static void check_model(const char *model, size_t layer_count, size_t vocab, double limit)
{
    static const size_t lengths[] = {1, 7, 64, 257, 600}, chunks[] = {257, 64, 7};
    open_both(model, layer_count);
    float *out = malloc(600 * vocab * sizeof *out), *other = malloc(600 * vocab * sizeof *out);
    assert_true(out && other);
    for (uint32_t i = 0; i < 5; i++) {
        char name[32];
        snprintf(name, sizeof name, "seq%zu.ids", lengths[i]);
        golden_tensor ids = golden_read(model, name);
        snprintf(name, sizeof name, "seq%zu.pos", lengths[i]);
        golden_tensor positions = golden_read(model, name);
        snprintf(name, sizeof name, "seq%zu.logits", lengths[i]);
        golden_tensor expected = golden_read(model, name);
        run_sequence(&ids, i, 600, vocab, out);
        for (size_t p = 0; p < positions.count; p++)
            assert_true(largest_difference(out + (size_t)positions.i32[p] * vocab, expected.f32 + p * vocab, vocab) <
                        limit);
        for (size_t c = 0; c < sizeof chunks / sizeof *chunks; c++) {
            if (ids.count > 10 * chunks[c] + 257) /* the longest in large chunks only, for time's sake */
                continue;
            run_sequence(&ids, i, chunks[c], vocab, other);
            assert_memory_equal(out, other, ids.count * vocab * sizeof *out);
        }
        free(ids.f32);
        free(positions.f32);
        free(expected.f32);
    }
    free(out);
    free(other);
    bench_close(&layers);
    bench_close(&b);
}

static void nano_gives_its_golden_logits_in_any_chunks(void **state)
{
    (void)state;
    check_model("nano", 8, NANO_VOCAB, 4e-5);
}

static void duo_gives_its_golden_logits_in_any_chunks(void **state)
{
    (void)state;
    check_model("duo", 16, 512, 8e-5);
}

static void shared_gives_its_golden_logits_in_any_chunks(void **state)
{
    (void)state;
    check_model("shared", 4, 256, 4e-5);
}

static const pk_answer *only_answer(size_t index)
{
    const sent_batch *sent = bench_sent(&b, PK_PORT_NEXT, index);
    assert_int_equal(sent->head.kind, PK_KIND_ANSWERS);
    assert_int_equal(sent->head.width, 16);
    assert_int_equal(sent->head.span_count, 1);
    return sent->payload->data;
}

static void greedy_continuation_is_golden(void **state)
{
    (void)state;
    open_both("nano", 8);
    golden_tensor ids = golden_read("nano", "seq64.ids"), greedy = golden_read("nano", "p64.greedy"),
                  last = golden_read("nano", "p64.greedy_last_logits");
    pk_op start = {.code = PK_OP_START, .argument = 128};
    pk_sample sample = {.top_p = 1};
    feed(ids.i32, (pk_span){.count = 64, .want = PK_WANT_LAST}, &start, 1, &sample);
    for (uint32_t i = 0; i < 64; i++) {
        const pk_answer *answer = only_answer(0);
        assert_int_equal(bench_sent(&b, PK_PORT_NEXT, 0)->head.spans->position, 64 + i);
        assert_int_equal(answer->status, PK_ANSWER_OK);
        assert_int_equal(answer->token, greedy.i32[i]);
        sample.flags = i == 63 ? PK_SAMPLE_LOGITS : 0;
        feed(&greedy.i32[i], (pk_span){.position = 64 + i, .count = 1, .want = PK_WANT_LAST}, NULL, 0, &sample);
    }
    const sent_batch *logits = bench_sent(&b, PK_PORT_NEXT, 0);
    assert_int_equal(logits->head.kind, PK_KIND_LOGITS);
    assert_int_equal(logits->head.spans->position, 127);
    assert_true(largest_difference(logits->payload->data, last.f32, NANO_VOCAB) < 4e-5);
    assert_int_equal(only_answer(1)->status, PK_ANSWER_OK);
    free(ids.f32);
    free(greedy.f32);
    free(last.f32);
    bench_close(&layers);
    bench_close(&b);
}

static pk_batch activations(const pk_span *spans, uint32_t span_count, const pk_sample *samples, uint32_t sample_count)
{
    return (pk_batch){.kind = PK_KIND_ACTIVATIONS,
                      .dtype = PK_F32,
                      .width = NANO_HIDDEN,
                      .spans = spans,
                      .span_count = span_count,
                      .samples = samples,
                      .sample_count = sample_count};
}

enum { ROWS = 200 };

static void fill(float *x)
{
    for (size_t i = 0; i < ROWS * NANO_HIDDEN; i++)
        x[i] = (float)((i * 2654435761u >> 7) % 1000) / 250.0f - 2.0f;
}

static void each_row_is_answered_as_it_was_asked(void **state)
{
    (void)state;
    float x[ROWS * NANO_HIDDEN], all[ROWS * NANO_VOCAB];
    fill(x);
    open_head("nano");
    pk_span whole = {.sequence = 1, .count = ROWS, .want = PK_WANT_ALL};
    bench_works(&b, activations(&whole, 1, NULL, 0), payload_of(x, sizeof x));
    memcpy(all, bench_sent(&b, PK_PORT_NEXT, 0)->payload->data, sizeof all);
    assert_int_equal(bench_sent(&b, PK_PORT_NEXT, 1)->head.span_count, 0);
    assert_null(bench_sent(&b, PK_PORT_NEXT, 1)->payload);

    const pk_span spans[] = {{.sequence = 1, .position = 10, .count = 63, .want = PK_WANT_ALL}, /* sampled, unshown */
                             {.sequence = 2, .position = 5, .count = 1, .want = PK_WANT_LAST},  /* sampled, unshown */
                             {.sequence = 3, .position = 0, .count = 0, .want = PK_WANT_NONE},
                             {.sequence = 4, .position = 7, .count = 100, .want = PK_WANT_ALL}, /* not sampled */
                             {.sequence = 5, .position = 8, .count = 36, .want = PK_WANT_ALL}}; /* sampled, shown */
    const pk_sample samples[] = {{.span = 4, .flags = PK_SAMPLE_LOGITS},
                                 {.span = 1, .temperature = 1, .top_p = 1, .seed = 3},
                                 {.span = 0},
                                 {.span = 1, .temperature = 1, .top_p = 1, .seed = 3, .choice = 1}};
    bench_works(&b, activations(spans, 5, samples, 4), payload_of(x, sizeof x));
    assert_int_equal(b.out.count, 2);
    const sent_batch *logits = bench_sent(&b, PK_PORT_NEXT, 0), *answers = bench_sent(&b, PK_PORT_NEXT, 1);
    assert_int_equal(logits->head.span_count, 3);
    assert_int_equal(logits->head.spans[0].sequence, 1);
    assert_int_equal(logits->head.spans[0].count, 62);
    assert_int_equal(logits->head.spans[1].sequence, 4);
    assert_int_equal(logits->head.spans[2].sequence, 5);
    assert_int_equal(logits->head.spans[2].count, 36);
    assert_memory_equal(logits->payload->data, all, 62 * NANO_VOCAB * sizeof(float));
    assert_memory_equal((float *)logits->payload->data + 62 * NANO_VOCAB, all + 64 * NANO_VOCAB,
                        136 * NANO_VOCAB * sizeof(float));
    static const size_t rows[] = {199, 63, 62, 63};
    static const uint32_t sequences[] = {5, 2, 1, 2}, positions[] = {44, 6, 73, 6};
    pk_sampler *sampler;
    assert_ok(pk_sampler_open(&sampler, NANO_VOCAB));
    assert_int_equal(answers->head.span_count, 4);
    for (size_t i = 0; i < 4; i++) {
        pk_answer expected = pk_sampler_choose(sampler, all + rows[i] * NANO_VOCAB, &samples[i], positions[i]);
        assert_memory_equal((pk_answer *)answers->payload->data + i, &expected, sizeof expected);
        assert_int_equal(answers->head.spans[i].sequence, sequences[i]);
        assert_int_equal(answers->head.spans[i].position, positions[i]);
        assert_int_equal(answers->head.spans[i].count, 1);
    }
    pk_sampler_close(&sampler);
    bench_close(&b);
}

static void an_empty_batch_is_acknowledged(void **state)
{
    (void)state;
    open_head("nano");
    pk_span span = {.sequence = 1, .position = 4};
    bench_works(&b, activations(&span, 1, NULL, 0), NULL);
    assert_int_equal(b.out.count, 1);
    assert_int_equal(bench_sent(&b, PK_PORT_NEXT, 0)->head.kind, PK_KIND_ANSWERS);
    assert_int_equal(bench_sent(&b, PK_PORT_NEXT, 0)->head.number, 1);
    assert_int_equal(b.stage.ready.tensors, 2);
    bench_close(&b);
}

static void a_nan_fails_its_own_answer_only(void **state)
{
    (void)state;
    float x[2 * NANO_HIDDEN];
    for (size_t i = 0; i < 2 * NANO_HIDDEN; i++)
        x[i] = (float)i;
    x[3] = (float)NAN;
    pk_span spans[] = {{.sequence = 1, .count = 1, .want = 1}, {.sequence = 2, .count = 1, .want = 1}};
    pk_sample samples[] = {{.span = 0}, {.span = 1}};
    open_head("nano");
    bench_works(&b, activations(spans, 2, samples, 2), payload_of(x, sizeof x));
    const pk_answer *answers = bench_sent(&b, PK_PORT_NEXT, 0)->payload->data;
    assert_int_equal(answers[0].status, PK_ANSWER_NAN);
    assert_int_equal(answers[1].status, PK_ANSWER_OK);
    bench_close(&b);
}

static void what_is_not_for_the_head_is_refused(void **state)
{
    (void)state;
    float x[NANO_HIDDEN] = {0};
    pk_span spans[] = {{.sequence = 1, .count = 0}, {.sequence = 2, .count = 1}};
    pk_sample sample = {.span = 0};
    open_head("nano");
    pk_batch in = activations(spans, 2, &sample, 1);
    bench_refuses(&b, in, payload_of(x, sizeof x), PK_PEER, "sample 0 is asked of span 0, which has no rows");
    in.kind = PK_KIND_TEXT;
    bench_refuses(&b, in, payload_of(x, sizeof x), PK_PEER, "text (kind 4) came where activations (kind 2)");
    bench_close(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nano_gives_its_golden_logits_in_any_chunks),
        cmocka_unit_test(duo_gives_its_golden_logits_in_any_chunks),
        cmocka_unit_test(shared_gives_its_golden_logits_in_any_chunks),
        cmocka_unit_test(greedy_continuation_is_golden),
        cmocka_unit_test(each_row_is_answered_as_it_was_asked),
        cmocka_unit_test(an_empty_batch_is_acknowledged),
        cmocka_unit_test(a_nan_fails_its_own_answer_only),
        cmocka_unit_test(what_is_not_for_the_head_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
