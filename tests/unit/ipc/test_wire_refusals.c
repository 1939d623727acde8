/* One row for each way in which a header may lie, and the words of its refusal. */
#include "tests/unit/cmocka_all.h"
#include "ipc/wire.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Headers are written in hex, in their five parts. NULL: the part of a good header, which is here with its offsets. */
static const char good_opening[] = "9d 01 01 01 00 05 02 01"; /* 0: version, kind, epoch, lane, number, dtype, width */
static const char good_spans[] = "94 07 03 02 01";            /* 8: sequence 7 at position 3, 2 rows, the last wanted */
static const char good_ops[] = "93 00 01 10";                 /* 13: START with 16 positions */
static const char good_samples[] = "90";                      /* 17 */
static const char good_closing[] = "00 00 c4 08";             /* 18: transport, checksum, bin of 8 bytes */
enum { GOOD_PAYLOAD = 8, SPANS = 4, PAYLOAD_BYTES = 64 };

typedef struct {
    const char *opening, *spans, *ops, *samples, *closing;
    size_t payload; /* 0: GOOD_PAYLOAD */
    const char *words;
} refusal;

static const refusal refusals[] = {
    /* the array */
    {.opening = "9c 01 01 01 00 05 02", .words = "a batch of 12 elements, 13 were expected"},
    {.opening = "9e 01 01 01 00 05 02 01", .words = "a batch of 14 elements, 13 were expected"},
    {.opening = "dd ff ff ff ff 01 01", .words = "a batch of 4294967295 elements, 13 were expected"},
    {.opening = "8d 01 01 01 00 05 02 01", .words = "byte 0: type 0x8d where the batch (an array) was expected"},
    {.opening = "c0", .words = "byte 0: type 0xc0 where the batch (an array) was expected"},
    /* version and kind */
    {.opening = "9d 02 01 01 00 05 02 01", .words = "wire version 2, this build speaks 1"},
    {.opening = "9d 00 01 01 00 05 02 01", .words = "wire version 0, this build speaks 1"},
    {.opening = "9d a1 31 01 01 00 05 02 01", .words = "byte 1: type 0xa1 where version (an unsigned number) was expected"},
    {.opening = "9d ff 01 01 00 05 02 01", .words = "byte 1: type 0xff where version (an unsigned number) was expected"},
    {.opening = "9d 01 09 01 00 05 02 01", .words = "byte 2: kind is 9, at most 8 was expected"},
    {.opening = "9d 01 c0 01 00 05 02 01", .words = "byte 2: type 0xc0 where kind (an unsigned number) was expected"},
    /* epoch, lane, number, dtype, width */
    {.opening = "9d 01 01 cf 00 00 00 01 00 00 00 00 00 05 02 01",
     .words = "byte 3: epoch is 4294967296, at most 4294967295 was expected"},
    {.opening = "9d 01 01 01 cf 00 00 00 01 00 00 00 00 05 02 01",
     .words = "byte 4: lane is 4294967296, at most 4294967295 was expected"},
    {.opening = "9d 01 01 01 00 d0 05 02 01",
     .words = "byte 5: type 0xd0 where batch number (an unsigned number) was expected"},
    {.opening = "9d 01 01 01 00 05 06 01", .words = "byte 6: dtype is 6, at most 5 was expected"},
    {.opening = "9d 01 01 01 00 05 00 01", .words = "dtype 0 does not exist"},
    {.opening = "9d 01 01 01 00 05 02 ca 3f 80 00 00",
     .words = "byte 7: type 0xca where width (an unsigned number) was expected"},
    /* spans */
    {.spans = "95 07 03 02 01 00", .words = "byte 8: spans has 5 numbers, a multiple of 4 was expected"},
    {.spans = "dc 00 14 00", .words = "byte 8: 5 spans, at most 4 were expected"},
    {.spans = "dd ff ff ff fc 00", .words = "byte 8: 1073741823 spans, at most 4 were expected"},
    {.spans = "84 07 03 02 01", .words = "byte 8: type 0x84 where spans (an array) was expected"},
    {.spans = "94 07 03 02 03", .words = "byte 12: span want is 3, at most 2 was expected"},
    {.spans = "94 07 03 91 02 01", .words = "byte 11: type 0x91 where span count (an unsigned number) was expected"},
    {.spans = "94 07 ce ff ff ff ff 01 01", .words = "span 0: position 4294967295 + 1 overflows"},
    {.spans = "98 07 03 02 01 08 02 ce ff ff ff fe 01", .words = "span 1: position 2 + 4294967294 overflows"},
    /* ops */
    {.ops = "92 00 01", .words = "byte 13: ops has 2 numbers, a multiple of 3 was expected"},
    {.ops = "dc 00 33 00", .words = "byte 13: 17 ops, at most 16 were expected"},
    {.ops = "93 01 01 10", .words = "byte 14: op span is 1, at most 0 was expected"},
    {.ops = "93 00 cd 01 00 10", .words = "byte 15: op code is 256, at most 255 was expected"},
    {.ops = "93 00 01 cf 00 00 00 01 00 00 00 00",
     .words = "byte 16: op argument is 4294967296, at most 4294967295 was expected"},
    {.spans = "90", .words = "byte 10: op span, but the batch has no spans"},
    /* samples */
    {.samples = "98 00 2a 07 00 00 00 00 00", .words = "byte 17: samples has 8 numbers, a multiple of 9 was expected"},
    {.samples = "dc 00 2d 00", .words = "byte 17: 5 samples, at most 4 were expected"},
    {.samples = "99 01 2a 07 00 ca 00 00 00 00 ca 3f 80 00 00 00 ca 00 00 00 00 00",
     .words = "byte 18: sample span is 1, at most 0 was expected"},
    {.samples = "99 00 2a 07 00 00", .words = "byte 22: type 0x00 where sample temperature (a float32) was expected"},
    {.samples = "99 00 2a 07 00 ca 00 00 00 00 cb 3f f0 00 00 00 00 00 00",
     .words = "byte 27: type 0xcb where sample top_p (a float32) was expected"},
    {.spans = "90", .ops = "90", .samples = "99 00", .words = "byte 11: sample span, but the batch has no spans"},
    /* transport, checksum, payload */
    {.closing = "01 00 c4 08", .words = "byte 18: transport is 1, at most 0 was expected"},
    {.closing = "00 a0 c4 08", .words = "byte 19: type 0xa0 where checksum (an unsigned number) was expected"},
    {.closing = "00 00 a8", .words = "byte 20: type 0xa8 where the payload (a bin) was expected"},
    {.closing = "00 00 c4 08 00", .words = "byte 22: 1 bytes stand behind the header"},
    {.closing = "00 00 c4 08 00 00 00 00 00 00 00 00", .words = "byte 22: 8 bytes stand behind the header"},
    {.closing = "00 00 c4 09", .payload = 9,
     .words = "the payload claims 9 bytes, its header's rows, width and dtype say 8"},
    {.payload = 7, .words = "the payload frame has 7 bytes, its header says 8"},
    {.payload = 9, .words = "the payload frame has 9 bytes, its header says 8"},
    {.spans = "94 07 03 11 01", .closing = "00 00 c4 44", .payload = 68,
     .words = "a payload of 68 bytes, the plan allows 64"},
    /* 2^30 rows of 4 bytes are 2^32: 0 to whom counts in 32 bits */
    {.spans = "94 07 00 ce 40 00 00 00 01", .closing = "00 00 c4 00",
     .words = "the payload claims 0 bytes, its header's rows, width and dtype say 4294967296"},
    /* 2^32 rows of width 2^30 and 4 bytes are 2^64: 0 to whom counts in 64 bits */
    {.opening = "9d 01 01 01 00 05 02 ce 40 00 00 00",
     .spans = "98 07 00 ce 80 00 00 00 00 08 00 ce 80 00 00 00 00", .closing = "00 00 c4 00",
     .words = "the payload claims 0 bytes, its header's rows, width and dtype say more than 18446744073709551615"},
    {.opening = "9d 01 01 01 00 05 02 ce ff ff ff ff",
     .spans = "dc 00 10 00 00 ce ff ff ff ff 00 01 00 ce ff ff ff ff 00 02 00 ce ff ff ff ff 00 03 00 ce ff ff ff ff 00",
     .words = "the payload claims 8 bytes, its header's rows, width and dtype say more than 18446744073709551615"},
};

