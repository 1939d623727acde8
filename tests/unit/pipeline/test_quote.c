#include "check.h"

#include "pipeline/quote.h"

#include <string.h>

static const char document[] = "Ledger of Alder Bay\r\n"
                               "\r\n"
                               "Paid to Edith Crane 16 pounds.\r\n"
                               "Paid to Owen Lusk 16 pounds.\r\n"
                               "The bell of 1611 weighs 160 pounds.\r\n"
                               "Cura\xC3\xA7"
                               "ao, in barrels";

static void assert_quoted(const char *answer, const char *question, const char *line)
{
    pk_quote quote;
    bool found = pk_quote_find(&quote, document, strlen(document), answer, strlen(answer), question);
    if (!line) {
        assert_false(found);
        assert_null(quote.line);
        return;
    }
    assert_true(found);
    assert_int_equal(quote.bytes, strlen(line));
    assert_memory_equal(quote.line, line, quote.bytes);
    assert_ptr_equal(quote.line, document + quote.begin);
}

static void the_line_of_the_answer_is_found(void **state)
{
    (void)state;
    assert_quoted("Edith Crane", "Who was paid?", "Paid to Edith Crane 16 pounds.");
    assert_quoted("1611", "When?", "The bell of 1611 weighs 160 pounds.");
    assert_quoted("in barrels", "How?",
                  "Cura\xC3\xA7"
                  "ao, in barrels");
    assert_quoted("Ledger", "What?", "Ledger of Alder Bay");
}

static void of_several_lines_it_is_the_one_that_the_question_is_about(void **state)
{
    (void)state;
    assert_quoted("16 pounds", "How much was paid to Owen Lusk?", "Paid to Owen Lusk 16 pounds.");
    assert_quoted("16 pounds", "How much was paid to Edith Crane?", "Paid to Edith Crane 16 pounds.");
    assert_quoted("16 pounds", "", "Paid to Edith Crane 16 pounds.");
}

static void a_part_of_a_word_or_number_is_no_find(void **state)
{
    (void)state;
    assert_quoted("1", "", NULL);
    assert_quoted("161", "", NULL);
    assert_quoted("Cran", "", NULL);
    assert_quoted("Cura", "", NULL);
}

static void white_space_around_an_answer_does_not_count(void **state)
{
    (void)state;
    assert_quoted(" \n16 pounds. \n", "Owen Lusk", "Paid to Owen Lusk 16 pounds.");
}

static void what_is_not_one_line_of_the_document_has_no_quote(void **state)
{
    (void)state;
    assert_quoted("", "", NULL);
    assert_quoted(" \n", "", NULL);
    assert_quoted("not stated", "", NULL);
    assert_quoted("Bay\r\n\r\nPaid", "", NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_line_of_the_answer_is_found),
        cmocka_unit_test(of_several_lines_it_is_the_one_that_the_question_is_about),
        cmocka_unit_test(a_part_of_a_word_or_number_is_no_find),
        cmocka_unit_test(white_space_around_an_answer_does_not_count),
        cmocka_unit_test(what_is_not_one_line_of_the_document_has_no_quote),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
