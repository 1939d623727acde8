/* Questions, request files, and the list that they make. */
#include "pipeline/asks.h"
#include "pipeline/question_index.h"
#include "tests/unit/pipeline/check.h"
#include "tests/unit/pipeline/place.h"

#include <sys/stat.h>

static const pk_generation generation = {.max_tokens = 8, .top_p = 1};

static pk_questions read_good(const char *text)
{
    pk_questions questions;
    place_write("questions", text);
    if (pk_questions_read(&questions, "questions"))
        fail_msg("refused: %s", pk_error_text());
    return questions;
}

static void assert_questions(const char *text, size_t count, const char *const expected[])
{
    pk_questions questions = read_good(text);
    assert_int_equal(questions.count, count);
    for (size_t i = 0; i < count; i++)
        assert_string_equal(questions.items[i].text, expected[i]);
    pk_questions_fini(&questions);
}

static void assert_no_questions(const char *text, const char *message)
{
    pk_questions questions;
    place_write("questions", text);
    assert_error(pk_questions_read(&questions, "questions"), PK_INVALID, message);
    pk_questions_fini(&questions);
}

static void a_line_is_a_question(void **state)
{
    (void)state;
    assert_questions("Who?\r\n\n  \nWhere?", 2, (const char *const[]){"Who?", "Where?"});
    assert_questions("\xEF\xBB\xBFWho?\n", 1, (const char *const[]){"Who?"});
}

static void a_block_between_fences_is_a_question(void **state)
{
    (void)state;
    assert_questions("---\nWho?\n\nWhy?\n---\n\n---\nWhere?\n", 2, (const char *const[]){"Who?\n\nWhy?", "Where?"});
}

static void json_lines_carry_ids_answers_and_documents(void **state)
{
    (void)state;
    pk_questions q =
        read_good("{\"question\": \"Who?\", \"id\": \"who\", \"answer\": \"Ann\", \"document\": \"a.txt\"}\n"
                  "\n{\"question\": \"Where?\"}\n");
    assert_int_equal(q.count, 2);
    assert_string_equal(q.items[0].id, "who");
    assert_string_equal(q.items[0].answer, "Ann");
    assert_string_equal(q.items[0].document, "a.txt");
    assert_string_equal(q.items[1].id, "2");
    assert_null(q.items[1].answer);
    assert_true(pk_question_is_answered(&q.items[0], (pk_text_view){" Ann\n", 5}));
    assert_false(pk_question_is_answered(&q.items[0], (pk_text_view){"Anna", 4}));
    pk_questions_fini(&q);
}

static void bad_questions_are_refused_with_their_line(void **state)
{
    (void)state;
    assert_no_questions("", "questions: no question is in it");
    assert_no_questions(" \n", "questions: no question is in it");
    assert_no_questions("---\n---\n", "questions: no question is in it");
    assert_no_questions("Who\xFF", "questions: byte 3 is not UTF-8");
    assert_no_questions("{\"question\": \"a\"}\n[]", "questions: line 2: expected an object with a question");
    assert_no_questions("{\"id\": \"a\"}", "questions: line 1: question: nothing; expected a string");
    assert_no_questions("{\"question\": \"a\", \"anwser\": 1}",
                        "questions: line 1: unknown member \"anwser\"; expected question, id, answer, document");
    assert_no_questions("{\"question\": \"a\", \"id\": \"x\"}\n{\"question\": \"b\", \"id\": \"x\"}",
                        "questions: two questions have the id \"x\"");
    assert_no_questions("{\"question\": 1}",
                        "questions: line 1: question: 1; expected a string of 1 to 67108863 bytes");
}

#define GOOD(id)                                                                                                       \
    "{\"custom_id\": \"" id "\", \"method\": \"POST\", \"url\": \"/v1/completions\", \"body\": {\"prompt\": \"p\"}}\n"

static pk_asks collect(const char *const *inputs, size_t count, const pk_questions *questions)
{
    pk_asks asks;
    if (pk_asks_collect(&asks, (pk_asks_options){.inputs = inputs,
                                                 .input_count = count,
                                                 .questions = questions,
                                                 .generation = &generation,
                                                 .choices = 1}))
        fail_msg("refused: %s", pk_error_text());
    return asks;
}

