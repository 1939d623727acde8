#include "stages/layers.h"
#include "golden.h"

#include <stdio.h>
#include <string.h>

enum { NANO_LAYERS = 8, NANO_HIDDEN = 64 };

static pk_layers self;
static bench b;

static void open_part(const char *model, uint64_t first, uint64_t last, bool trace)
{
    char path[512];
    snprintf(path, sizeof path, GOLDEN "%s", model);
    bench_init(&b, &pk_layers_ops, &self, path);
    b.stage.assignment.first_layer = first;
    b.stage.assignment.last_layer = last;
    if (trace)
        snprintf(b.stage.assignment.trace, sizeof b.stage.assignment.trace, "ipc:///here");
    bench_open(&b);
}

static pk_batch tokens(const pk_span *spans, uint32_t span_count, const pk_op *ops, uint32_t op_count)
{
    return (pk_batch){.kind = PK_KIND_TOKENS,
                      .dtype = PK_I32,
                      .width = 1,
                      .spans = spans,
                      .span_count = span_count,
                      .ops = ops,
                      .op_count = op_count};
}

static const int32_t ids[16] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};

/* A batch with one span of `count` tokens and at most one op. */
static void feed(pk_span span, pk_op op)
{
    bench_works(&b, tokens(&span, 1, &op, op.code != 0), payload_of(ids, span.count * sizeof *ids));
}

static void refuse(pk_span span, pk_op op, const char *words)
{
    bench_refuses(&b, tokens(&span, 1, &op, op.code != 0), payload_of(ids, span.count * sizeof *ids), PK_PEER, words);
}

static const pk_op START = {.code = PK_OP_START, .argument = 100}, END = {.code = PK_OP_END}, NONE = {0};

static void golden_internals_come_on_the_trace_link(void **state)
{
    (void)state;
    open_part("nano", 0, NANO_LAYERS - 1, true);
    golden_tensor in = golden_read("nano", "seq64.ids"), hidden = golden_read("nano", "p64.hidden"),
                  router = golden_read("nano", "p64.router_ids"), weights = golden_read("nano", "p64.router_weights");
    pk_op ops[] = {{.code = PK_OP_START, .argument = 64}, {.code = PK_OP_STATE}};
    pk_span span = {.sequence = 9, .count = 64};
    bench_works(&b, tokens(&span, 1, ops, 2), payload_of(in.i32, 64 * sizeof(int32_t)));
    assert_int_equal(bench_count(&b, PK_PORT_TRACE), 3 * NANO_LAYERS + 7);
    for (size_t layer = 0; layer < NANO_LAYERS; layer++) {
        const sent_batch *sent = bench_sent(&b, PK_PORT_TRACE, 3 * layer);
        assert_int_equal(sent->head.kind, PK_KIND_TRACE);
        assert_int_equal(sent->head.number, 1);
        assert_int_equal(sent->head.ops->code, PK_OP_TRACE_HIDDEN);
        assert_int_equal(sent->head.ops->argument, layer);
        assert_int_equal(sent->head.spans->sequence, 9);
        assert_true(largest_difference(sent->payload->data, hidden.f32 + layer * 64 * NANO_HIDDEN, 64 * NANO_HIDDEN) <
                    1e-4);
        sent = bench_sent(&b, PK_PORT_TRACE, 3 * layer + 1);
        assert_int_equal(sent->head.ops->code, PK_OP_TRACE_ROUTER);
        assert_memory_equal(sent->payload->data, router.i32 + layer * 128, 128 * sizeof(int32_t));
        sent = bench_sent(&b, PK_PORT_TRACE, 3 * layer + 2);
        assert_int_equal(sent->head.ops->code, PK_OP_TRACE_WEIGHTS);
        assert_true(largest_difference(sent->payload->data, weights.f32 + layer * 128, 128) < 1e-5);
    }
    for (size_t layer = 0; layer < NANO_LAYERS - 1; layer++) {
        char name[32];
        snprintf(name, sizeof name, "p64.state.%zu", layer);
        golden_tensor expected = golden_read("nano", name);
        const sent_batch *sent = bench_sent(&b, PK_PORT_TRACE, 3 * NANO_LAYERS + layer);
        assert_int_equal(sent->head.ops->code, PK_OP_TRACE_STATE);
        assert_int_equal(sent->head.ops->argument, layer);
        assert_int_equal(sent->head.spans->position, 64);
        assert_int_equal(sent->head.spans->count, 64); /* heads × dim */
        assert_int_equal(sent->head.width, 16);
        assert_true(largest_difference(sent->payload->data, expected.f32, expected.count) < 2e-4);
        free(expected.f32);
    }
    free(in.f32);
    free(hidden.f32);
    free(router.f32);
    free(weights.f32);
    bench_close(&b);
}