static size_t from_hex(const char *text, uint8_t *out)
{
    size_t bytes = 0;
    while (*text) {
        char *end;
        out[bytes++] = (uint8_t)strtoul(text, &end, 16);
        for (text = end; isspace((unsigned char)*text);)
            text++;
    }
    return bytes;
}

static size_t build(const refusal *r, uint8_t *frame)
{
    const char *const parts[][2] = {{r->opening, good_opening},
                                    {r->spans, good_spans},
                                    {r->ops, good_ops},
                                    {r->samples, good_samples},
                                    {r->closing, good_closing}};
    size_t bytes = 0;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        bytes += from_hex(parts[i][0] ? parts[i][0] : parts[i][1], frame + bytes);
    return bytes;
}

static pk_err read_built(const refusal *r, pk_batch_store *store, pk_batch *batch)
{
    uint8_t frame[512];
    size_t bytes = build(r, frame);
    return pk_batch_read(store, batch, frame, bytes, r->payload ? r->payload : GOOD_PAYLOAD);
}

static int open_store(void **state)
{
    return pk_batch_store_open((pk_batch_store **)state,
                               (pk_batch_limits){.spans = SPANS, .payload_bytes = PAYLOAD_BYTES}) != PK_OK;
}

static int close_store(void **state)
{
    pk_batch_store_close((pk_batch_store **)state);
    return 0;
}

