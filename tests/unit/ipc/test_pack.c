#include "tests/unit/cmocka_all.h"
#include "ipc/pack.h"
#include "ipc/unpack.h"

#include <stdlib.h>
#include <string.h>

/* A copy of its own size, so that a sanitizer sees a read behind the end. */
static pk_unpacker reading(const uint8_t *bytes, size_t size, uint8_t **copy)
{
    *copy = malloc(size ? size : 1);
    assert_non_null(*copy);
    if (size)
        memcpy(*copy, bytes, size);
    return (pk_unpacker){.bytes = *copy, .size = size};
}

static const struct {
    uint64_t value;
    size_t bytes;
} unsigned_forms[] = {
    {0, 1},      {1, 1},          {0x7f, 1},       {0x80, 2},        {0xff, 2},       {0x100, 3},
    {0xffff, 3}, {0x10000, 5},    {UINT32_MAX, 5}, {1ull << 32, 9},  {UINT64_MAX, 9},
};

static void every_unsigned_form_is_the_shortest_and_reads_back(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof unsigned_forms / sizeof *unsigned_forms; i++) {
        uint8_t bytes[16], *copy;
        uint64_t value = 0;
        pk_packer packer = {.bytes = bytes, .capacity = sizeof bytes};
        pk_pack_uint(&packer, unsigned_forms[i].value);
        assert_int_equal(packer.used, unsigned_forms[i].bytes);
        pk_unpacker u = reading(bytes, packer.used, &copy);
        assert_int_equal(pk_unpack_uint(&u, "x", UINT64_MAX, &value), PK_OK);
        assert_true(value == unsigned_forms[i].value);
        assert_int_equal(u.at, u.size);
        free(copy);
    }
}

static void long_forms_of_small_numbers_are_read(void **state)
{
    static const uint8_t forms[][9] = {
        {0xcc, 5}, {0xcd, 0, 5}, {0xce, 0, 0, 0, 5}, {0xcf, 0, 0, 0, 0, 0, 0, 0, 5}};
    static const size_t sizes[] = {2, 3, 5, 9};
    (void)state;
    for (size_t i = 0; i < 4; i++) {
        uint64_t value = 0;
        pk_unpacker u = {.bytes = forms[i], .size = sizes[i]};
        assert_int_equal(pk_unpack_uint(&u, "x", 5, &value), PK_OK);
        assert_int_equal(value, 5);
    }
}

static void every_signed_form_reads_back(void **state)
{
    static const int64_t values[] = {0, 127, 128, 255, 65536, INT64_MAX, -1, -32, -33, -128, -129, -32768, -32769,
                                     INT32_MIN, (int64_t)INT32_MIN - 1, INT64_MIN};
    (void)state;
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        uint8_t bytes[16], *copy;
        int64_t value = 0;
        pk_packer packer = {.bytes = bytes, .capacity = sizeof bytes};
        pk_pack_int(&packer, values[i]);
        pk_unpacker u = reading(bytes, packer.used, &copy);
        assert_int_equal(pk_unpack_int(&u, "x", &value), PK_OK);
        assert_true(value == values[i]);
        free(copy);
    }
}

static void an_unsigned_number_beyond_its_limit_is_refused(void **state)
{
    static const uint8_t bytes[] = {0xcf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    pk_unpacker u = {.bytes = bytes, .size = sizeof bytes};
    uint64_t value;
    int64_t number;
    (void)state;
    assert_int_equal(pk_unpack_uint(&u, "rows", 100, &value), PK_CORRUPT);
    assert_string_equal(pk_error_text(), "byte 0: rows is 18446744073709551615, at most 100 was expected");
    u.at = 0;
    assert_int_equal(pk_unpack_int(&u, "token", &number), PK_CORRUPT);
    assert_string_equal(pk_error_text(),
                        "byte 0: token is 18446744073709551615, at most 9223372036854775807 was expected");
}

static void a_negative_number_is_no_unsigned_one(void **state)
{
    static const uint8_t bytes[] = {0xff};
    pk_unpacker u = {.bytes = bytes, .size = sizeof bytes};
    uint64_t value;
    (void)state;
    assert_int_equal(pk_unpack_uint(&u, "rows", 100, &value), PK_CORRUPT);
    assert_string_equal(pk_error_text(), "byte 0: type 0xff where rows (an unsigned number) was expected");
}

/* One value of each type, long forms among them, and how to read it. */
typedef pk_err (*reader)(pk_unpacker *u);

static pk_err read_uint(pk_unpacker *u)
{
    uint64_t value;
    return pk_unpack_uint(u, "it", UINT64_MAX, &value);
}

static pk_err read_int(pk_unpacker *u)
{
    int64_t value;
    return pk_unpack_int(u, "it", &value);
}

static pk_err read_f32(pk_unpacker *u)
{
    float value;
    return pk_unpack_f32(u, "it", &value);
}

static pk_err read_text(pk_unpacker *u)
{
    const char *text;
    uint32_t bytes;
    return pk_unpack_text(u, "it", &text, &bytes);
}

static pk_err read_array(pk_unpacker *u)
{
    uint32_t count;
    return pk_unpack_array(u, "it", &count);
}

static pk_err read_map(pk_unpacker *u)
{
    uint32_t count;
    return pk_unpack_map(u, "it", &count);
}

static pk_err read_bin(pk_unpacker *u)
{
    uint32_t count;
    return pk_unpack_bin_header(u, "it", &count);
}

static pk_err read_any(pk_unpacker *u)
{
    return pk_unpack_skip(u, 8);
}

static const struct {
    const char *bytes;
    size_t size;
    reader read;
} values[] = {
#define BYTES(text) text, sizeof text - 1
    {BYTES("\x07"), read_uint},
    {BYTES("\xcc\xff"), read_uint},
    {BYTES("\xcd\xff\xff"), read_uint},
    {BYTES("\xce\xff\xff\xff\xff"), read_uint},
    {BYTES("\xcf\xff\xff\xff\xff\xff\xff\xff\xff"), read_uint},
    {BYTES("\xe0"), read_int},
    {BYTES("\xd0\x80"), read_int},
    {BYTES("\xd1\x80\x00"), read_int},
    {BYTES("\xd2\x80\x00\x00\x00"), read_int},
    {BYTES("\xd3\x80\x00\x00\x00\x00\x00\x00\x00"), read_int},
    {BYTES("\xca\x3f\x80\x00\x00"), read_f32},
    {BYTES("\xa3" "abc"), read_text},
    {BYTES("\xd9\x03" "abc"), read_text},
    {BYTES("\xda\x00\x03" "abc"), read_text},
    {BYTES("\xdb\x00\x00\x00\x03" "abc"), read_text},
    {BYTES("\x9f"), read_array},
    {BYTES("\xdc\x00\x10"), read_array},
    {BYTES("\xdd\x00\x01\x00\x00"), read_array},
    {BYTES("\x8f"), read_map},
    {BYTES("\xde\x00\x10"), read_map},
    {BYTES("\xdf\x00\x01\x00\x00"), read_map},
    {BYTES("\xc4\x10"), read_bin},
    {BYTES("\xc5\x10\x00"), read_bin},
    {BYTES("\xc6\x10\x00\x00\x00"), read_bin},
    {BYTES("\x82\xa1" "a\xc3\xa1" "b\x93\xc0\xcb\x3f\xf0\x00\x00\x00\x00\x00\x00\xff"), read_any},
};

static void every_value_is_read_whole_and_refused_at_each_byte_that_it_ends_early(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof values / sizeof *values; i++)
        for (size_t size = 0; size <= values[i].size; size++) {
            uint8_t *copy;
            pk_unpacker u = reading((const uint8_t *)values[i].bytes, size, &copy);
            pk_err err = values[i].read(&u);
            if (err != (size == values[i].size ? PK_OK : PK_CORRUPT))
                fail_msg("value %zu cut to %zu bytes: %s (%s)", i, size, pk_err_name(err), pk_error_text());
            assert_true(u.at <= size);
            free(copy);
        }
}

