/* ipc/utf8.h against a decoder that is written the other way round: it decodes first and judges the code point after.
 */
#include "ipc/utf8.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define REPLACEMENT "\xEF\xBF\xBD"

/* Length of the character at `text`, or 0: shifts the bits together, then asks whether that was the shortest form. */
static size_t reference_length(const unsigned char *text, size_t bytes)
{
    static const unsigned least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t length = text[0] < 0x80             ? 1
                    : (text[0] & 0xE0) == 0xC0 ? 2
                    : (text[0] & 0xF0) == 0xE0 ? 3
                    : (text[0] & 0xF8) == 0xF0 ? 4
                                               : 0;
    if (length == 0 || length > bytes)
        return 0;
    unsigned code = length == 1 ? text[0] : text[0] & (0x7Fu >> length);
    for (size_t i = 1; i < length; i++) {
        if ((text[i] & 0xC0) != 0x80)
            return 0;
        code = code << 6 | (text[i] & 0x3Fu);
    }
    return code < least[length] || code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF) ? 0 : length;
}

static bool reference_check(const unsigned char *text, size_t bytes, size_t *bad_offset)
{
    size_t length;
    for (size_t at = 0; at < bytes; at += length)
        if (!(length = reference_length(text + at, bytes - at))) {
            *bad_offset = at;
            return false;
        }
    return true;
}

static void all_sequences_of_up_to_three_bytes_agree_with_the_reference(void **state)
{
    (void)state;
    for (uint32_t value = 0; value < 1u << 24; value++) {
        unsigned char text[3] = {(unsigned char)(value >> 16), (unsigned char)(value >> 8), (unsigned char)value};
        if (text[0] < 0x7F || (text[2] & 0x3F) > 2) /* what varies without mattering is thinned out */
            continue;
        for (size_t bytes = 1; bytes <= 3; bytes++) {
            size_t bad = 99, expected_bad = 99;
            assert_int_equal(pk_utf8_check(text, bytes, &bad), reference_check(text, bytes, &expected_bad));
            assert_int_equal(bad, expected_bad);
        }
    }
}

static void every_code_point_is_valid_and_surrogates_are_not(void **state)
{
    (void)state;
    for (unsigned code = 0; code < 0x110000; code++) {
        char text[4];
        size_t bytes = pk_utf8_put(text, code);
        assert_int_equal(pk_utf8_check(text, bytes, NULL), code < 0xD800 || code > 0xDFFF);
    }
    assert_false(pk_utf8_check("\xF4\x90\x80\x80", 4, NULL)); /* U+110000 */
    assert_false(pk_utf8_check("\xF0\x8F\xBF\xBF", 4, NULL)); /* overlong */
}

static void the_offset_is_where_the_bad_sequence_starts(void **state)
{
    (void)state;
    size_t bad = 0;
    assert_true(pk_utf8_check("", 0, &bad));
    assert_true(pk_utf8_check("0123456789 \0 caf\xC3\xA9", 18, &bad));
    assert_false(pk_utf8_check("0123456789 caf\xC3", 15, &bad));
    assert_int_equal(bad, 14);
    assert_false(pk_utf8_check("0123456789012345\xE2\x82z", 19, &bad));
    assert_int_equal(bad, 16);
}

/* Repairs `in` in pieces of `step` bytes. */
static size_t repair(const char *in, size_t bytes, size_t step, char *out)
{
    pk_utf8_stream stream = {0};
    size_t written = 0;
    for (size_t at = 0; at < bytes; at += step) {
        size_t piece = bytes - at < step ? bytes - at : step;
        size_t more = pk_utf8_stream_push(&stream, in + at, piece, out + written);
        assert_true(more <= PK_UTF8_STREAM_ROOM(piece));
        assert_true(pk_utf8_check(out + written, more, NULL));
        written += more;
    }
    return written + pk_utf8_stream_end(&stream, out + written);
}

static void each_maximal_ill_formed_part_becomes_one_replacement(void **state)
{
    (void)state;
    /* Unicode, chapter 3, tables 3-8 to 3-11. */
    static const struct {
        const char *in, *out;
    } cases[] = {
        {"\xC0\xAF\xE0\x80\xBF\xF0\x81\x82\x41",
         REPLACEMENT REPLACEMENT REPLACEMENT REPLACEMENT REPLACEMENT REPLACEMENT REPLACEMENT REPLACEMENT "A"},
        {"\xED\xA0\x80\xED\xBF\xBF\xED\xAF\x41",
         REPLACEMENT REPLACEMENT REPLACEMENT REPLACEMENT REPLACEMENT REPLACEMENT REPLACEMENT REPLACEMENT "A"},
        {"\xF4\x91\x92\x93\xFF\x41\x80\xBF\x42",
         REPLACEMENT REPLACEMENT REPLACEMENT REPLACEMENT REPLACEMENT "A" REPLACEMENT REPLACEMENT "B"},
        {"\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41", REPLACEMENT REPLACEMENT REPLACEMENT REPLACEMENT "A"},
        {"ends in \xF0\x9F\x98", "ends in " REPLACEMENT},
        {"whole \xF0\x9F\x98\x80", "whole \xF0\x9F\x98\x80"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (size_t step = 1; step < 10; step++) {
            char out[256];
            size_t bytes = repair(cases[i].in, strlen(cases[i].in), step, out);
            assert_int_equal(bytes, strlen(cases[i].out));
            assert_memory_equal(out, cases[i].out, bytes);
        }
}

static void repair_does_not_depend_on_how_the_bytes_are_cut(void **state)
{
    (void)state;
    enum { BYTES = 64 };
    srandom(7);
    printf("seed 7\n");
    for (int round = 0; round < 20000; round++) {
        static const char bytes[] = "aZ\x80\xA0\xBF\xC2\xE0\xE2\xED\xF0\xF4\xFF\x90\x8F\x9F\x82";
        char in[BYTES], whole[PK_UTF8_STREAM_ROOM(BYTES)], cut[2 * PK_UTF8_STREAM_ROOM(BYTES)];
        for (size_t i = 0; i < BYTES; i++)
            in[i] = bytes[(size_t)random() % (sizeof bytes - 1)];
        size_t expected = repair(in, BYTES, BYTES, whole);
        size_t got = repair(in, BYTES, 1 + (size_t)random() % 9, cut);
        assert_int_equal(got, expected);
        assert_memory_equal(cut, whole, got);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_sequences_of_up_to_three_bytes_agree_with_the_reference),
        cmocka_unit_test(every_code_point_is_valid_and_surrogates_are_not),
        cmocka_unit_test(the_offset_is_where_the_bad_sequence_starts),
        cmocka_unit_test(each_maximal_ill_formed_part_becomes_one_replacement),
        cmocka_unit_test(repair_does_not_depend_on_how_the_bytes_are_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
