/* Prompts of the published chat template, rendered by jinja2 (tools/chat/make_goldens.py), and what goes beyond it. */
#include "pipeline/chat.h"
#include "tests/unit/pipeline/check.h"

#include <stdio.h>

#define GOLDENS        PK_SOURCE_DIR "/tests/golden/chat/m1.jsonl"
#define MESSAGES(text) "{\"messages\": " text "}"

enum { VALUES_MAX = 1000000 };

static pk_json *read_json(const char *text, size_t bytes)
{
    pk_json *json = NULL;
    if (pk_json_open(&json, text, bytes, VALUES_MAX))
        fail_msg("%s", pk_error_text());
    return json;
}

static const pk_json *tools_of(const pk_json *conversation)
{
    const pk_json *tools = pk_json_member(conversation, "tools");
    return tools && pk_json_kind_of(tools) != PK_JSON_NULL ? tools : NULL;
}

static void assert_prompt(const char *conversation, const char *expected)
{
    pk_json *json = read_json(conversation, strlen(conversation));
    pk_json_text out = {0};
    if (pk_chat_write(&out, pk_json_member(json, "messages"), tools_of(json)))
        fail_msg("refused: %s", pk_error_text());
    assert_int_equal(out.used, strlen(expected));
    assert_memory_equal(out.bytes, expected, out.used);
    pk_json_text_fini(&out);
    pk_json_close(&json);
}

static void assert_refused(const char *conversation, const char *message)
{
    pk_json *json = read_json(conversation, strlen(conversation));
    pk_json_text out = {0};
    assert_error(pk_chat_write(&out, pk_json_member(json, "messages"), tools_of(json)), PK_INVALID, message);
    pk_json_text_fini(&out);
    pk_json_close(&json);
}

static void check_golden(const char *line, size_t bytes)
{
    pk_json *json = read_json(line, bytes);
    const char *name = pk_json_string(pk_json_member(json, "name")), *prompt;
    pk_json_text out = {0};
    if (pk_chat_write(&out, pk_json_member(json, "messages"), tools_of(json)))
        fail_msg("%s: refused: %s", name, pk_error_text());
    prompt = pk_json_string(pk_json_member(json, "prompt"));
    if (out.used != strlen(prompt) || memcmp(out.bytes, prompt, out.used))
        fail_msg("%s: got\n%.*s\nexpected\n%s", name, (int)out.used, out.bytes, prompt);
    pk_json_text_fini(&out);
    pk_json_close(&json);
}

static void prompts_are_those_of_the_published_template(void **state)
{
    (void)state;
    FILE *file = fopen(GOLDENS, "r");
    char *line = NULL;
    size_t capacity = 0, count = 0;
    assert_non_null(file);
    for (ssize_t bytes; (bytes = getline(&line, &capacity, file)) > 0; count++)
        check_golden(line, (size_t)bytes);
    assert_true(count > 100);
    free(line);
    fclose(file);
}

static void a_string_is_one_part_of_text(void **state)
{
    (void)state;
    assert_prompt(MESSAGES("[{\"role\": \"system\", \"content\": \"s\"}, {\"role\": \"user\", \"content\": \"u\"},"
                           " {\"role\": \"assistant\", \"content\": \"a\"}, {\"role\": \"user\", \"content\": \"v\"}]"),
                  "<begin_of_document><beginning_of_sentence>system ai_setting=assistant\ns<end_of_sentence>\n"
                  "<beginning_of_sentence>user name=user\nu<end_of_sentence>\n"
                  "<beginning_of_sentence>ai name=assistant\na<end_of_sentence>\n"
                  "<beginning_of_sentence>user name=user\nv<end_of_sentence>\n"
                  "<beginning_of_sentence>ai name=assistant\n");
}

