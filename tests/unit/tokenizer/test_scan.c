/* JSON in one pass: what is taken, and what is refused. */
#include "stages/tokenizer/scan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static pk_scan scan_of(const char *text)
{
    return (pk_scan){.text = text, .bytes = strlen(text)};
}

static void strings_are_taken_with_their_escapes_undone(void **state)
{
    (void)state;
    static const struct {
        const char *json, *says;
    } cases[] = {
        {" \"plain\"", "plain"},
        {"\"\"", ""},
        {"\"a\\nb\\t\\\"\\\\\\/\"", "a\nb\t\"\\/"},
        {"\"\\u00e9\\u0120x\"", "\xC3\xA9\xC4\xA0x"},
        {"\"\\ud83d\\uDE00\"", "\xF0\x9F\x98\x80"},
        {"\"\\b\\f\\r\"", "\b\f\r"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        pk_scan scan = scan_of(cases[i].json);
        pk_view got;
        assert_int_equal(pk_scan_string(&scan, &got), PK_OK);
        assert_int_equal(got.bytes, strlen(cases[i].says));
        assert_memory_equal(got.text, cases[i].says, got.bytes);
        assert_int_equal(pk_scan_end(&scan), PK_OK);
        pk_text_fini(&scan.unescaped);
    }
}

static void strings_that_are_none_are_refused(void **state)
{
    (void)state;
    static const char *const cases[] = {"",
                                        "x",
                                        "\"open",
                                        "\"\\",
                                        "\"\\x\"",
                                        "\"\\u12g4\"",
                                        "\"\\u00@1\"",
                                        "\"\\u004`\"",
                                        "\"a\nb\"",
                                        "\"\\u0000\"",
                                        "\"\\ud83d\"",
                                        "\"\\udc00\"",
                                        "\"\\ud83d\\u0041\"",
                                        "\"\\u12"};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        pk_scan scan = scan_of(cases[i]);
        pk_view got;
        if (pk_scan_string(&scan, &got) != PK_CORRUPT || !strstr(pk_error_text(), "byte "))
            fail_msg("case %zu", i);
        pk_text_fini(&scan.unescaped);
    }
}

static void numbers_that_are_no_ids_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"", "-1", "01", "1.5", "1e3", "2147483648", "99999999999999999999", "\"1\""};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        pk_scan scan = scan_of(bad[i]);
        int32_t id;
        if (pk_scan_natural(&scan, &id) != PK_CORRUPT)
            fail_msg("\"%s\" was taken", bad[i]);
    }
    pk_scan scan = scan_of(" 2147483647 0");
    int32_t id;
    assert_int_equal(pk_scan_natural(&scan, &id), PK_OK);
    assert_int_equal(id, INT32_MAX);
    assert_int_equal(pk_scan_natural(&scan, &id), PK_OK);
    assert_int_equal(id, 0);
}

static void any_value_is_skipped_whole(void **state)
{
    (void)state;
    static const char *const values[] = {"null", "-1.5e3", "\"a]\\\"}\"", "[]",
                                         "{\"a\": [1, {\"b]\": \"}\"}], \"c\": \"\\\\\"}"};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        char text[128];
        pk_view got;
        bool more;
        snprintf(text, sizeof text, "  %s , 7]", values[i]);
        pk_scan scan = scan_of(text);
        assert_int_equal(pk_scan_skip(&scan, &got), PK_OK);
        assert_int_equal(got.bytes, strlen(values[i]));
        assert_memory_equal(got.text, values[i], got.bytes);
        assert_int_equal(pk_scan_more(&scan, ']', &more), PK_OK);
        assert_true(more);
    }
}

static void what_ends_early_or_goes_too_deep_is_not_skipped(void **state)
{
    (void)state;
    static const char *const cases[] = {"", "[", "{\"a\": [1}", "\"open", "\"open\\", ","};
    pk_view got;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        pk_scan scan = scan_of(cases[i]);
        if (pk_scan_skip(&scan, &got) != PK_CORRUPT)
            fail_msg("\"%s\" was skipped", cases[i]);
    }
    char deep[PK_SCAN_DEPTH + 2];
    memset(deep, '[', sizeof deep - 1);
    deep[sizeof deep - 1] = '\0';
    pk_scan scan = scan_of(deep);
    assert_int_equal(pk_scan_skip(&scan, &got), PK_CORRUPT);
    assert_string_equal(pk_error_text(), "byte 64: deeper than 64 levels");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(strings_are_taken_with_their_escapes_undone),
        cmocka_unit_test(strings_that_are_none_are_refused),
        cmocka_unit_test(numbers_that_are_no_ids_are_refused),
        cmocka_unit_test(any_value_is_skipped_whole),
        cmocka_unit_test(what_ends_early_or_goes_too_deep_is_not_skipped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
