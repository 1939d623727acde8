/* Texts in pieces: what goes out, what comes back, and all of it once more after a reset. */
#include "pipeline/texts.h"
#include "tests/unit/cmocka_all.h"

#include <stdlib.h>
#include <string.h>

static pk_texts *open_texts(pk_texts_way way)
{
    pk_texts *texts = NULL;
    assert_int_equal(pk_texts_open(&texts, way), PK_OK);
    return texts;
}

static void add(pk_texts *texts, uint32_t id, const char *text, uint32_t most)
{
    char *copy = strdup(text);
    assert_non_null(copy);
    assert_int_equal(pk_texts_add(texts, id, copy, strlen(text), (pk_text_options){.argument = most}), PK_OK);
}

static pk_batch next(pk_texts *texts, const void **data)
{
    pk_batch head;
    assert_true(pk_texts_waiting(texts));
    pk_texts_next(texts, &head, data);
    return head;
}

/* A piece of ids that comes back. */
static pk_err answer(pk_texts *texts, pk_span span, const int32_t *ids, bool end, pk_text_answer *out, bool *complete)
{
    const pk_op op = {.code = PK_OP_END};
    pk_batch head = {.kind = PK_KIND_TOKENS,
                     .dtype = PK_I32,
                     .width = 1,
                     .spans = &span,
                     .span_count = 1,
                     .ops = &op,
                     .op_count = end};
    return pk_texts_take(texts, &head, ids, out, complete);
}

static void a_text_goes_with_start_and_end(void **state)
{
    pk_texts *texts = open_texts(PK_TEXTS_ENCODE);
    const void *data = NULL;
    (void)state;
    add(texts, 3, "abc", 10);
    pk_batch head = next(texts, &data);
    assert_int_equal(head.number, 1);
    assert_int_equal(head.kind, PK_KIND_TEXT);
    assert_int_equal(head.spans[0].sequence, 3);
    assert_int_equal(head.spans[0].count, 3);
    assert_memory_equal(data, "abc", 3);
    assert_int_equal(head.op_count, 2);
    assert_int_equal(head.ops[0].argument, 10);
    assert_false(pk_texts_waiting(texts));
    pk_texts_close(&texts);
}

static void a_large_text_goes_in_pieces_and_an_empty_one_in_one(void **state)
{
    pk_texts *texts = open_texts(PK_TEXTS_ENCODE);
    const void *data = NULL;
    size_t bytes = 2 * (size_t)PK_TEXT_PIECE_BYTES + 5;
    char *text = calloc(1, bytes);
    (void)state;
    assert_int_equal(pk_texts_add(texts, 0, text, bytes, (pk_text_options){0}), PK_OK);
    add(texts, 1, "", 0);
    const uint32_t counts[] = {PK_TEXT_PIECE_BYTES, PK_TEXT_PIECE_BYTES, 5, 0}, ops[] = {1, 0, 1, 2};
    for (uint32_t i = 0; i < 4; i++) {
        pk_batch head = next(texts, &data);
        assert_int_equal(head.number, i + 1);
        assert_int_equal(head.spans[0].count, counts[i]);
        assert_int_equal(head.op_count, ops[i]);
    }
    assert_false(pk_texts_waiting(texts));
    pk_texts_close(&texts);
}

static void pieces_of_an_answer_are_put_together(void **state)
{
    static const int32_t first[] = {1, 2}, second[] = {3};
    static const int32_t all[] = {1, 2, 3};
    pk_texts *texts = open_texts(PK_TEXTS_ENCODE);
    pk_text_answer got;
    bool complete;
    (void)state;
    add(texts, 7, "one two three", 0);
    add(texts, 8, "other", 0);
    assert_int_equal(answer(texts, (pk_span){.sequence = 7, .count = 2}, first, false, &got, &complete), PK_OK);
    assert_false(complete);
    assert_int_equal(answer(texts, (pk_span){.sequence = 8, .count = 1}, second, true, &got, &complete), PK_OK);
    assert_true(complete);
    assert_int_equal(got.id, 8);
    assert_int_equal(answer(texts, (pk_span){.sequence = 7, .position = 2, .count = 1}, second, true, &got, &complete),
                     PK_OK);
    assert_true(complete);
    assert_int_equal(got.id, 7);
    assert_int_equal(got.elements, 3);
    assert_memory_equal(got.data, all, sizeof all);
    pk_texts_close(&texts);
}

static void after_a_reset_everything_goes_again_and_nothing_came(void **state)
{
    static const int32_t ids[] = {1, 2};
    pk_texts *texts = open_texts(PK_TEXTS_ENCODE);
    const void *data = NULL;
    pk_text_answer got;
    bool complete;
    (void)state;
    add(texts, 0, "done", 0);
    add(texts, 1, "half done", 0);
    next(texts, &data);
    next(texts, &data);
    assert_int_equal(answer(texts, (pk_span){.sequence = 0, .count = 2}, ids, true, &got, &complete), PK_OK);
    assert_int_equal(answer(texts, (pk_span){.sequence = 1, .count = 2}, ids, false, &got, &complete), PK_OK);
    pk_texts_reset(texts);
    pk_batch head = next(texts, &data);
    assert_int_equal(head.number, 1);
    assert_int_equal(head.spans[0].sequence, 1);
    assert_memory_equal(data, "half done", 9);
    assert_false(pk_texts_waiting(texts));
    assert_int_equal(answer(texts, (pk_span){.sequence = 1, .count = 2}, ids, true, &got, &complete), PK_OK);
    assert_true(complete);
    assert_int_equal(got.elements, 2);
    pk_texts_close(&texts);
}

static void what_was_not_asked_or_does_not_follow_is_refused(void **state)
{
    static const int32_t ids[] = {1, 2};
    pk_texts *texts = open_texts(PK_TEXTS_ENCODE);
    pk_text_answer got;
    bool complete;
    (void)state;
    add(texts, 1, "text", 0);
    assert_int_equal(answer(texts, (pk_span){.sequence = 2, .count = 2}, ids, true, &got, &complete), PK_PEER);
    assert_string_equal(pk_error_text(), "text 2 came from a text stage, which nobody asked for");
    assert_int_equal(answer(texts, (pk_span){.sequence = 1, .position = 4, .count = 2}, ids, true, &got, &complete),
                     PK_PEER);
    assert_string_equal(pk_error_text(), "text 1: piece 4 came where 0 was expected");
    pk_batch head = {.kind = PK_KIND_TEXT, .dtype = PK_U8, .width = 1};
    assert_int_equal(pk_texts_take(texts, &head, ids, &got, &complete), PK_PEER);
    assert_string_equal(pk_error_text(), "kind 4 of 0 spans came where a piece of text was expected");
    pk_texts_close(&texts);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_text_goes_with_start_and_end),
        cmocka_unit_test(a_large_text_goes_in_pieces_and_an_empty_one_in_one),
        cmocka_unit_test(pieces_of_an_answer_are_put_together),
        cmocka_unit_test(after_a_reset_everything_goes_again_and_nothing_came),
        cmocka_unit_test(what_was_not_asked_or_does_not_follow_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