static void assert_read(pk_asks *asks, size_t index, const char *expected_code, const char *expected)
{
    pk_request_line line;
    const char *code = NULL;
    char input[PK_INPUT_BYTES], again[PK_INPUT_BYTES];
    size_t bytes;
    pk_ask_input(asks, index, again);
    pk_err err = pk_ask_read(asks, index, &line, &bytes, input, &code);
    assert_string_equal(input, again);
    if (expected_code) {
        assert_int_not_equal(err, PK_OK);
        assert_string_equal(code, expected_code);
        assert_string_equal(pk_error_text(), expected);
    } else {
        assert_int_equal(err, PK_OK);
        assert_int_equal(line.prompt_bytes, strlen(expected));
        assert_memory_equal(line.prompt, expected, line.prompt_bytes);
    }
    pk_request_line_fini(&line);
}

static void documents_are_asked_before_lines(void **state)
{
    (void)state;
    place_write("a.txt", "text {question}");
    place_write("r.jsonl", GOOD("x"));
    pk_questions questions = read_good("Who?\nWhere?\n");
    pk_asks asks = collect((const char *const[]){"r.jsonl", "a.txt"}, 2, &questions);
    assert_int_equal(asks.count, 3);
    assert_string_equal(asks.items[0].custom_id, "a.txt#1");
    assert_string_equal(asks.items[1].custom_id, "a.txt#2");
    assert_string_equal(asks.items[2].custom_id, "x");
    assert_read(&asks, 0, NULL, "text {question}\n\nWho?");
    assert_read(&asks, 2, NULL, "p");
    pk_asks_fini(&asks);
    pk_questions_fini(&questions);
}

static void a_question_of_one_document_is_found_among_very_many(void **state)
{
    enum { MANY = 100000 };
    (void)state;
    char id[24], document[24], text[8] = "Who?";
    pk_question *items = calloc(MANY, sizeof *items);
    assert_non_null(items);
    for (size_t i = 0; i < MANY; i++) {
        snprintf(id, sizeof id, "q%zu", i);
        snprintf(document, sizeof document, "d%zu.txt", MANY - 1 - i);
        items[i] = (pk_question){.id = strdup(id), .text = text, .document = strdup(document)};
        assert_true(items[i].id && items[i].document);
    }
    pk_question_index *index = NULL;
    const pk_question *const *found = NULL;
    assert_int_equal(pk_question_index_open(&index, &(pk_questions){.items = items, .count = MANY}), PK_OK);
    for (size_t i = 0; i < MANY; i++) { /* quadratic, this would be minutes */
        snprintf(document, sizeof document, "x/d%zu.txt", i);
        assert_int_equal(pk_question_index_find(index, document, &found), 1);
        assert_ptr_equal(found[0], &items[MANY - 1 - i]);
    }
    assert_null(pk_question_index_unmet(index));
    pk_question_index_close(&index);
    for (size_t i = 0; i < MANY; i++) {
        free(items[i].id);
        free(items[i].document);
    }
    free(items);
}

static void questions_of_one_and_of_all_keep_their_order(void **state)
{
    (void)state;
    place_write("a.txt", "text");
    place_write("b.txt", "text");
    pk_questions questions = read_good("{\"question\": \"1?\"}\n{\"question\": \"2?\", \"document\": \"b.txt\"}\n"
                                       "{\"question\": \"3?\"}\n{\"question\": \"4?\", \"document\": \"a.txt\"}\n"
                                       "{\"question\": \"5?\", \"document\": \"b.txt\"}\n");
    static const char *const expected[] = {"a.txt#1", "a.txt#3", "a.txt#4", "b.txt#1", "b.txt#2", "b.txt#3", "b.txt#5"};
    pk_asks asks = collect((const char *const[]){"a.txt", "b.txt"}, 2, &questions);
    assert_int_equal(asks.count, 7);
    for (size_t i = 0; i < 7; i++)
        assert_string_equal(asks.items[i].custom_id, expected[i]);
    pk_asks_fini(&asks);
    pk_questions_fini(&questions);
}