static void only_its_own_tensors_are_read(void **state)
{
    (void)state;
    open_part("duo", 7, 8, false);
    /* a softmax and a lightning layer: 2 norms, 4 of attention, router, 3 × 32 of experts each */
    assert_int_equal(b.stage.ready.tensors, 2 * (2 + 4 + 1 + 96));
    assert_int_equal(b.stage.ready.bytes_total, b.stage.ready.bytes_done);
    assert_int_equal(b.stage.ready.bytes_total, b.loading_total);
    assert_true(b.loading_calls > 0);
    assert_memory_equal(b.stage.ready.device_name, "cpu:", 4);
    assert_int_equal(b.stage.in.payload_bytes, 640 * 128 * 4);
    assert_int_equal(b.stage.in.spans, 640 + 2 * 4);
    bench_close(&b);
}

static void a_middle_stage_sends_on_everything_in_the_buffer_that_came(void **state)
{
    (void)state;
    float x[3 * 128];
    pk_span spans[] = {{.sequence = 1, .count = 2, .want = PK_WANT_NONE}, {.sequence = 2, .count = 1, .want = 1}};
    pk_op ops[] = {{.span = 0, .code = PK_OP_START, .argument = 2}, {.span = 1, .code = PK_OP_START, .argument = 2}};
    pk_sample sample = {.span = 1, .seed = 77};
    for (size_t i = 0; i < 3 * 128; i++)
        x[i] = (float)(i % 17) - 8.0f;
    open_part("duo", 7, 8, false);
    pk_buffer *payload = payload_of(x, sizeof x);
    pk_batch in = tokens(spans, 2, ops, 2);
    in.kind = PK_KIND_ACTIVATIONS;
    in.dtype = PK_F32;
    in.width = 128;
    in.samples = &sample;
    in.sample_count = 1;
    bench_works(&b, in, payload);
    const sent_batch *sent = bench_sent(&b, PK_PORT_NEXT, 0);
    assert_int_equal(b.out.count, 1);
    assert_ptr_equal(sent->payload, payload);
    assert_int_equal(sent->head.kind, PK_KIND_ACTIVATIONS);
    assert_int_equal(sent->head.number, 1);
    assert_memory_equal(sent->head.spans, spans, sizeof spans);
    assert_memory_equal(sent->head.ops, ops, sizeof ops);
    assert_memory_equal(sent->head.samples, &sample, sizeof sample);
    bench_close(&b);
}

