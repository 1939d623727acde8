#include "pipeline/request_line.h"
#include "tests/unit/pipeline/check.h"

#include <stdio.h>

static const pk_generation defaults = {.max_tokens = 512, .temperature = 0.5f, .top_p = 0.9f, .top_k = 7, .seed = 3};

/* A line whose body holds `members`, at this url. */
static const char *line_of(const char *url, const char *members)
{
    static char line[4096];
    snprintf(line, sizeof line, "{\"custom_id\": \"a\", \"method\": \"POST\", \"url\": \"%s\", \"body\": {%s}}", url,
             members);
    return line;
}

static const char *chat(const char *members)
{
    static char body[2048];
    snprintf(body, sizeof body, "\"messages\": [{\"role\": \"user\", \"content\": \"u\"}]%s%s", *members ? ", " : "",
             members);
    return line_of("/v1/chat/completions", body);
}

static const char *completion(const char *members)
{
    return line_of("/v1/completions", members);
}

static pk_request_line read_good(const char *line)
{
    pk_request_line out;
    const char *code = NULL;
    if (pk_request_line_read(&out, line, strlen(line), &defaults, &code))
        fail_msg("refused: %s", pk_error_text());
    return out;
}

static void assert_refused(const char *line, const char *code, const char *message)
{
    pk_request_line out;
    const char *got = "none";
    assert_error(pk_request_line_read(&out, line, strlen(line), &defaults, &got), PK_INVALID, message);
    assert_string_equal(got, code);
    pk_request_line_fini(&out);
}

static void a_chat_line_becomes_a_prompt(void **state)
{
    (void)state;
    pk_request_line line = read_good(chat(""));
    assert_string_equal(line.custom_id, "a");
    assert_true(line.chat);
    static const char prompt[] = "<begin_of_document><beginning_of_sentence>user name=user\nu<end_of_sentence>\n"
                                 "<beginning_of_sentence>ai name=assistant\n";
    assert_int_equal(line.prompt_bytes, sizeof prompt - 1);
    assert_memory_equal(line.prompt, prompt, line.prompt_bytes);
    pk_request_line_fini(&line);
}

static void what_a_body_does_not_say_is_as_the_pipeline_says(void **state)
{
    (void)state;
    pk_request_line line = read_good(chat("\"model\": \"any\", \"user\": \"me\", \"stop\": null, \"n\": null"));
    assert_memory_equal(&line.generation, &defaults, sizeof defaults);
    assert_int_equal(line.choices, 1);
    pk_request_line_fini(&line);
}

static void what_a_body_says_goes_before_the_pipeline(void **state)
{
    (void)state;
    pk_request_line line = read_good(chat("\"max_tokens\": 9, \"temperature\": 1, \"top_p\": 0.25, \"top_k\": -1,"
                                          " \"min_p\": 0.125, \"seed\": 11, \"n\": 4"));
    assert_int_equal(line.generation.max_tokens, 9);
    assert_true(line.generation.temperature == 1 && line.generation.top_p == 0.25f && line.generation.min_p == 0.125f);
    assert_int_equal(line.generation.top_k, 0);
    assert_int_equal(line.generation.seed, 11);
    assert_int_equal(line.choices, 4);
    pk_request_line_fini(&line);
}

static void fields_that_ask_for_nothing_are_accepted(void **state)
{
    (void)state;
    pk_request_line line =
        read_good(chat("\"stream\": false, \"presence_penalty\": 0, \"frequency_penalty\": 0.0, \"logit_bias\": {},"
                       " \"response_format\": {\"type\": \"text\"}, \"logprobs\": false, \"repetition_penalty\": 1.0,"
                       " \"stop\": [], \"parallel_tool_calls\": true"));
    pk_request_line_fini(&line);
}

static void fields_that_this_version_lacks_are_refused_by_name(void **state)
{
    (void)state;
    assert_refused(chat("\"presence_penalty\": 0.5"), "unsupported_field",
                   "body: presence_penalty: 0.5; expected 0, nothing else is in this version");
    assert_refused(chat("\"stop\": [\"x\"]"), "unsupported_field",
                   "body: stop: an array; expected [], nothing else is in this version");
    assert_refused(chat("\"reasoning_effort\": \"high\""), "unsupported_field",
                   "body: reasoning_effort: \"high\"; the field is not in this version, leave it out");
    assert_refused(chat("\"response_format\": {\"type\": \"json_object\"}"), "unsupported_field",
                   "body: response_format: an object; expected {\"type\": \"text\"}, nothing else is in this version");
}

static void unknown_fields_are_refused_with_the_nearest_name(void **state)
{
    (void)state;
    assert_refused(chat("\"temprature\": 1"), "unsupported_field",
                   "body: temprature: unknown field; did you mean \"temperature\"?");
    assert_refused(completion("\"prompt\": \"p\", \"messages\": []"), "unsupported_field",
                   "body: messages: unknown field");
}

static void values_out_of_range_are_refused(void **state)
{
    (void)state;
    assert_refused(chat("\"temperature\": -1"), "invalid_request",
                   "body: temperature: -1; expected a number from 0 to "
                   "100");
    assert_refused(chat("\"top_p\": 0"), "invalid_request", "body: top_p: 0; expected a number above 0, at most 1");
    assert_refused(chat("\"top_k\": 1.5"), "invalid_request",
                   "body: top_k: 1.5; expected an integer; 0 or -1 for all tokens");
    assert_refused(chat("\"min_p\": 2"), "invalid_request", "body: min_p: 2; expected a number from 0 to 1");
    assert_refused(chat("\"seed\": -1"), "invalid_request", "body: seed: -1; expected an integer of at least 0");
    assert_refused(chat("\"n\": 0"), "invalid_request", "body: n: 0; expected an integer from 1 to 128");
    assert_refused(chat("\"max_tokens\": \"9\""), "invalid_request",
                   "body: max_tokens: \"9\"; expected an integer from 1 to 1073741824");
    assert_refused(chat("\"tool_choice\": \"required\""), "invalid_request",
                   "body: tool_choice: \"required\"; expected \"auto\" or \"none\"");
}