static void bad_lines_stay_in_the_list_with_their_reason(void **state)
{
    (void)state;
    place_write("r.jsonl", GOOD("x") "\n{\n" GOOD("x"));
    pk_asks asks = collect((const char *const[]){"r.jsonl"}, 1, NULL);
    assert_int_equal(asks.count, 3);
    assert_string_equal(asks.items[1].custom_id, "r.jsonl:3");
    assert_string_equal(asks.items[2].custom_id, "r.jsonl:4");
    assert_read(&asks, 1, "invalid_json",
                "r.jsonl:3: JSON at line 1, column 1: string or '}' expected near end of file");
    assert_read(&asks, 2, "duplicate_custom_id", "r.jsonl:4: the custom_id x is another request's");
    pk_asks_fini(&asks);
}

static void a_bad_line_makes_way_for_a_custom_id_like_its_place(void **state)
{
    (void)state;
    place_write("r.jsonl", GOOD("r.jsonl:2") "{\n" GOOD("r.jsonl:2~") GOOD("r.jsonl:2"));
    pk_asks asks = collect((const char *const[]){"r.jsonl"}, 1, NULL);
    static const char *const expected[] = {"r.jsonl:2", "r.jsonl:2~~", "r.jsonl:2~", "r.jsonl:4"};
    assert_int_equal(asks.count, 4);
    for (size_t i = 0; i < 4; i++)
        assert_string_equal(asks.items[i].custom_id, expected[i]);
    pk_asks_fini(&asks);
}

static void a_request_file_named_twice_is_one(void **state)
{
    (void)state;
    place_write("R.JSONL", "\xEF\xBB\xBF" GOOD("x"));
    pk_asks asks = collect((const char *const[]){"R.JSONL", "./R.JSONL"}, 2, NULL);
    assert_int_equal(asks.count, 1);
    assert_read(&asks, 0, NULL, "p");
    pk_asks_fini(&asks);
}

static void documents_whose_requests_would_have_one_name_are_refused(void **state)
{
    (void)state;
    assert_int_equal(mkdir("b.txt#1", 0777), 0);
    place_write("b.txt", "text");
    place_write("b.txt#1/a.txt", "text");
    pk_questions questions =
        read_good("{\"question\": \"Who?\", \"id\": \"1/a.txt#1\"}\n{\"question\": \"Who?\", \"id\": \"1\"}");
    pk_asks asks;
    const char *inputs[] = {"b.txt", "b.txt#1/a.txt"};
    assert_error(pk_asks_collect(&asks, (pk_asks_options){.inputs = inputs,
                                                          .input_count = 2,
                                                          .questions = &questions,
                                                          .generation = &generation,
                                                          .choices = 1}),
                 PK_INVALID, "two requests are called b.txt#1/a.txt#1; give one of the questions another id");
    pk_asks_fini(&asks);
    pk_questions_fini(&questions);
}

static void a_line_that_changed_since_is_refused_and_read_anew_by_the_next_run(void **state)
{
    (void)state;
    place_write("r.jsonl", GOOD("x"));
    pk_asks asks = collect((const char *const[]){"r.jsonl"}, 1, NULL);
    pk_request_line line;
    const char *code = NULL;
    char before[PK_INPUT_BYTES], input[PK_INPUT_BYTES];
    size_t bytes;
    pk_ask_input(&asks, 0, before);
    place_write_mode("r.jsonl", "r+", "{\"custom_id\": \"y", 16);
    assert_int_equal(pk_ask_read(&asks, 0, &line, &bytes, input, &code), PK_INVALID);
    assert_string_equal(code, "changed_while_running");
    assert_string_equal(pk_error_text(), "r.jsonl:1: the line is not what it was when the run began");
    assert_string_equal(input, code); /* not `before`: who puts the file back has it done */
    assert_string_not_equal(input, before);
    pk_request_line_fini(&line);
    pk_asks_fini(&asks);
}

