#include "tests/unit/cmocka_all.h"
#include "ipc/control.h"
#include "ipc/pack.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Every field of every kind has a value of its own, so that no two can be mixed up. */
static pk_control full(pk_control_kind kind)
{
    return (pk_control){
        .kind = kind,
        .version = "0.1.0",
        .stage_kind = 2,
        .pid = 4711,
        .assignment = {.model = "/models/m1",
                       .device = "cpu:avx2",
                       .io = "uring",
                       .first_layer = 10,
                       .last_layer = 19,
                       .threads = 3,
                       .batch_rows = 65536,
                       .sequences = 255,
                       .context = UINT32_MAX,
                       .window = 7,
                       .epoch = 1,
                       .listen = "ipc:///run/low.in",
                       .next = "ipc:///run/high.in",
                       .trace = "",
                       .slices = 1},
        .bytes_done = 100,
        .bytes_total = UINT64_MAX,
        .load_ns = 101,
        .tensors = 102,
        .note = "io_uring is forbidden here, weights are read with pread",
        .device_name = "cpu:plain",
        .vocabulary = 200064,
        .end_token = -1,
        .counters = {.progress = 1,
                     .waiting_on = PK_WAIT_NEXT,
                     .batches = 3,
                     .rows = 4,
                     .busy_ns = 5,
                     .wait_ns = 1ull << 60,
                     .dropped = 6,
                     .epoch = 7,
                     .last_in = 9,
                     .last_out = 8},
        .batch = 1ull << 40,
        .rows = 300,
        .start_ns = 301,
        .end_ns = 302,
        .code = PK_CORRUPT,
        .reason = "batch header: wire version 2, this build speaks 1",
    };
}

static size_t write_message(const pk_control *message, uint8_t bytes[PK_CONTROL_MESSAGE_BYTES])
{
    size_t used = 0;
    assert_int_equal(pk_control_write(message, bytes, PK_CONTROL_MESSAGE_BYTES, &used), PK_OK);
    return used;
}

/* What came is what was said, and nothing of another kind. */
static void round_trip(pk_control_kind kind, pk_control *read)
{
    uint8_t bytes[PK_CONTROL_MESSAGE_BYTES], again[PK_CONTROL_MESSAGE_BYTES];
    const pk_control said = full(kind);
    size_t used = write_message(&said, bytes);
    if (pk_control_read(read, bytes, used))
        fail_msg("kind %d: %s", kind, pk_error_text());
    assert_int_equal(read->kind, kind);
    assert_int_equal(write_message(read, again), used);
    assert_memory_equal(again, bytes, used);
}

static void every_kind_reads_back(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < PK_CONTROL_KIND_COUNT; kind++) {
        pk_control read;
        round_trip(kind, &read);
    }
}

static void hello_says_who_it_is(void **state)
{
    pk_control m;
    (void)state;
    round_trip(PK_CONTROL_HELLO, &m);
    assert_string_equal(m.version, "0.1.0");
    assert_int_equal(m.stage_kind, 2);
    assert_int_equal(m.pid, 4711);
    assert_int_equal(m.bytes_total, 0);
}

static void assign_carries_every_part_of_an_assignment(void **state)
{
    pk_control m;
    const pk_assignment *a = &m.assignment;
    (void)state;
    round_trip(PK_CONTROL_ASSIGN, &m);
    assert_string_equal(a->model, "/models/m1");
    assert_string_equal(a->device, "cpu:avx2");
    assert_string_equal(a->io, "uring");
    assert_int_equal(a->first_layer, 10);
    assert_int_equal(a->last_layer, 19);
    assert_int_equal(a->threads, 3);
    assert_int_equal(a->batch_rows, 65536);
    assert_int_equal(a->sequences, 255);
    assert_true(a->context == UINT32_MAX);
    assert_int_equal(a->window, 7);
    assert_int_equal(a->epoch, 1);
    assert_string_equal(a->listen, "ipc:///run/low.in");
    assert_string_equal(a->next, "ipc:///run/high.in");
    assert_string_equal(a->trace, "");
    assert_int_equal(a->slices, 1);
}

static void reset_carries_the_epoch_and_the_new_links(void **state)
{
    pk_control m;
    (void)state;
    round_trip(PK_CONTROL_RESET, &m);
    assert_int_equal(m.assignment.epoch, 1);
    assert_string_equal(m.assignment.listen, "ipc:///run/low.in");
    assert_string_equal(m.assignment.next, "ipc:///run/high.in");
    assert_string_equal(m.assignment.model, "");
    round_trip(PK_CONTROL_RESET_DONE, &m);
    assert_int_equal(m.assignment.epoch, 1);
    assert_string_equal(m.assignment.listen, "");
}