static void the_last_stage_sends_on_only_wanted_rows(void **state)
{
    (void)state;
    pk_span spans[] = {{.sequence = 1, .count = 5, .want = PK_WANT_NONE},
                       {.sequence = 2, .count = 5, .want = PK_WANT_LAST},
                       {.sequence = 3, .count = 0, .want = PK_WANT_LAST},
                       {.sequence = 4, .count = 3, .want = PK_WANT_ALL}};
    pk_op ops[] = {{.span = 0, .code = PK_OP_START, .argument = 9},
                   {.span = 1, .code = PK_OP_START, .argument = 9},
                   {.span = 2, .code = PK_OP_START, .argument = 9},
                   {.span = 3, .code = PK_OP_START, .argument = 9}};
    float all[13 * NANO_HIDDEN];
    open_part("nano", 0, NANO_LAYERS - 2, false); /* not the last: everything comes out */
    pk_buffer *middle = NULL;
    bench_works(&b, tokens(spans, 4, ops, 4), payload_of(ids, 13 * sizeof *ids));
    middle = payload_of(bench_sent(&b, PK_PORT_NEXT, 0)->payload->data, sizeof all);
    bench_close(&b);

    open_part("nano", NANO_LAYERS - 1, NANO_LAYERS - 1, true);
    pk_batch in = tokens(spans, 4, ops, 4);
    in.kind = PK_KIND_ACTIVATIONS;
    in.dtype = PK_F32;
    in.width = NANO_HIDDEN;
    bench_works(&b, in, middle);
    memcpy(all, bench_sent(&b, PK_PORT_TRACE, 0)->payload->data, sizeof all);
    const sent_batch *sent = bench_sent(&b, PK_PORT_NEXT, 0);
    const pk_span expected[] = {{.sequence = 1, .position = 5, .count = 0, .want = PK_WANT_NONE},
                                {.sequence = 2, .position = 4, .count = 1, .want = PK_WANT_LAST},
                                {.sequence = 3, .position = 0, .count = 0, .want = PK_WANT_LAST},
                                {.sequence = 4, .position = 0, .count = 3, .want = PK_WANT_ALL}};
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(sent->head.spans[i].sequence, expected[i].sequence);
        assert_int_equal(sent->head.spans[i].position, expected[i].position);
        assert_int_equal(sent->head.spans[i].count, expected[i].count);
        assert_int_equal(sent->head.spans[i].want, expected[i].want);
    }
    assert_memory_equal(sent->payload->data, all + 9 * NANO_HIDDEN, NANO_HIDDEN * sizeof(float));
    assert_memory_equal((float *)sent->payload->data + NANO_HIDDEN, all + 10 * NANO_HIDDEN,
                        3 * NANO_HIDDEN * sizeof(float));
    bench_close(&b);
}

static void a_batch_without_tokens_still_goes_on(void **state)
{
    (void)state;
    open_part("nano", 0, NANO_LAYERS - 1, true);
    feed((pk_span){.sequence = 1}, START);
    assert_int_equal(b.out.count, 1);
    assert_null(bench_sent(&b, PK_PORT_NEXT, 0)->payload);
    assert_int_equal(bench_sent(&b, PK_PORT_NEXT, 0)->head.width, NANO_HIDDEN);
    feed((pk_span){.sequence = 1, .count = 4}, NONE); /* wanted by nobody */
    assert_null(bench_sent(&b, PK_PORT_NEXT, 0)->payload);
    feed((pk_span){.sequence = 1, .position = 4}, END);
    assert_int_equal(b.out.count, 1);
    bench_works(&b, tokens(NULL, 0, NULL, 0), NULL);
    assert_int_equal(b.out.count, 1);
    bench_close(&b);
}

static void what_does_not_follow_is_refused(void **state)
{
    (void)state;
    open_part("nano", 0, 1, false);
    refuse((pk_span){.sequence = 7, .count = 3}, NONE, "sequence 7 was never started");
    feed((pk_span){.sequence = 7, .count = 10}, START);
    refuse((pk_span){.sequence = 7, .position = 12, .count = 1}, NONE,
           "sequence 7: position 12 came where 10 was expected");
    refuse((pk_span){.sequence = 7, .position = 9, .count = 1}, NONE, "position 9 came where 10 was expected");
    refuse((pk_span){.sequence = 7, .position = 10, .count = 1}, START, "sequence 7 starts, but it is here already");
    feed((pk_span){.sequence = 7, .position = 10, .count = 2}, END);
    refuse((pk_span){.sequence = 7, .position = 12, .count = 1}, NONE,
           "sequence 7 was never started here, or has ended");
    refuse((pk_span){.sequence = 8}, END, "sequence 8 was never started");
    bench_close(&b);
}

static void room_is_what_start_asked_for(void **state)
{
    (void)state;
    open_part("nano", 0, 1, false);
    refuse((pk_span){.sequence = 1}, (pk_op){.code = PK_OP_START, .argument = 1025}, "the context is 1024");
    feed((pk_span){.sequence = 1, .count = 4}, (pk_op){.code = PK_OP_START, .argument = 5});
    refuse((pk_span){.sequence = 1, .position = 4, .count = 2}, NONE, "there is room for 5 positions");
    feed((pk_span){.sequence = 1, .position = 4, .count = 1}, NONE);
    bench_close(&b);
}

