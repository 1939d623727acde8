#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "loader/json.h"

#include <stdio.h>
#include <string.h>

static pk_err open_text(pk_json **out, const char *text)
{
    return pk_json_open(out, text, strlen(text), 1000);
}

static void refuse(const char *text, const char *words)
{
    pk_json *document = NULL;
    assert_int_equal(open_text(&document, text), PK_CORRUPT);
    assert_null(document);
    if (!strstr(pk_error_text(), words))
        fail_msg("%s does not contain %s", pk_error_text(), words);
}

static void malformed_text_is_refused_with_its_place(void **state)
{
    (void)state;
    refuse("", "JSON at line");
    refuse("{", "JSON at line 1");
    refuse("{\"a\": NaN}", "line 1, column");
    refuse("{\"a\": 1}\n{", "line 2");
    refuse("{\"a\": 1, \"a\": 2}", "duplicate object key");
    refuse("{\"a\\u0000b\": 1}", "NUL byte");
    refuse("[1e999]", "overflow");
    refuse("[99999999999999999999]", "integer");
    refuse("\"\xff\"", "unable to decode byte 0xff");
}

static void depth_beyond_64_is_refused(void **state)
{
    (void)state;
    char text[2 * 65 + 1] = {0};
    pk_json *document;
    memset(text, '[', 64);
    memset(text + 64, ']', 64);
    assert_int_equal(open_text(&document, text), PK_OK);
    pk_json_close(&document);
    memset(text, '[', 65);
    memset(text + 65, ']', 65);
    refuse(text, "nested deeper than 64 at byte 64");
}

static void brackets_in_strings_have_no_depth(void **state)
{
    (void)state;
    pk_json *document;
    char text[200] = "\"\\\"";
    memset(text + 3, '[', 100);
    strcpy(text + 103, "\\\\\"");
    assert_int_equal(open_text(&document, text), PK_OK);
    pk_json_close(&document);
}

static void more_values_than_allowed_are_refused_before_parsing(void **state)
{
    (void)state;
    char text[2100] = "[0";
    for (int i = 0; i < 1000; i++)
        strcat(text, ",0");
    strcat(text, "]");
    refuse(text, "more than 1000 values");
}

static void values_are_shown(void **state)
{
    (void)state;
    pk_json *document;
    char shown[PK_JSON_SHOW], plain[PK_JSON_SHOW];
    assert_int_equal(open_text(&document, "[\"a b\", 7, null, {}, 0.5]"), PK_OK);
    assert_string_equal(pk_json_show(shown, pk_json_item(document, 0)), "\"a b\"");
    assert_string_equal(pk_json_show(plain, pk_json_item(document, 1)), "7");
    assert_string_equal(pk_json_show(plain, pk_json_item(document, 2)), "null");
    assert_string_equal(pk_json_show(plain, pk_json_item(document, 3)), "an object");
    assert_string_equal(pk_json_show(plain, pk_json_item(document, 4)), "0.5");
    assert_string_equal(pk_json_show(plain, pk_json_item(document, 5)), "nothing");
    pk_json_close(&document);
}

static void members_come_in_file_order(void **state)
{
    (void)state;
    pk_json *document;
    void *at = NULL;
    const char *name;
    const pk_json *value;
    char order[8] = "";
    assert_int_equal(open_text(&document, "{\"z\":1,\"a\":2,\"m\":3}"), PK_OK);
    while (pk_json_next(document, &at, &name, &value))
        strcat(order, name);
    assert_string_equal(order, "zam");
    pk_json_close(&document);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(malformed_text_is_refused_with_its_place),
        cmocka_unit_test(depth_beyond_64_is_refused),
        cmocka_unit_test(brackets_in_strings_have_no_depth),
        cmocka_unit_test(more_values_than_allowed_are_refused_before_parsing),
        cmocka_unit_test(values_are_shown),
        cmocka_unit_test(members_come_in_file_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