static void ready_and_beat_and_error_carry_their_figures(void **state)
{
    pk_control m;
    (void)state;
    round_trip(PK_CONTROL_READY, &m);
    assert_int_equal(m.bytes_done, 100);
    assert_true(m.bytes_total == UINT64_MAX);
    assert_int_equal(m.load_ns, 101);
    assert_int_equal(m.tensors, 102);
    assert_string_equal(m.device_name, "cpu:plain");
    assert_int_equal(m.vocabulary, 200064);
    assert_int_equal(m.end_token, -1);
    round_trip(PK_CONTROL_BEAT, &m);
    assert_int_equal(m.counters.progress, 1);
    assert_int_equal(m.counters.batches, 3);
    assert_int_equal(m.counters.rows, 4);
    assert_int_equal(m.counters.busy_ns, 5);
    assert_true(m.counters.wait_ns == 1ull << 60);
    assert_int_equal(m.counters.waiting_on, PK_WAIT_NEXT);
    assert_int_equal(m.counters.dropped, 6);
    assert_int_equal(m.counters.epoch, 7);
    assert_int_equal(m.counters.last_in, 9);
    assert_int_equal(m.counters.last_out, 8);
    round_trip(PK_CONTROL_ERROR, &m);
    assert_int_equal(m.code, PK_CORRUPT);
    assert_string_equal(m.reason, "batch header: wire version 2, this build speaks 1");
}

static void the_longest_texts_fit_into_a_message(void **state)
{
    pk_control m = full(PK_CONTROL_ASSIGN), read;
    uint8_t bytes[PK_CONTROL_MESSAGE_BYTES];
    (void)state;
    memset(m.assignment.model, 'm', sizeof m.assignment.model - 1);
    memset(m.assignment.listen, 'l', sizeof m.assignment.listen - 1);
    memset(m.assignment.next, 'n', sizeof m.assignment.next - 1);
    memset(m.assignment.trace, 't', sizeof m.assignment.trace - 1);
    assert_int_equal(pk_control_read(&read, bytes, write_message(&m, bytes)), PK_OK);
    assert_string_equal(read.assignment.model, m.assignment.model);
    m = full(PK_CONTROL_ERROR);
    memset(m.reason, 'r', sizeof m.reason - 1);
    assert_int_equal(pk_control_read(&read, bytes, write_message(&m, bytes)), PK_OK);
    assert_string_equal(read.reason, m.reason);
}

static void a_message_cut_at_any_byte_is_refused(void **state)
{
    uint8_t bytes[PK_CONTROL_MESSAGE_BYTES];
    (void)state;
    for (unsigned kind = 0; kind < PK_CONTROL_KIND_COUNT; kind++) {
        const pk_control said = full(kind);
        size_t used = write_message(&said, bytes);
        for (size_t cut = 0; cut < used; cut++) {
            pk_control read;
            uint8_t *copy = malloc(cut + 1); /* with an end of its own for the sanitizer */
            assert_non_null(copy);
            memcpy(copy + 1, bytes, cut);
            assert_int_equal(pk_control_read(&read, copy + 1, cut), PK_CORRUPT);
            free(copy);
        }
    }
}

#define ERROR_START "\x83\xa4type\xa5" "error"
#define CODE "\xa4" "code\x08"
#define REASON "\xa6" "reason\xa3why"