static void slots_are_counted_and_given_back(void **state)
{
    (void)state;
    open_part("nano", 0, 1, false);
    for (uint32_t sequence = 0; sequence < 4; sequence++)
        feed((pk_span){.sequence = sequence, .count = 2}, START);
    refuse((pk_span){.sequence = 4, .count = 2}, START, "all 4 slots are taken");
    /* In one batch: what ends on a span without tokens makes room for what starts. */
    pk_span spans[] = {{.sequence = 2, .position = 2}, {.sequence = 4, .count = 2}};
    pk_op ops[] = {{.span = 0, .code = PK_OP_END}, {.span = 1, .code = PK_OP_START, .argument = 9}};
    bench_works(&b, tokens(spans, 2, ops, 2), payload_of(ids, 2 * sizeof *ids));
    feed((pk_span){.sequence = 0, .position = 2, .count = 1}, END);
    feed((pk_span){.sequence = 5, .count = 1}, START);
    bench_close(&b);
}

static void a_slot_is_as_good_as_new_after_its_sequence_ended(void **state)
{
    (void)state;
    float first[10 * NANO_HIDDEN];
    pk_span span = {.sequence = 1, .count = 10, .want = PK_WANT_ALL};
    open_part("nano", 0, NANO_LAYERS - 1, false);
    pk_op ops[] = {START, END};
    for (uint32_t round = 0; round < 6; round++) {
        span.sequence = round;
        bench_works(&b, tokens(&span, 1, ops, 2), payload_of(ids, 10 * sizeof *ids));
        const sent_batch *sent = bench_sent(&b, PK_PORT_NEXT, 0);
        if (round == 0)
            memcpy(first, sent->payload->data, sizeof first);
        assert_memory_equal(first, sent->payload->data, sizeof first);
    }
    bench_close(&b);
}

/* A provider that counts the rows of each layer's call and passes it on. */
static struct counting {
    pk_experts base;
    pk_experts *behind;
    size_t rows[NANO_LAYERS];
} counting;

static pk_err count_and_run(pk_experts *experts, const pk_expert_call *call)
{
    struct counting *it = (struct counting *)experts;
    it->rows[call->layer] += call->rows;
    return it->behind->run(it->behind, call);
}

static void the_last_mixture_leaves_out_what_nobody_wants(void **state)
{
    (void)state;
    float last[NANO_HIDDEN];
    pk_span spans[] = {{.sequence = 0, .count = 10, .want = PK_WANT_ALL},
                       {.sequence = 1, .count = 10, .want = PK_WANT_LAST}};
    pk_op op = START;
    open_part("nano", 0, NANO_LAYERS - 1, false);
    bench_works(&b, tokens(&spans[0], 1, &op, 1), payload_of(ids, 10 * sizeof *ids));
    memcpy(last, (float *)bench_sent(&b, PK_PORT_NEXT, 0)->payload->data + 9 * NANO_HIDDEN, sizeof last);
    counting = (struct counting){.base.run = count_and_run, .behind = self.experts};
    self.experts = &counting.base;
    bench_works(&b, tokens(&spans[1], 1, &op, 1), payload_of(ids, 10 * sizeof *ids));
    self.experts = counting.behind;
    for (size_t layer = 0; layer + 1 < NANO_LAYERS; layer++)
        assert_int_equal(counting.rows[layer], 10);
    assert_int_equal(counting.rows[NANO_LAYERS - 1], 1);
    const sent_batch *sent = bench_sent(&b, PK_PORT_NEXT, 0);
    assert_int_equal(sent->payload->bytes, sizeof last);
    assert_memory_equal(last, sent->payload->data, sizeof last);
    bench_close(&b);
}

static void a_sequence_twice_in_a_batch_is_refused(void **state)
{
    (void)state;
    pk_span spans[] = {{.sequence = 1, .count = 2}, {.sequence = 1, .count = 2}};
    pk_op op = START;
    open_part("nano", 0, 1, false);
    bench_refuses(&b, tokens(spans, 2, &op, 1), payload_of(ids, 4 * sizeof *ids), PK_PEER,
                  "sequence 1 has two spans of tokens");
    bench_close(&b);
}

