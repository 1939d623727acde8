/* The patterns matched by hand against PCRE2, on random strings, and the table of characters behind them. */
#include "stages/tokenizer/character.h"
#include "stages/tokenizer/cutter.h"
#include "stages/tokenizer/pattern.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static uint8_t *classes;

static int open_classes(void **state)
{
    (void)state;
    return pk_character_classes(&classes);
}

static int close_classes(void **state)
{
    (void)state;
    free(classes);
    return 0;
}

static pk_pattern *open_pattern(const char *pattern)
{
    pk_text spelling = {0};
    pk_pattern *compiled = NULL;
    if (pk_pattern_translate(pattern, &spelling) || pk_pattern_open(&compiled, &spelling))
        fail_msg("%s", pk_error_text());
    pk_text_fini(&spelling);
    return compiled;
}

static bool matches(const pk_pattern *pattern, pk_matcher *matcher, const char *text, size_t bytes)
{
    size_t start, end;
    return pk_pattern_find(pattern, matcher, text, bytes, 0, &start, &end) == PK_OK;
}

/* Whether PCRE2, whose Unicode is older, gives a character its class too. */
static bool is_known_alike(pk_pattern *const *patterns, pk_matcher *matcher, unsigned code)
{
    char text[4];
    size_t bytes = pk_utf8_put(text, code);
    for (unsigned bit = 0; bit < 7; bit++)
        if (matches(patterns[bit], matcher, text, bytes) != !!(classes[code] & 1u << bit))
            return false;
    return true;
}

static const char *const class_patterns[] = {"[\\p{Lu}\\p{Lt}]", "\\p{Ll}",         "[\\p{Lm}\\p{Lo}]", "\\p{M}",
                                             "\\p{N}",           "(?![\\r\\n])\\s", "[\\r\\n]"};

/* PCRE2 10.42 knows Unicode 14, the table is of `tokenizers`, which knows more: it may only have characters that PCRE2
 * has not. */
static void the_table_differs_from_pcre2_only_in_newer_characters(void **state)
{
    (void)state;
    pk_pattern *patterns[7];
    pk_matcher *matcher = NULL;
    size_t newer = 0;
    for (size_t i = 0; i < 7; i++)
        patterns[i] = open_pattern(class_patterns[i]);
    assert_int_equal(pk_matcher_open(&matcher, 4), PK_OK);
    for (unsigned code = 0; code < PK_CHARACTER_COUNT; code++) {
        if (code >= 0xD800 && code <= 0xDFFF)
            continue;
        if (is_known_alike(patterns, matcher, code))
            continue;
        newer++;
        char text[4];
        size_t bytes = pk_utf8_put(text, code);
        for (size_t i = 0; i < 7; i++)
            if (matches(patterns[i], matcher, text, bytes))
                fail_msg("U+%04X is of class %zu for PCRE2, 0x%02x in the table", code, i, classes[code]);
    }
    printf("%zu characters are newer than PCRE2's Unicode\n", newer);
    pk_matcher_close(&matcher);
    for (size_t i = 0; i < 7; i++)
        pk_pattern_close(&patterns[i]);
}

/* Characters on which the table and PCRE2 agree, of every class; mostly those that the patterns name. */
static unsigned random_character(pk_pattern *const *patterns, pk_matcher *matcher)
{
    static const unsigned usual[] = {'a',   'b',     'A',     'B',     '1',     '2',   ' ',   ' ',  '\n',   '\r',
                                     '\t',  '.',     '/',     '!',     's',     'S',   't',   'l',  'L',    'e',
                                     'E',   'r',     'v',     'm',     '\'',    '\'',  'd',   'D',  0xE9,   0xC9,
                                     0x17F, 0x1C5,   0x2B0,   0x6F22,  0x5D0,   0x301, 0x93E, 0xA0, 0x3000, 0xBD,
                                     0x665, 0x1D7D8, 0x10400, 0x10428, 0x1F600, 0x85,  0x200D};
    if (random() % 8)
        return usual[(size_t)random() % (sizeof usual / sizeof *usual)];
    for (;;) {
        unsigned code = (unsigned)random() % (random() % 2 ? PK_CHARACTER_COUNT : 0x3000);
        if ((code < 0xD800 || code > 0xDFFF) && is_known_alike(patterns, matcher, code))
            return code;
    }
}

static void check_cuts(pk_cutter cut, const pk_pattern *pattern, pk_matcher *matcher, const char *text, size_t bytes)
{
    pk_cut_text view = {classes, (const unsigned char *)text, bytes};
    for (size_t at = 0, start, end; at < bytes; at = end) {
        assert_int_equal(pk_pattern_find(pattern, matcher, text, bytes, at, &start, &end), PK_OK);
        assert_int_equal(start, at);
        if (cut(&view, at) != end)
            fail_msg("\"%.*s\" at byte %zu: cut at %zu, PCRE2 says %zu", (int)bytes, text, at, cut(&view, at), end);
    }
}

static void cutters_find_what_pcre2_finds(void **state)
{
    (void)state;
    enum { STRINGS = 40000, LONGEST = 24 };
    pk_pattern *class_of[7];
    pk_matcher *matcher = NULL;
    for (size_t i = 0; i < 7; i++)
        class_of[i] = open_pattern(class_patterns[i]);
    assert_int_equal(pk_matcher_open(&matcher, 4 * LONGEST), PK_OK);
    srandom(5);
    printf("seed 5\n");
    for (size_t which = 0; pk_cutter_pattern(which); which++) {
        pk_pattern *pattern = open_pattern(pk_cutter_pattern(which));
        pk_cutter cut = pk_cutter_for(pk_cutter_pattern(which));
        for (int round = 0; round < STRINGS; round++) {
            char text[4 * LONGEST];
            size_t bytes = 0, characters = 1 + (size_t)random() % LONGEST;
            while (characters-- > 0)
                bytes += pk_utf8_put(text + bytes, random_character(class_of, matcher));
            check_cuts(cut, pattern, matcher, text, bytes);
        }
        pk_pattern_close(&pattern);
    }
    pk_matcher_close(&matcher);
    for (size_t i = 0; i < 7; i++)
        pk_pattern_close(&class_of[i]);
}

static void another_pattern_has_no_cutter(void **state)
{
    (void)state;
    assert_null(pk_cutter_for("\\p{L}+"));
    assert_null(pk_cutter_for(""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_table_differs_from_pcre2_only_in_newer_characters),
        cmocka_unit_test(cutters_find_what_pcre2_finds),
        cmocka_unit_test(another_pattern_has_no_cutter),
    };
    return cmocka_run_group_tests(tests, open_classes, close_classes);
}