static const struct {
    const char *bytes;
    size_t size;
    const char *words; /* NULL: it is read */
} messages[] = {
#define MESSAGE(text) text, sizeof text - 1
    {MESSAGE(ERROR_START CODE REASON), NULL},
    {MESSAGE(ERROR_START REASON CODE), NULL},
    {MESSAGE("\x84\xa4type\xa5" "error" CODE "\xa5" "later\x93\x01\x81\x01\x02\xc0" REASON), NULL},
    {MESSAGE("\x85\xa4type\xa5" "error" CODE "\xa3pid\xa2no\xa3pid\x01" REASON), NULL}, /* a key of another kind */
    {MESSAGE("\x81\xa4type\xa5" "drain"), NULL},
    {MESSAGE("\x82\xa4type\xa5" "error" CODE), "\"error\" without \"reason\""},
    {MESSAGE("\x82\xa4type\xa5" "error" REASON), "\"error\" without \"code\""},
    {MESSAGE(ERROR_START CODE CODE), "key \"code\" stands twice"},
    {MESSAGE(ERROR_START "\xa4" "code\xa1" "8" REASON),
     "byte 17: type 0xa1 where code (an unsigned number) was expected"},
    {MESSAGE(ERROR_START "\xa4" "code\xff" REASON), "byte 17: type 0xff where code (an unsigned number) was expected"},
    {MESSAGE(ERROR_START CODE "\xa6" "reason\x07"), "byte 25: type 0x07 where reason (a string) was expected"},
    {MESSAGE(ERROR_START CODE "\xa6" "reason\xc4\x03why"), "byte 25: type 0xc4 where reason (a string) was expected"},
    {MESSAGE(ERROR_START CODE "\xa6" "reason\xa3w\0y"),
     "reason: a text of 3 bytes, at most 2047 and none of them zero were expected"},
    {MESSAGE(ERROR_START CODE REASON "\xc0"), "1 bytes stand behind the message"},
    {MESSAGE("\x81\xa4type\xa5" "greet"), "unknown type \"greet\""},
    {MESSAGE("\x81\xa4type\x03"), "byte 6: type 0x03 where type (a string) was expected"},
    {MESSAGE("\x82" CODE "\xa4type\xa5" "error"), "first key is \"code\", \"type\" was expected"},
    {MESSAGE("\x81\x01\x02"), "byte 1: type 0x01 where first key (a string) was expected"},
    {MESSAGE("\x82\xa4type\xa5" "drain\x01\x02"), "byte 12: type 0x01 where key (a string) was expected"},
    {MESSAGE("\x80"), "0 keys, 1 to 64 were expected"},
    {MESSAGE("\xdf\xff\xff\xff\xff"), "4294967295 keys, 1 to 64 were expected"},
    {MESSAGE("\x90"), "byte 0: type 0x90 where the message (a map) was expected"},
    {MESSAGE("\x82\xa4type\xa5" "drain\xa1x\x91\x91\x91\x91\x91\x91\x91\x91\x91\x01"),
     "byte 22: nested too deeply"},
    {MESSAGE("\x82\xa4type\xa5" "drain\xd9\x20" "a-key-of-thirty-two-bytes-123456\x01"),
     "key: a text of 32 bytes, at most 31 and none of them zero were expected"},
};

static void every_lie_is_refused_in_its_own_words(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof messages / sizeof *messages; i++) {
        char expected[256] = "";
        pk_control read;
        pk_err err = pk_control_read(&read, messages[i].bytes, messages[i].size);
        if (messages[i].words)
            snprintf(expected, sizeof expected, "control message: %s", messages[i].words);
        if (err != (messages[i].words ? PK_CORRUPT : PK_OK) || (err && strcmp(pk_error_text(), expected) != 0))
            fail_msg("row %zu: %s \"%s\", expected \"%s\"", i, pk_err_name(err), err ? pk_error_text() : "", expected);
    }
}

static void a_text_longer_than_its_field_is_refused(void **state)
{
    uint8_t bytes[8192];
    char reason[PK_REASON_BYTES + 1];
    pk_control read;
    (void)state;
    for (size_t length = PK_REASON_BYTES - 1; length <= PK_REASON_BYTES; length++) {
        pk_packer packer = {.bytes = bytes, .capacity = sizeof bytes};
        memset(reason, 'r', length);
        reason[length] = 0;
        pk_pack_map(&packer, 3);
        pk_pack_text(&packer, "type");
        pk_pack_text(&packer, "error");
        pk_pack_text(&packer, "code");
        pk_pack_uint(&packer, 1);
        pk_pack_text(&packer, "reason");
        pk_pack_text(&packer, reason);
        assert_int_equal(pk_control_read(&read, bytes, packer.used), length < PK_REASON_BYTES ? PK_OK : PK_CORRUPT);
    }
    assert_string_equal(pk_error_text(), "control message: reason: a text of 2048 bytes, at most 2047 and none of them "
                                         "zero were expected");
}

static void a_message_that_does_not_fit_is_not_written(void **state)
{
    const pk_control said = full(PK_CONTROL_ASSIGN);
    uint8_t bytes[32];
    size_t used = 0;
    (void)state;
    assert_int_equal(pk_control_write(&said, bytes, sizeof bytes, &used), PK_NOMEM);
    assert_string_equal(pk_error_text(), "control message assign does not fit into 32 bytes");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_reads_back),
        cmocka_unit_test(hello_says_who_it_is),
        cmocka_unit_test(assign_carries_every_part_of_an_assignment),
        cmocka_unit_test(reset_carries_the_epoch_and_the_new_links),
        cmocka_unit_test(ready_and_beat_and_error_carry_their_figures),
        cmocka_unit_test(the_longest_texts_fit_into_a_message),
        cmocka_unit_test(a_message_cut_at_any_byte_is_refused),
        cmocka_unit_test(every_lie_is_refused_in_its_own_words),
        cmocka_unit_test(a_text_longer_than_its_field_is_refused),
        cmocka_unit_test(a_message_that_does_not_fit_is_not_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