static void other_kinds_and_ops_are_refused_by_name(void **state)
{
    (void)state;
    pk_span span = {.sequence = 1, .count = 1};
    float x[NANO_HIDDEN] = {0};
    pk_batch activations = {
        .kind = PK_KIND_ACTIVATIONS, .dtype = PK_F32, .width = NANO_HIDDEN, .spans = &span, .span_count = 1};
    open_part("nano", 0, 1, false);
    bench_refuses(&b, activations, payload_of(x, sizeof x), PK_PEER,
                  "activations (kind 2) came where token ids (kind 1)");
    refuse((pk_span){.sequence = 1}, (pk_op){.code = 2}, "op 2 does not belong to a layers stage");
    feed((pk_span){.sequence = 1, .count = 1}, START);
    refuse((pk_span){.sequence = 1, .position = 1, .count = 1}, (pk_op){.code = PK_OP_STATE}, "no trace link");
    bench_close(&b);
    open_part("nano", 1, 2, false);
    refuse(span, START, "token ids (kind 1) came where activations (kind 2)");
    activations.width = 32;
    bench_refuses(&b, activations, payload_of(x, 32 * 4), PK_PEER, "of width 32, expected F32 of width 64");
    bench_close(&b);
}

static void ids_outside_the_vocabulary_are_refused(void **state)
{
    (void)state;
    pk_span span = {.sequence = 1, .count = 2};
    pk_op op = START;
    int32_t bad[] = {383, 384}, negative[] = {0, -1};
    open_part("nano", 0, 1, false);
    bench_refuses(&b, tokens(&span, 1, &op, 1), payload_of(bad, sizeof bad), PK_PEER, "token id 384 in row 1");
    span.sequence = 2;
    bench_refuses(&b, tokens(&span, 1, &op, 1), payload_of(negative, sizeof negative), PK_PEER, "token id -1 in row 1");
    bench_close(&b);
}

static void an_assignment_out_of_range_is_refused(void **state)
{
    (void)state;
    bench_init(&b, &pk_layers_ops, &self, GOLDEN "nano");
    b.stage.assignment.first_layer = 3;
    b.stage.assignment.last_layer = 8;
    assert_int_equal(b.ops->open(b.self, &b.stage), PK_INVALID);
    assert_non_null(strstr(pk_error_text(), "layers 3 to 8 are assigned, the model has 0 to 7"));
    bench_close(&b);
    bench_init(&b, &pk_layers_ops, &self, GOLDEN "nano");
    b.stage.assignment.threads = 0;
    assert_int_equal(b.ops->open(b.self, &b.stage), PK_INVALID);
    bench_close(&b);
    bench_init(&b, &pk_layers_ops, &self, GOLDEN "nano");
    snprintf(b.stage.assignment.io, sizeof b.stage.assignment.io, "mmap");
    assert_int_equal(b.ops->open(b.self, &b.stage), PK_INVALID);
    assert_non_null(strstr(pk_error_text(), "io is 'mmap'"));
    bench_close(&b);
    bench_init(&b, &pk_layers_ops, &self, GOLDEN "missing");
    assert_int_equal(b.ops->open(b.self, &b.stage), PK_IO);
    bench_close(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_internals_come_on_the_trace_link),
        cmocka_unit_test(only_its_own_tensors_are_read),
        cmocka_unit_test(a_middle_stage_sends_on_everything_in_the_buffer_that_came),
        cmocka_unit_test(the_last_stage_sends_on_only_wanted_rows),
        cmocka_unit_test(the_last_mixture_leaves_out_what_nobody_wants),
        cmocka_unit_test(a_batch_without_tokens_still_goes_on),
        cmocka_unit_test(what_does_not_follow_is_refused),
        cmocka_unit_test(room_is_what_start_asked_for),
        cmocka_unit_test(slots_are_counted_and_given_back),
        cmocka_unit_test(a_slot_is_as_good_as_new_after_its_sequence_ended),
        cmocka_unit_test(a_sequence_twice_in_a_batch_is_refused),
        cmocka_unit_test(other_kinds_and_ops_are_refused_by_name),
        cmocka_unit_test(ids_outside_the_vocabulary_are_refused),
        cmocka_unit_test(an_assignment_out_of_range_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
