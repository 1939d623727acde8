/* Which patterns are read, what they become, and what is refused. */
#include "stages/tokenizer/pattern.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void assert_refused(const char *pattern, const char *fragment)
{
    pk_text out = {0};
    assert_int_equal(pk_pattern_translate(pattern, &out), PK_INVALID);
    if (!strstr(pk_error_text(), fragment))
        fail_msg("%s: \"%s\" does not contain \"%s\"", pattern, pk_error_text(), fragment);
    pk_text_fini(&out);
}

static void what_oniguruma_reads_otherwise_is_refused_by_name(void **state)
{
    (void)state;
    assert_refused("a$", "'$' is not supported: an anchor");
    assert_refused("^a", "'^' is not supported: an anchor");
    assert_refused("ab\\w+", "byte 2: '\\w' is not supported");
    assert_refused("\\bx", "'\\b'");
    assert_refused("\\h", "'\\h'");
    assert_refused("\\G", "'\\G'");
    assert_refused("\\K", "'\\K'");
    assert_refused("a\\", "'\\' is not supported");
    assert_refused("\\p{Han}", "'\\p{Han}' is not supported: only general categories");
    assert_refused("\\p{^L}", "general categories");
    assert_refused("\\pL", "general categories");
    assert_refused("\\p{L", "general categories");
    assert_refused("(?i:\\p{Lu})", "inside (?i:");
    assert_refused("(?i)a", "'(?i)' is not supported: this kind of group");
    assert_refused("(?<name>a)", "this kind of group");
    assert_refused("(*UCP)a", "'(*' is not supported: a verb");
    assert_refused("[a-z&&[^b]]", "intersection");
    assert_refused("[a[bc]]", "a class inside a class");
    assert_refused("[[:alpha:]]", "a class inside a class");
    assert_refused("[]a]", "starts with ']'");
    assert_refused("[abc", "without its ']'");
    assert_refused("[abc\\", "may mean something else");
    assert_refused("[\\S]", "inside a class");
    assert_refused("[\\s-z]", "a range that starts in a set");
    assert_refused("[!-\\p{L}]", "a range that ends in a set");
    assert_refused("a{,3}", "not a repeat");
    assert_refused("a{2}+", "a repeat of a repeat");
    assert_refused("a{2", "not a repeat");
    assert_refused("a+*", "a repeat of a repeat");
    assert_refused("(a", "1 groups are never closed");
    assert_refused("a)", "no group is open");
}

static void nested_groups_are_bounded(void **state)
{
    (void)state;
    char pattern[2 * 65 + 2];
    memset(pattern, '(', 65);
    pattern[65] = 'a';
    memset(pattern + 66, ')', 65);
    pattern[131] = '\0';
    assert_refused(pattern, "more than 64 groups");
}

/* Opens `pattern` and tells whether the first match in `text` is text[start..end). */
static bool finds(const char *pattern, const char *text, size_t start, size_t end)
{
    pk_text spelling = {0};
    pk_pattern *open = NULL;
    pk_matcher *matcher = NULL;
    size_t found[2] = {0};
    assert_int_equal(pk_pattern_translate(pattern, &spelling), PK_OK);
    assert_int_equal(pk_pattern_open(&open, &spelling), PK_OK);
    assert_int_equal(pk_matcher_open(&matcher, strlen(text)), PK_OK);
    pk_err err = pk_pattern_find(open, matcher, text, strlen(text), 0, &found[0], &found[1]);
    pk_matcher_close(&matcher);
    pk_pattern_close(&open);
    pk_text_fini(&spelling);
    return err == PK_OK && found[0] == start && found[1] == end;
}

static void sets_mean_what_they_mean_in_oniguruma(void **state)
{
    (void)state;
    assert_true(finds("\\s+", "a \t\xC2\x85\u3000b", 1, 8));
    assert_false(finds("\\s", "\u180E", 0, 3)); /* a space to PCRE2 only */
    assert_true(finds("\\S", " \u180E", 1, 4));
    assert_true(finds("[^\\s\\p{L}]+", "a !?b", 2, 4));
    assert_true(finds("\\d", "x\u0663", 1, 3));
    assert_true(finds(".", "\n\r", 1, 2));
    assert_true(finds("[-\\s]+", "a- b", 1, 3));
    assert_true(finds("(?i:'s)", "it'S", 2, 4));
    assert_true(finds("\\p{Lu}{2,}", "aBCD", 1, 4));
    assert_true(finds("(?<=a)b", "bab", 2, 3));
    assert_true(finds("[^\\r\\n\\p{L}]?+\\p{L}++", "1x", 0, 2));
}

static void quoted_text_matches_itself(void **state)
{
    (void)state;
    static const char text[] = "a.b*c[d](e){f}^$|\\-+?";
    pk_text spelling = {0};
    pk_pattern *open = NULL;
    pk_matcher *matcher = NULL;
    size_t start, end;
    assert_int_equal(pk_pattern_quote(text, &spelling), PK_OK);
    assert_int_equal(pk_pattern_open(&open, &spelling), PK_OK);
    assert_int_equal(pk_matcher_open(&matcher, sizeof text), PK_OK);
    assert_int_equal(pk_pattern_find(open, matcher, text, sizeof text - 1, 0, &start, &end), PK_OK);
    assert_int_equal(start, 0);
    assert_int_equal(end, sizeof text - 1);
    pk_matcher_close(&matcher);
    pk_pattern_close(&open);
    pk_text_fini(&spelling);
}

static void a_pattern_that_matches_nothing_is_refused(void **state)
{
    (void)state;
    pk_pattern *open = NULL;
    assert_int_equal(pk_pattern_open(&open, &(pk_text){.bytes = "a*", .count = 2}), PK_INVALID);
    assert_non_null(strstr(pk_error_text(), "can match nothing at all"));
    assert_int_equal(pk_pattern_open(&open, &(pk_text){.bytes = "(?<=a+)b", .count = 8}), PK_INVALID);
    assert_non_null(strstr(pk_error_text(), "not a pattern"));
    assert_null(open);
}

static void an_explosive_pattern_ends_in_an_error(void **state)
{
    (void)state;
    static const char text[] = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab";
    pk_text spelling = {0};
    pk_pattern *open = NULL;
    pk_matcher *matcher = NULL;
    size_t start, end;
    assert_int_equal(pk_pattern_translate("(a|aa|a.)+[cd][ef]", &spelling), PK_OK);
    assert_int_equal(pk_pattern_open(&open, &spelling), PK_OK);
    assert_int_equal(pk_matcher_open(&matcher, sizeof text), PK_OK);
    pk_err err = pk_pattern_find(open, matcher, text, sizeof text - 1, 0, &start, &end);
    /* PCRE2 may see that no match can be; otherwise its step limit ends the search. */
    assert_true(err == PK_AGAIN || (err == PK_INVALID && strstr(pk_error_text(), "limit")));
    pk_matcher_close(&matcher);
    pk_pattern_close(&open);
    pk_text_fini(&spelling);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_oniguruma_reads_otherwise_is_refused_by_name),
        cmocka_unit_test(nested_groups_are_bounded),
        cmocka_unit_test(sets_mean_what_they_mean_in_oniguruma),
        cmocka_unit_test(quoted_text_matches_itself),
        cmocka_unit_test(a_pattern_that_matches_nothing_is_refused),
        cmocka_unit_test(an_explosive_pattern_ends_in_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
