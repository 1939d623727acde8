/* What is written reads back; what is broken is refused, without a crash and without an allocation. The exact words of
 * refusals: test_wire_refusals.c. */
#include "tests/unit/cmocka_all.h"
#include "ipc/wire.h"
#include "random.h"

#include <string.h>

enum { SPANS = 12, PAYLOAD_BYTES = 1 << 20, HEADER_BYTES = 1024 + 128 * SPANS };

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t count, size_t bytes);
void *__real_realloc(void *memory, size_t bytes);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__wrap_realloc(void *memory, size_t bytes);

static unsigned allocations;

void *__wrap_malloc(size_t bytes)
{
    allocations++;
    return __real_malloc(bytes);
}

void *__wrap_calloc(size_t count, size_t bytes)
{
    allocations++;
    return __real_calloc(count, bytes);
}

void *__wrap_realloc(void *memory, size_t bytes)
{
    allocations++;
    return __real_realloc(memory, bytes);
}

typedef struct {
    pk_batch head;
    pk_span spans[SPANS];
    pk_op ops[4 * SPANS];
    pk_sample samples[SPANS];
} message;

static float any_float(random_source *random)
{
    uint32_t bits = (uint32_t)random_u64(random);
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static void draw_spans(random_source *random, message *m)
{
    m->head.span_count = random_to(random, SPANS);
    for (uint32_t i = 0; i < m->head.span_count; i++) {
        uint32_t count = random_to(random, 30);
        m->spans[i] = (pk_span){.sequence = (uint32_t)random_bits(random, 32),
                                .position = (uint32_t)random_bits(random, 32),
                                .count = count,
                                .want = (uint8_t)random_to(random, 2)};
        if (m->spans[i].position > UINT32_MAX - count)
            m->spans[i].position = UINT32_MAX - count;
    }
}

static void draw_samples(random_source *random, message *m, uint32_t last)
{
    m->head.sample_count = random_to(random, SPANS);
    for (uint32_t i = 0; i < m->head.sample_count; i++)
        m->samples[i] = (pk_sample){.span = random_to(random, last),
                                    .seed = random_bits(random, 64),
                                    .prompt_hash = random_bits(random, 64),
                                    .choice = (uint32_t)random_bits(random, 32),
                                    .temperature = any_float(random),
                                    .top_p = any_float(random),
                                    .top_k = (uint32_t)random_bits(random, 32),
                                    .min_p = any_float(random),
                                    .flags = (uint32_t)random_bits(random, 32)};
}

/* Any batch that the limits allow, extreme values and empty arrays included. */
static void draw(random_source *random, message *m)
{
    m->head = (pk_batch){.kind = (uint8_t)random_to(random, 8),
                         .epoch = (uint32_t)random_bits(random, 32),
                         .lane = (uint32_t)random_bits(random, 32),
                         .number = random_bits(random, 64),
                         .dtype = (uint8_t)(1 + random_to(random, 4)),
                         .width = random_to(random, 700),
                         .checksum = random_bits(random, 64),
                         .spans = m->spans,
                         .ops = m->ops,
                         .samples = m->samples};
    draw_spans(random, m);
    if (m->head.span_count == 0)
        return;
    uint32_t last = m->head.span_count - 1;
    m->head.op_count = random_to(random, 4 * SPANS);
    for (uint32_t i = 0; i < m->head.op_count; i++)
        m->ops[i] = (pk_op){.span = random_to(random, last),
                            .code = (uint8_t)random_bits(random, 8),
                            .argument = (uint32_t)random_bits(random, 32)};
    draw_samples(random, m, last);
}

static void assert_same_span(const pk_span *a, const pk_span *b)
{
    assert_int_equal(a->sequence, b->sequence);
    assert_int_equal(a->position, b->position);
    assert_int_equal(a->count, b->count);
    assert_int_equal(a->want, b->want);
}

static void assert_same_sample(const pk_sample *a, const pk_sample *b)
{
    assert_int_equal(a->span, b->span);
    assert_true(a->seed == b->seed && a->prompt_hash == b->prompt_hash);
    assert_int_equal(a->choice, b->choice);
    assert_memory_equal(&a->temperature, &b->temperature, sizeof a->temperature);
    assert_memory_equal(&a->top_p, &b->top_p, sizeof a->top_p);
    assert_int_equal(a->top_k, b->top_k);
    assert_memory_equal(&a->min_p, &b->min_p, sizeof a->min_p);
    assert_int_equal(a->flags, b->flags);
}

static void assert_same(const pk_batch *a, const pk_batch *b)
{
    assert_int_equal(a->kind, b->kind);
    assert_int_equal(a->epoch, b->epoch);
    assert_int_equal(a->lane, b->lane);
    assert_true(a->number == b->number);
    assert_int_equal(a->dtype, b->dtype);
    assert_int_equal(a->width, b->width);
    assert_int_equal(a->transport, b->transport);
    assert_true(a->checksum == b->checksum);
    assert_int_equal(a->span_count, b->span_count);
    assert_int_equal(a->op_count, b->op_count);
    assert_int_equal(a->sample_count, b->sample_count);
    for (uint32_t i = 0; i < a->span_count; i++)
        assert_same_span(&a->spans[i], &b->spans[i]);
    for (uint32_t i = 0; i < a->op_count; i++) {
        assert_int_equal(a->ops[i].span, b->ops[i].span);
        assert_int_equal(a->ops[i].code, b->ops[i].code);
        assert_int_equal(a->ops[i].argument, b->ops[i].argument);
    }
    for (uint32_t i = 0; i < a->sample_count; i++)
        assert_same_sample(&a->samples[i], &b->samples[i]);
}

static pk_batch_store *open_store(void)
{
    pk_batch_store *store = NULL;
    assert_int_equal(pk_batch_store_open(&store, (pk_batch_limits){.spans = SPANS, .payload_bytes = PAYLOAD_BYTES}),
                     PK_OK);
    return store;
}

static size_t write_drawn(const message *m, uint8_t frame[HEADER_BYTES])
{
    size_t bytes = 0;
    assert_int_equal(pk_batch_write(&m->head, frame, HEADER_BYTES, &bytes), PK_OK);
    return bytes;
}

static void random_batches_read_back_as_they_were_written(void **state)
{
    random_source random = random_open("round trip", 20240601);
    pk_batch_store *store = open_store();
    static message m;
    (void)state;
    for (int i = 0; i < 3000; i++) {
        uint8_t frame[HEADER_BYTES];
        pk_batch read;
        draw(&random, &m);
        size_t bytes = write_drawn(&m, frame);
        if (pk_batch_read(store, &read, frame, bytes, pk_batch_payload_bytes(&m.head)))
            fail_msg("batch %d: %s", i, pk_error_text());
        assert_same(&m.head, &read);
    }
    pk_batch_store_close(&store);
}

static void a_header_cut_at_any_byte_is_refused(void **state)
{
    random_source random = random_open("truncation", 7);
    pk_batch_store *store = open_store();
    static message m;
    (void)state;
    for (int i = 0; i < 20; i++) {
        uint8_t frame[HEADER_BYTES];
        draw(&random, &m);
        size_t bytes = write_drawn(&m, frame), payload = pk_batch_payload_bytes(&m.head);
        for (size_t cut = 0; cut < bytes; cut++) {
            uint8_t *copy = __real_malloc(cut + 1); /* with an end of its own for the sanitizer: copy + 1 */
            pk_batch read;
            memcpy(copy + 1, frame, cut);
            assert_int_equal(pk_batch_read(store, &read, copy + 1, cut, payload), PK_CORRUPT);
            assert_non_null(strstr(pk_error_text(), "the message ends"));
            free(copy);
        }
    }
    pk_batch_store_close(&store);
}

/* Overwrites, drops, doubles or cuts. Returns the new size. */
static size_t mutate(random_source *random, uint8_t *frame, size_t bytes)
{
    for (uint32_t hits = 1 + random_to(random, 3); hits && bytes > 1; hits--) {
        size_t at = random_to(random, (uint32_t)bytes - 1);
        switch (random_to(random, 9)) {
        case 0:
            bytes = at;
            break;
        case 1:
            memmove(frame + at, frame + at + 1, --bytes - at);
            break;
        case 2:
            memmove(frame + at + 1, frame + at, bytes++ - at);
            break;
        case 3:
            frame[at] = (uint8_t)(0xc0 + random_to(random, 0x3f)); /* a type byte */
            break;
        case 4:
            memset(frame + at, 0xff, bytes - at < 4 ? bytes - at : 4);
            break;
        default:
            frame[at] = (uint8_t)random_u64(random);
        }
    }
    return bytes;
}

/* What a stage relies on, whatever came. */
static void assert_sound(const pk_batch *batch, size_t payload)
{
    assert_true(batch->span_count <= SPANS && batch->op_count <= 4 * SPANS && batch->sample_count <= SPANS);
    assert_true(pk_batch_payload_bytes(batch) == payload);
    assert_int_not_equal(pk_dtype_bytes(batch->dtype), 0);
    for (uint32_t i = 0; i < batch->span_count; i++)
        assert_true(batch->spans[i].count <= UINT32_MAX - batch->spans[i].position && batch->spans[i].want <= 2);
    for (uint32_t i = 0; i < batch->op_count; i++)
        assert_true(batch->ops[i].span < batch->span_count);
    for (uint32_t i = 0; i < batch->sample_count; i++)
        assert_true(batch->samples[i].span < batch->span_count);
}

static void mutated_headers_never_crash_lie_or_allocate(void **state)
{
    random_source random = random_open("mutation", 99);
    pk_batch_store *store = open_store();
    static message m;
    unsigned refused = 0, accepted = 0;
    (void)state;
    for (int i = 0; i < 20000; i++) {
        uint8_t frame[HEADER_BYTES + 8];
        pk_batch read;
        draw(&random, &m);
        size_t payload = pk_batch_payload_bytes(&m.head), bytes = mutate(&random, frame, write_drawn(&m, frame));
        uint8_t *copy = __real_malloc(bytes + 1);
        memcpy(copy + 1, frame, bytes);
        unsigned before = allocations;
        pk_err err = pk_batch_read(store, &read, copy + 1, bytes, payload);
        assert_int_equal(allocations, before);
        if (err) {
            assert_int_equal(err, PK_CORRUPT);
            refused++;
        } else {
            assert_sound(&read, payload);
            accepted++;
        }
        free(copy);
    }
    print_message("%u refused, %u still sound\n", refused, accepted);
    assert_true(refused > 5000 && accepted > 100);
    pk_batch_store_close(&store);
}

static void reading_allocates_nothing(void **state)
{
    random_source random = random_open("allocation", 3);
    pk_batch_store *store = open_store();
    static message m;
    unsigned before = allocations;
    (void)state;
    assert_true(before > 0); /* the store itself: so the count counts */
    for (int i = 0; i < 100; i++) {
        uint8_t frame[HEADER_BYTES];
        pk_batch read;
        draw(&random, &m);
        size_t bytes = write_drawn(&m, frame);
        assert_int_equal(pk_batch_read(store, &read, frame, bytes, pk_batch_payload_bytes(&m.head)), PK_OK);
    }
    assert_int_equal(allocations, before);
    pk_batch_store_close(&store);
}

static void the_largest_batch_of_a_plan_fits_into_the_header_limit(void **state)
{
    static message m;
    uint8_t frame[HEADER_BYTES];
    (void)state;
    m.head = (pk_batch){.kind = 8, .epoch = UINT32_MAX, .lane = UINT32_MAX, .number = UINT64_MAX, .dtype = PK_U8,
                        .width = 1, .checksum = UINT64_MAX, .spans = m.spans, .ops = m.ops, .samples = m.samples,
                        .span_count = SPANS, .op_count = 4 * SPANS, .sample_count = SPANS};
    for (uint32_t i = 0; i < SPANS; i++) {
        m.spans[i] = (pk_span){UINT32_MAX, UINT32_MAX - 100000, 100000, 2};
        m.samples[i] = (pk_sample){SPANS - 1, UINT64_MAX, UINT64_MAX, UINT32_MAX, 1, 1, UINT32_MAX, 1, UINT32_MAX};
    }
    for (uint32_t i = 0; i < 4 * SPANS; i++)
        m.ops[i] = (pk_op){SPANS - 1, UINT8_MAX, UINT32_MAX};
    assert_int_equal(pk_batch_header_limit(SPANS), HEADER_BYTES);
    assert_true(write_drawn(&m, frame) <= HEADER_BYTES);
}

static void a_header_that_does_not_fit_is_not_sent(void **state)
{
    static message m;
    uint8_t frame[64];
    size_t bytes = 0;
    (void)state;
    m.head = (pk_batch){.kind = PK_KIND_TOKENS, .number = 5, .dtype = PK_I32, .width = 1, .spans = m.spans,
                        .span_count = SPANS, .ops = m.ops, .samples = m.samples};
    assert_int_equal(pk_batch_write(&m.head, frame, 20, &bytes), PK_NOMEM);
    assert_string_equal(pk_error_text(), "batch 5: its header does not fit into 20 bytes");
}

static void a_payload_beyond_a_msgpack_bin_is_not_sent(void **state)
{
    const pk_span span = {.count = 1u << 30};
    const pk_batch head = {.kind = PK_KIND_TOKENS, .number = 5, .dtype = PK_I32, .width = 1, .spans = &span,
                           .span_count = 1};
    uint8_t frame[64];
    size_t bytes = 0;
    (void)state;
    assert_int_equal(pk_batch_write(&head, frame, sizeof frame, &bytes), PK_NOMEM);
    assert_string_equal(pk_error_text(), "batch 5: a payload of 4294967296 bytes does not fit into a msgpack bin");
}

static void wanted_rows_are_none_the_last_or_all(void **state)
{
    (void)state;
    assert_int_equal(pk_span_wanted(&(pk_span){.count = 9, .want = PK_WANT_NONE}), 0);
    assert_int_equal(pk_span_wanted(&(pk_span){.count = 9, .want = PK_WANT_LAST}), 1);
    assert_int_equal(pk_span_wanted(&(pk_span){.count = 9, .want = PK_WANT_ALL}), 9);
    assert_int_equal(pk_span_wanted(&(pk_span){.count = 0, .want = PK_WANT_LAST}), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_batches_read_back_as_they_were_written),
        cmocka_unit_test(a_header_cut_at_any_byte_is_refused),
        cmocka_unit_test(mutated_headers_never_crash_lie_or_allocate),
        cmocka_unit_test(reading_allocates_nothing),
        cmocka_unit_test(the_largest_batch_of_a_plan_fits_into_the_header_limit),
        cmocka_unit_test(a_header_that_does_not_fit_is_not_sent),
        cmocka_unit_test(a_payload_beyond_a_msgpack_bin_is_not_sent),
        cmocka_unit_test(wanted_rows_are_none_the_last_or_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