static void all_parts_of_a_question_are_asked(void **state)
{
    (void)state;
    assert_prompt(MESSAGES("[{\"role\": \"user\", \"content\": [{\"type\": \"text\", \"text\": \"one \"},"
                           " {\"type\": \"text\", \"text\": \"two\"}]}]"),
                  "<begin_of_document><beginning_of_sentence>user name=user\none two<end_of_sentence>\n"
                  "<beginning_of_sentence>ai name=assistant\n");
}

static void a_developer_speaks_as_the_system(void **state)
{
    (void)state;
    assert_prompt(MESSAGES("[{\"role\": \"developer\", \"content\": \"d\"}, {\"role\": \"user\", \"content\": \"u\"}]"),
                  "<begin_of_document><beginning_of_sentence>system ai_setting=assistant\nd<end_of_sentence>\n"
                  "<beginning_of_sentence>user name=user\nu<end_of_sentence>\n"
                  "<beginning_of_sentence>ai name=assistant\n");
}

static void calls_and_results_in_the_openai_form_are_written_as_the_model_writes_them(void **state)
{
    (void)state;
    assert_prompt(
        MESSAGES(
            "[{\"role\": \"user\", \"content\": \"u\"},"
            " {\"role\": \"assistant\", \"content\": null, \"tool_calls\": [{\"id\": \"c1\", \"type\": \"function\","
            "  \"function\": {\"name\": \"flow\", \"arguments\": \"{\\\"gate\\\":1}\"}}]},"
            " {\"role\": \"tool\", \"tool_call_id\": \"c1\", \"content\": \"42\"}]"),
        "<begin_of_document><beginning_of_sentence>user name=user\nu<end_of_sentence>\n"
        "<beginning_of_sentence>ai name=assistant\n<tool_calls>\n{\"name\": \"flow\", \"arguments\": {\"gate\": 1}}\n"
        "</tool_calls><end_of_sentence>\n"
        "<beginning_of_sentence>tool name=tools\ntool name: flow\ntool result: 42\n\n<end_of_sentence>\n"
        "<beginning_of_sentence>ai name=assistant\n");
}

static void a_call_follows_the_words_on_a_line_of_its_own(void **state)
{
    (void)state;
    assert_prompt(MESSAGES("[{\"role\": \"assistant\", \"content\": \"Let me see.\", \"tool_calls\":"
                           " [{\"function\": {\"name\": \"f\", \"arguments\": \"{}\"}}]}]"),
                  "<begin_of_document><beginning_of_sentence>ai name=assistant\nLet me see.\n<tool_calls>\n"
                  "{\"name\": \"f\", \"arguments\": {}}\n</tool_calls><end_of_sentence>\n"
                  "<beginning_of_sentence>ai name=assistant\n");
}

static void an_empty_conversation_is_refused(void **state)
{
    (void)state;
    assert_refused("{\"messages\": []}", "messages: an array; expected an array of at least one message");
    assert_refused("{}", "messages: nothing; expected an array of at least one message");
}

static void an_unknown_role_is_refused_with_its_place(void **state)
{
    (void)state;
    assert_refused(MESSAGES("[{\"role\": \"user\", \"content\": \"u\"}, {\"role\": \"critic\", \"content\": \"c\"}]"),
                   "messages[1]: role: \"critic\"; expected \"system\", \"developer\", \"user\", \"assistant\" or "
                   "\"tool\"");
}

static void a_picture_is_refused_with_its_place(void **state)
{
    (void)state;
    assert_refused(MESSAGES("[{\"role\": \"user\", \"content\": [{\"type\": \"text\", \"text\": \"see\"},"
                            " {\"type\": \"image_url\", \"image_url\": {\"url\": \"x\"}}]}]"),
                   "messages[0]: content[1]: type: \"image_url\"; expected \"text\": this model reads text only");
}