static void every_type_is_refused_where_another_is_expected(void **state)
{
    static const reader readers[] = {read_f32, read_text, read_array, read_map, read_bin};
    (void)state;
    for (size_t i = 0; i < sizeof values / sizeof *values; i++)
        for (size_t r = 0; r < sizeof readers / sizeof *readers; r++) {
            pk_unpacker u = {.bytes = (const uint8_t *)values[i].bytes, .size = values[i].size};
            if (readers[r] != values[i].read && !(values[i].read == read_any && readers[r] == read_map)) {
                assert_int_equal(readers[r](&u), PK_CORRUPT);
                assert_int_equal(u.at, 0);
            }
        }
}

static void a_text_longer_than_its_message_is_refused(void **state)
{
    static const uint8_t bytes[] = {0xdb, 0xff, 0xff, 0xff, 0xff, 'a'};
    pk_unpacker u = {.bytes = bytes, .size = sizeof bytes};
    (void)state;
    assert_int_equal(read_text(&u), PK_CORRUPT);
    assert_non_null(strstr(pk_error_text(), "it claims 4294967295 bytes, the message has"));
}

static void nesting_beyond_the_depth_is_refused(void **state)
{
    uint8_t nested[64];
    pk_unpacker u = {.bytes = nested, .size = sizeof nested};
    (void)state;
    memset(nested, 0x91, sizeof nested);
    assert_int_equal(pk_unpack_skip(&u, 8), PK_CORRUPT);
    assert_string_equal(pk_error_text(), "byte 8: nested too deeply");
}

static void claimed_elements_that_are_not_there_cost_nothing(void **state)
{
    static const uint8_t hostile[][6] = {{0xdd, 0xff, 0xff, 0xff, 0xff, 0xc0}, {0xdf, 0xff, 0xff, 0xff, 0xff, 0xc0}};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        pk_unpacker u = {.bytes = hostile[i], .size = sizeof hostile[i]};
        assert_int_equal(pk_unpack_skip(&u, 8), PK_CORRUPT);
        assert_string_equal(pk_error_text(), "byte 6: the message ends early");
    }
}

static void what_does_not_fit_is_not_written(void **state)
{
    uint8_t bytes[4] = {0, 0, 0, 0xee};
    pk_packer packer = {.bytes = bytes, .capacity = 3};
    (void)state;
    pk_pack_uint(&packer, 1);
    pk_pack_uint(&packer, UINT32_MAX);
    assert_true(packer.overflow);
    pk_pack_uint(&packer, 2); /* would fit, but the message is broken already */
    assert_true(packer.used <= 3);
    assert_int_equal(bytes[3], 0xee);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_unsigned_form_is_the_shortest_and_reads_back),
        cmocka_unit_test(long_forms_of_small_numbers_are_read),
        cmocka_unit_test(every_signed_form_reads_back),
        cmocka_unit_test(an_unsigned_number_beyond_its_limit_is_refused),
        cmocka_unit_test(a_negative_number_is_no_unsigned_one),
        cmocka_unit_test(every_value_is_read_whole_and_refused_at_each_byte_that_it_ends_early),
        cmocka_unit_test(every_type_is_refused_where_another_is_expected),
        cmocka_unit_test(a_text_longer_than_its_message_is_refused),
        cmocka_unit_test(nesting_beyond_the_depth_is_refused),
        cmocka_unit_test(claimed_elements_that_are_not_there_cost_nothing),
        cmocka_unit_test(what_does_not_fit_is_not_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