static void a_fault_in_a_conversation_is_told_with_its_place(void **state)
{
    (void)state;
    assert_refused(line_of("/v1/chat/completions", "\"messages\": [{\"role\": \"user\"}]"), "invalid_request",
                   "body: messages[0]: content: nothing; expected a string or an array of parts");
    assert_refused(line_of("/v1/chat/completions", ""), "invalid_request",
                   "body: messages: nothing; expected an array of at least one message");
}

static void tool_calls_are_looked_for_where_there_are_tools(void **state)
{
    (void)state;
    static const struct {
        const char *members;
        bool calls;
    } cases[] = {{"", false},
                 {"\"tools\": [{\"name\": \"f\"}]", true},
                 {"\"tools\": [{\"name\": \"f\"}], \"tool_choice\": \"none\"", false},
                 {"\"tool_choice\": \"auto\", \"tools\": [{\"name\": \"f\"}]", true}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        pk_request_line line = read_good(chat(cases[i].members));
        assert_int_equal(line.calls, cases[i].calls);
        pk_request_line_fini(&line);
    }
}

static void a_completion_has_a_text_or_ids(void **state)
{
    (void)state;
    static const char *const texts[] = {"\"prompt\": \"p\"", "\"prompt\": [\"p\"]"};
    static const char *const ids[] = {"\"prompt\": [1, 2]", "\"prompt\": [[1, 2]]"};
    for (int i = 0; i < 2; i++) {
        pk_request_line line = read_good(completion(texts[i]));
        assert_false(line.chat);
        assert_string_equal(line.prompt, "p");
        pk_request_line_fini(&line);
        line = read_good(completion(ids[i]));
        assert_null(line.prompt);
        assert_int_equal(line.id_count, 2);
        assert_int_equal(line.ids[1], 2);
        pk_request_line_fini(&line);
    }
}

static void a_completion_of_nothing_or_of_many_is_refused(void **state)
{
    (void)state;
    assert_refused(completion(""), "invalid_request",
                   "body: prompt: nothing; expected a string or a list of token ids");
    assert_refused(completion("\"prompt\": \"\""), "invalid_request",
                   "body: prompt: \"\"; expected at least one "
                   "character");
    assert_refused(completion("\"prompt\": [\"a\", \"b\"]"), "invalid_request",
                   "body: prompt: \"a\"; expected one string, or a list of token ids");
    assert_refused(completion("\"prompt\": [1, -2]"), "invalid_request",
                   "body: prompt: -2; expected one string, or a list of token ids");
    assert_refused(completion("\"prompt\": []"), "invalid_request",
                   "body: prompt: an array; expected a string or token ids, at least one");
}

static void a_line_that_is_no_request_is_refused(void **state)
{
    (void)state;
    assert_refused("{", "invalid_json", "JSON at line 1, column 1: string or '}' expected near end of file");
    assert_refused("[]", "invalid_request", "the line: an array; expected an object");
    assert_refused("{}", "invalid_request", "custom_id: nothing; expected a string of 1 to 512 bytes");
    assert_refused("{\"custom_id\": \"a\", \"method\": \"GET\"}", "invalid_request",
                   "method: \"GET\"; expected "
                   "\"POST\"");
    assert_refused("{\"custom_id\": \"a\", \"method\": \"POST\", \"url\": \"/v1/embeddings\"}", "invalid_request",
                   "url: \"/v1/embeddings\"; expected \"/v1/chat/completions\" or \"/v1/completions\"");
    assert_refused("{\"custom_id\": \"a\", \"method\": \"POST\", \"url\": \"/v1/completions\", \"body\": 1}",
                   "invalid_request", "body: 1; expected an object");
    assert_refused("{\"custom_id\": \"a\", \"method\": \"POST\", \"url\": \"/v1/completions\", \"body\": {}, \"x\": 1}",
                   "invalid_request", "x: 1; expected custom_id, method, url and body only");
}

static void the_custom_id_of_a_bad_line_is_known(void **state)
{
    (void)state;
    pk_request_line out;
    const char *code = NULL, *line = chat("\"n\": 0");
    assert_int_equal(pk_request_line_read(&out, line, strlen(line), &defaults, &code), PK_INVALID);
    assert_string_equal(out.custom_id, "a");
    pk_request_line_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_chat_line_becomes_a_prompt),
        cmocka_unit_test(what_a_body_does_not_say_is_as_the_pipeline_says),
        cmocka_unit_test(what_a_body_says_goes_before_the_pipeline),
        cmocka_unit_test(fields_that_ask_for_nothing_are_accepted),
        cmocka_unit_test(fields_that_this_version_lacks_are_refused_by_name),
        cmocka_unit_test(unknown_fields_are_refused_with_the_nearest_name),
        cmocka_unit_test(values_out_of_range_are_refused),
        cmocka_unit_test(a_fault_in_a_conversation_is_told_with_its_place),
        cmocka_unit_test(tool_calls_are_looked_for_where_there_are_tools),
        cmocka_unit_test(a_completion_has_a_text_or_ids),
        cmocka_unit_test(a_completion_of_nothing_or_of_many_is_refused),
        cmocka_unit_test(a_line_that_is_no_request_is_refused),
        cmocka_unit_test(the_custom_id_of_a_bad_line_is_known),
    };
    return cmocka_run_group_tests_name("request_line", tests, NULL, NULL);
}