static void a_message_without_content_is_refused(void **state)
{
    (void)state;
    assert_refused(MESSAGES("[{\"role\": \"user\"}]"),
                   "messages[0]: content: nothing; expected a string or an array of parts");
    assert_refused(MESSAGES("[{\"role\": \"assistant\", \"content\": null}]"),
                   "messages[0]: content: nothing; expected a string or an array of parts");
}

static void a_result_of_no_call_is_refused(void **state)
{
    (void)state;
    assert_refused(MESSAGES("[{\"role\": \"tool\", \"tool_call_id\": \"c9\", \"content\": \"42\"}]"),
                   "messages[0]: tool_call_id: \"c9\"; expected the id of a call in an earlier message");
}

static void arguments_that_are_no_json_are_refused(void **state)
{
    (void)state;
    assert_refused(MESSAGES("[{\"role\": \"assistant\", \"tool_calls\": [{\"function\": {\"name\": \"f\","
                            " \"arguments\": \"{\"}}]}]"),
                   "messages[0]: tool_calls[0]: function.arguments: JSON at line 1, column 1: string or '}' expected "
                   "near end of file");
}

static void odd_shapes_are_refused(void **state)
{
    (void)state;
    static const char *const odd[] = {
        "[1]",
        "[[]]",
        "[{}]",
        "[{\"role\": 1}]",
        "[{\"role\": \"user\", \"content\": 1}]",
        "[{\"role\": \"user\", \"content\": [1]}]",
        "[{\"role\": \"user\", \"content\": [{\"type\": \"text\"}]}]",
        "[{\"role\": \"tool\", \"content\": [{\"name\": 1, \"text\": \"t\"}]}]",
        "[{\"role\": \"tool\", \"content\": [{\"name\": \"n\", \"text\": \"t\"}, 7]}]",
        "[{\"role\": \"tool\", \"content\": [{\"name\": \"n\", \"text\": \"t\"}, {\"text\": \"t\"}]}]",
        "[{\"role\": \"tool\", \"name\": 1, \"content\": \"t\"}]",
        "[{\"role\": \"tool\", \"content\": \"t\"}]",
        "[{\"role\": \"assistant\", \"tool_calls\": 1}]",
        "[{\"role\": \"assistant\", \"tool_calls\": [1]}]",
        "[{\"role\": \"assistant\", \"tool_calls\": [{\"function\": 1}]}]",
        "[{\"role\": \"assistant\", \"tool_calls\": [{\"function\": {\"name\": \"f\"}}]}]",
        "[{\"role\": \"assistant\", \"tool_calls\": [{\"id\": \"c\", \"function\": 1}]},"
        " {\"role\": \"tool\", \"tool_call_id\": \"c\", \"content\": \"t\"}]",
    };
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
        pk_json *json = read_json(odd[i], strlen(odd[i]));
        pk_json_text out = {0};
        if (pk_chat_write(&out, json, NULL) != PK_INVALID)
            fail_msg("accepted: %s", odd[i]);
        pk_json_text_fini(&out);
        pk_json_close(&json);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prompts_are_those_of_the_published_template),
        cmocka_unit_test(a_string_is_one_part_of_text),
        cmocka_unit_test(all_parts_of_a_question_are_asked),
        cmocka_unit_test(a_developer_speaks_as_the_system),
        cmocka_unit_test(calls_and_results_in_the_openai_form_are_written_as_the_model_writes_them),
        cmocka_unit_test(a_call_follows_the_words_on_a_line_of_its_own),
        cmocka_unit_test(an_empty_conversation_is_refused),
        cmocka_unit_test(an_unknown_role_is_refused_with_its_place),
        cmocka_unit_test(a_picture_is_refused_with_its_place),
        cmocka_unit_test(a_message_without_content_is_refused),
        cmocka_unit_test(a_result_of_no_call_is_refused),
        cmocka_unit_test(arguments_that_are_no_json_are_refused),
        cmocka_unit_test(odd_shapes_are_refused),
    };
    return cmocka_run_group_tests_name("chat", tests, NULL, NULL);
}
