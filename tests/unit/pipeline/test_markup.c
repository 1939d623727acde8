#include "check.h"

#include "pipeline/markup.h"

/* What `text` becomes; the caller frees it. */
static char *marked(const char *text)
{
    char *out = NULL;
    size_t bytes = 0;
    FILE *stream = open_memstream(&out, &bytes);
    assert_non_null(stream);
    pk_markup_text(stream, text);
    assert_int_equal(fclose(stream), 0);
    return out;
}

static void what_means_something_becomes_an_entity(void **state)
{
    static const char *const cases[][2] = {
        {"", ""},
        {"plain\n\ttext", "plain\n\ttext"},
        {"<a href=\"x\">&'", "&lt;a href=&quot;x&quot;&gt;&amp;&#39;"},
        {"&lt;", "&amp;lt;"},
        {"\x1b[2J\x7f\r", "\xEF\xBF\xBD[2J\xEF\xBF\xBD\xEF\xBF\xBD"},
        {"\xEF\xBF\xBE|\xEF\xBF\xBF|\xEF\xBF\xBD", "\xEF\xBF\xBD|\xEF\xBF\xBD|\xEF\xBF\xBD"},
        {"caf\xC3\xA9 \xF0\x9F\x98\x80", "caf\xC3\xA9 \xF0\x9F\x98\x80"},
        {"\xFF<\xC3", "\xEF\xBF\xBD&lt;\xEF\xBF\xBD"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
        char *out = marked(cases[i][0]);
        assert_string_equal(out, cases[i][1]);
        free(out);
    }
}

/* Text is handed on in pieces: a character on the edge of two stays one. */
static void characters_stay_whole_wherever_pieces_end(void **state)
{
    char text[600];
    (void)state;
    for (size_t blanks = 120; blanks < 135; ++blanks) {
        memset(text, ' ', blanks);
        strcpy(text + blanks, "\xF0\x9F\x98\x80\xEF\xBF\xBE<");
        char *out = marked(text);
        assert_string_equal(out + blanks, "\xF0\x9F\x98\x80\xEF\xBF\xBD&lt;");
        free(out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_means_something_becomes_an_entity),
        cmocka_unit_test(characters_stay_whole_wherever_pieces_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
