#include "pipeline/reasoning.h"
#include "tests/unit/pipeline/check.h"

static void assert_view(pk_text_view view, const char *expected)
{
    assert_int_equal(view.count, strlen(expected));
    assert_memory_equal(view.bytes, expected, view.count);
}

static void assert_split(const char *text, bool reasoned, const char *reasoning, const char *content)
{
    pk_reasoning parts = pk_reasoning_split(text, strlen(text));
    assert_int_equal(parts.reasoned, reasoned);
    if (reasoned)
        assert_view(parts.reasoning, reasoning);
    assert_view(parts.content, content);
}

static void reasoning_is_told_from_the_answer(void **state)
{
    (void)state;
    assert_split("<think>\nTwo and two.\n</think>\nFour.", true, "Two and two.", "Four.");
    assert_split("<think>\nTwo.\n\nAnd two.\n</think>\n\nFour.\n", true, "Two.\n\nAnd two.", "Four.\n");
}

static void an_answer_without_reasoning_is_left_alone(void **state)
{
    (void)state;
    assert_split("Four.", false, NULL, "Four.");
    assert_split("", false, NULL, "");
    assert_split("I <think> so", false, NULL, "I <think> so");
}

static void reasoning_that_was_cut_off_is_no_answer(void **state)
{
    (void)state;
    assert_split("<think>\nTwo and", true, "Two and", "");
    assert_split("<think>", true, "", "");
    assert_split("<think>\nTwo\n</thi", true, "Two\n</thi", "");
}

static void reasoning_that_the_prompt_opened_is_told_by_its_end(void **state)
{
    (void)state;
    assert_split("Two and two.\n</think>\nFour.", true, "Two and two.", "Four.");
}

static void only_the_first_reasoning_counts(void **state)
{
    (void)state;
    assert_split("<think>\na\n</think>\nb </think> c", true, "a", "b </think> c");
}

static void assert_calls(const char *text, size_t count, const char *calls, const char *content)
{
    pk_json_text out = {0};
    pk_text_view view = {.bytes = text, .count = strlen(text)};
    assert_int_equal(pk_reasoning_calls(&out, "7f", &view), count);
    assert_int_equal(out.used, strlen(calls));
    if (out.used)
        assert_memory_equal(out.bytes, calls, out.used);
    assert_view(view, content);
    pk_json_text_fini(&out);
}

static void calls_become_those_of_openai(void **state)
{
    (void)state;
    assert_calls("Let me see.\n<tool_calls>\n{\"name\": \"flow\", \"arguments\": {\"gate\":1}}\n"
                 "{\"name\": \"stop\", \"arguments\": {}}\n</tool_calls>\n",
                 2,
                 "[{\"id\": \"call_7f_1\", \"type\": \"function\", \"function\": {\"name\": \"flow\", \"arguments\": "
                 "\"{\\\"gate\\\": 1}\"}}, {\"id\": \"call_7f_2\", \"type\": \"function\", \"function\": {\"name\": "
                 "\"stop\", \"arguments\": \"{}\"}}]",
                 "Let me see.");
    assert_calls("<tool_calls>{\"name\": \"f\", \"arguments\": {}}</tool_calls>", 1,
                 "[{\"id\": \"call_7f_1\", \"type\": \"function\", \"function\": {\"name\": \"f\", \"arguments\": "
                 "\"{}\"}}]",
                 "");
}

static void tags_within_arguments_and_before_the_calls_are_text(void **state)
{
    (void)state;
    assert_calls(
        "<tool_calls>\n{\"name\": \"f\", \"arguments\": {\"a\": \"</tool_calls> <tool_calls>\"}}\n</tool_calls>", 1,
        "[{\"id\": \"call_7f_1\", \"type\": \"function\", \"function\": {\"name\": \"f\", \"arguments\": "
        "\"{\\\"a\\\": \\\"</tool_calls> <tool_calls>\\\"}\"}}]",
        "");
    assert_calls("I use <tool_calls> now.\n<tool_calls>\n{\"name\": \"f\", \"arguments\": {}}\n</tool_calls>\n", 1,
                 "[{\"id\": \"call_7f_1\", \"type\": \"function\", \"function\": {\"name\": \"f\", \"arguments\": "
                 "\"{}\"}}]",
                 "I use <tool_calls> now.");
}

static void what_is_no_call_stays_text(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",
        "no call",
        "<tool_calls>\n</tool_calls>",
        "<tool_calls>\n{\"name\": \"f\", \"arguments\": {}}\n", /* cut off */
        "<tool_calls>\nnot JSON\n</tool_calls>",
        "<tool_calls>\n{\"name\": \"f\", \"arguments\": {}}\nand more\n</tool_calls>",
        "<tool_calls>\n{\"name\": 1, \"arguments\": {}}\n</tool_calls>",
        "<tool_calls>\n{\"name\": \"f\", \"arguments\": \"{}\"}\n</tool_calls>",
        "<tool_calls>\n[1]\n</tool_calls>",
        "</tool_calls>",
        "<tool_calls></tool_calls>",
        "<tool_calls",
        "Write <tool_calls>\n{\"name\": \"f\", \"arguments\": {}}\n</tool_calls> to call.",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        assert_calls(texts[i], 0, "", texts[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reasoning_is_told_from_the_answer),
        cmocka_unit_test(an_answer_without_reasoning_is_left_alone),
        cmocka_unit_test(reasoning_that_was_cut_off_is_no_answer),
        cmocka_unit_test(reasoning_that_the_prompt_opened_is_told_by_its_end),
        cmocka_unit_test(only_the_first_reasoning_counts),
        cmocka_unit_test(calls_become_those_of_openai),
        cmocka_unit_test(tags_within_arguments_and_before_the_calls_are_text),
        cmocka_unit_test(what_is_no_call_stays_text),
    };
    return cmocka_run_group_tests_name("reasoning", tests, NULL, NULL);
}