static void the_good_header_is_good(void **state)
{
    pk_batch batch;
    assert_int_equal(read_built(&(refusal){0}, *state, &batch), PK_OK);
    assert_int_equal(batch.kind, PK_KIND_TOKENS);
    assert_int_equal(batch.number, 5);
    assert_int_equal(batch.spans[0].sequence, 7);
    assert_int_equal(batch.ops[0].argument, 16);
    assert_int_equal(pk_batch_rows(&batch), 2);
}

static void numbers_in_long_forms_are_the_same_numbers(void **state)
{
    pk_batch batch;
    const refusal wide = {.opening = "dc 00 0d cc 01 cd 00 01 ce 00 00 00 01 cf 00 00 00 00 00 00 00 00 05 02 01",
                          .closing = "00 00 c6 00 00 00 08"};
    assert_int_equal(read_built(&wide, *state, &batch), PK_OK);
    assert_int_equal(batch.epoch, 1);
}

static void every_lie_is_refused_in_its_own_words(void **state)
{
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        char expected[256];
        pk_batch batch;
        pk_err err = read_built(&refusals[i], *state, &batch);
        snprintf(expected, sizeof expected, "batch header: %s", refusals[i].words);
        if (err != PK_CORRUPT || strcmp(pk_error_text(), expected) != 0)
            fail_msg("row %zu: %s \"%s\", expected \"%s\"", i, pk_err_name(err), err ? pk_error_text() : "", expected);
    }
}

static void a_header_beyond_its_limit_is_refused_unread(void **state)
{
    static const uint8_t long_header[1024 + 128 * SPANS + 1];
    pk_batch batch;
    assert_int_equal(pk_batch_read(*state, &batch, long_header, sizeof long_header, 0), PK_CORRUPT);
    assert_string_equal(pk_error_text(), "batch header: a header of 1537 bytes, at most 1536 were expected");
}

static void an_empty_frame_is_refused(void **state)
{
    pk_batch batch;
    assert_int_equal(pk_batch_read(*state, &batch, "", 0, 0), PK_CORRUPT);
    assert_string_equal(pk_error_text(),
                        "batch header: byte 0: the message ends where the batch (an array) was expected");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_good_header_is_good),
        cmocka_unit_test(numbers_in_long_forms_are_the_same_numbers),
        cmocka_unit_test(every_lie_is_refused_in_its_own_words),
        cmocka_unit_test(a_header_beyond_its_limit_is_refused_unread),
        cmocka_unit_test(an_empty_frame_is_refused),
    };
    return cmocka_run_group_tests(tests, open_store, close_store);
}