static void a_document_is_looked_at_once_for_all_its_questions(void **state)
{
    (void)state;
    place_write("a.txt", "text");
    place_write("b.txt", "text");
    pk_questions questions = read_good("Who?\nWhere?\n");
    pk_asks asks = collect((const char *const[]){"a.txt", "b.txt"}, 2, &questions);
    char first[PK_INPUT_BYTES], second[PK_INPUT_BYTES], other[PK_INPUT_BYTES];
    pk_ask_input(&asks, 0, first);
    place_write("a.txt", "more");
    place_write("b.txt", "other");
    pk_ask_input(&asks, 1, second);
    pk_ask_input(&asks, 2, other);
    assert_string_equal(first, second);
    assert_string_not_equal(first, other);
    pk_asks_fini(&asks);
    pk_questions_fini(&questions);
}

static void assert_not_collected(const char *input, const pk_questions *questions, const char *prompt, pk_err code,
                                 const char *message)
{
    pk_asks asks;
    assert_error(pk_asks_collect(&asks, (pk_asks_options){.inputs = &input,
                                                          .input_count = 1,
                                                          .questions = questions,
                                                          .prompt = prompt,
                                                          .generation = &generation,
                                                          .choices = 1}),
                 code, message);
    pk_asks_fini(&asks);
}

static void what_cannot_be_asked_is_refused(void **state)
{
    (void)state;
    place_write("a.txt", "text");
    place_write("empty.jsonl", "\n");
    place_write("r.jsonl", GOOD("x"));
    pk_questions questions = read_good("{\"question\": \"Who?\", \"document\": \"b.txt\"}"), all = read_good("Who?");
    assert_not_collected("a.txt", NULL, NULL, PK_INVALID, "a question is needed: -q TEXT or --questions FILE");
    assert_not_collected("a.txt", &questions, NULL, PK_INVALID,
                         "question 1 is of the document b.txt, which is not among the inputs");
    assert_not_collected("a.txt", &questions, "{document}", PK_INVALID, "the prompt file has no {question} in it");
    assert_not_collected("empty.jsonl", NULL, NULL, PK_INVALID,
                         "nothing is asked: no document (.txt, .md) and no request was found in the inputs");
    assert_not_collected("r.jsonl", &all, NULL, PK_INVALID,
                         "the question is for documents, and none (.txt, .md) is among the inputs; a line of a request "
                         "file says its own");
    assert_not_collected(
        "r.jsonl", NULL, "{document} {question}", PK_INVALID,
        "--prompt is for documents, and none (.txt, .md) is among the inputs; a line of a request file "
        "says its own");
    pk_questions_fini(&all);
    assert_not_collected("none.jsonl", NULL, NULL, PK_INVALID, "open none.jsonl: No such file or directory");
    pk_questions_fini(&questions);
}

#define IN_PLACE(test) cmocka_unit_test_setup_teardown(test, place_open, place_close)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_PLACE(a_line_is_a_question),
        IN_PLACE(a_block_between_fences_is_a_question),
        IN_PLACE(json_lines_carry_ids_answers_and_documents),
        IN_PLACE(bad_questions_are_refused_with_their_line),
        IN_PLACE(documents_are_asked_before_lines),
        IN_PLACE(a_question_of_one_document_is_found_among_very_many),
        IN_PLACE(questions_of_one_and_of_all_keep_their_order),
        IN_PLACE(bad_lines_stay_in_the_list_with_their_reason),
        IN_PLACE(a_bad_line_makes_way_for_a_custom_id_like_its_place),
        IN_PLACE(a_request_file_named_twice_is_one),
        IN_PLACE(documents_whose_requests_would_have_one_name_are_refused),
        IN_PLACE(a_line_that_changed_since_is_refused_and_read_anew_by_the_next_run),
        IN_PLACE(a_document_is_looked_at_once_for_all_its_questions),
        IN_PLACE(what_cannot_be_asked_is_refused),
    };
    return cmocka_run_group_tests_name("asks", tests, NULL, NULL);
}
