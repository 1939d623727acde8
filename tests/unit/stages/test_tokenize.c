#include "fixture.h"
#include "stages/detokenize.h"
#include "stages/tokenize.h"

#include <stdio.h>
#include <string.h>

#define MODEL PK_SOURCE_DIR "/examples/tokenizer"

static pk_tokenize encoder;
static pk_detokenize decoder;
static bench e, d;

static void open_encoder(void)
{
    bench_init(&e, &pk_tokenize_ops, &encoder, MODEL);
    bench_open(&e);
}

static void open_decoder(void)
{
    bench_init(&d, &pk_detokenize_ops, &decoder, MODEL);
    bench_open(&d);
}

enum { FIRST = 1, LAST = 2, MARKUP = 4 };

/* One piece; START allows `allowed` tokens. */
static pk_batch piece(pk_batch_kind kind, const pk_span *span, pk_op ops[3], int where, uint32_t allowed)
{
    uint32_t count = 0;
    if (where & FIRST)
        ops[count++] = (pk_op){.code = PK_OP_START, .argument = allowed};
    if (where & MARKUP)
        ops[count++] = (pk_op){.code = PK_OP_MARKUP};
    if (where & LAST)
        ops[count++] = (pk_op){.code = PK_OP_END};
    return (pk_batch){.kind = (uint8_t)kind,
                      .dtype = kind == PK_KIND_TEXT ? PK_U8 : PK_I32,
                      .width = 1,
                      .spans = span,
                      .span_count = 1,
                      .ops = ops,
                      .op_count = count};
}

static void send_text(uint32_t sequence, const char *text, size_t from, size_t to, int where, uint32_t allowed)
{
    pk_span span = {.sequence = sequence, .position = (uint32_t)from, .count = (uint32_t)(to - from)};
    pk_op ops[3];
    bench_works(&e, piece(PK_KIND_TEXT, &span, ops, where, allowed), payload_of(text + from, to - from));
}

static void send_ids(uint32_t sequence, const int32_t *ids, size_t from, size_t to, int where)
{
    pk_span span = {.sequence = sequence, .position = (uint32_t)from, .count = (uint32_t)(to - from)};
    pk_op ops[3];
    bench_works(&d, piece(PK_KIND_TOKENS, &span, ops, where, 0), payload_of(ids + from, (to - from) * sizeof *ids));
}

/* The ids that the tokenizer itself gives. */
static pk_ids plain_ids(const char *text, size_t bytes)
{
    pk_tokenizer *tokenizer;
    pk_ids ids = {0};
    assert_ok(pk_tokenizer_open(&tokenizer, MODEL "/tokenizer.json"));
    assert_ok(pk_tokenizer_encode(tokenizer, text, bytes, &ids));
    pk_tokenizer_close(&tokenizer);
    return ids;
}

static void assert_ids(const sent_batch *sent, const pk_ids *expected)
{
    assert_int_equal(sent->head.kind, PK_KIND_TOKENS);
    assert_int_equal(sent->head.spans->count, expected->count);
    assert_memory_equal(sent->payload->data, expected->ids, expected->count * sizeof *expected->ids);
    assert_int_equal(sent->head.op_count, 1);
    assert_int_equal(sent->head.ops->code, PK_OP_END);
    assert_int_equal(sent->head.ops->argument, 0);
}

static void names_of_special_tokens_are_tokens_in_markup_only(void **state)
{
    static const char text[] = "<end_of_sentence>";
    pk_tokenizer *tokenizer;
    (void)state;
    assert_ok(pk_tokenizer_open(&tokenizer, MODEL "/tokenizer.json"));
    int32_t id = pk_tokenizer_added_id(tokenizer, text);
    pk_tokenizer_close(&tokenizer);
    assert_true(id >= 0);
    open_encoder();
    send_text(1, text, 0, sizeof text - 1, FIRST | LAST | MARKUP, 100);
    assert_ids(bench_sent(&e, PK_PORT_NEXT, 0), &(pk_ids){.ids = &id, .count = 1});
    send_text(2, text, 0, sizeof text - 1, FIRST | LAST, 100);
    assert_true(bench_sent(&e, PK_PORT_NEXT, 0)->head.spans->count > 1);
    bench_close(&e);
}

static void interleaved_texts_come_out_one_by_one(void **state)
{
    (void)state;
    const char *a = "The water was as calm as a sheet of glass, \xe2\x80\x9chardly a ripple\xe2\x80\x9d.";
    const char *b = "fn main() { println!(\"1234567\"); }";
    pk_ids a_ids = plain_ids(a, strlen(a)), b_ids = plain_ids(b, strlen(b));
    open_encoder();
    assert_true(e.stage.ready.vocabulary > 256);
    send_text(7, a, 0, 46, FIRST, 1000); /* inside a character */
    assert_int_equal(e.out.count, 0);
    send_text(8, b, 0, 10, FIRST, 1000);
    send_text(7, a, 46, strlen(a), LAST, 0);
    assert_int_equal(e.out.count, 1);
    assert_int_equal(bench_sent(&e, PK_PORT_NEXT, 0)->head.spans->sequence, 7);
    assert_int_equal(bench_sent(&e, PK_PORT_NEXT, 0)->head.number, 1);
    assert_ids(bench_sent(&e, PK_PORT_NEXT, 0), &a_ids);
    send_text(8, b, 10, strlen(b), LAST, 0);
    assert_int_equal(bench_sent(&e, PK_PORT_NEXT, 0)->head.spans->sequence, 8);
    assert_int_equal(bench_sent(&e, PK_PORT_NEXT, 0)->head.number, 2);
    assert_ids(bench_sent(&e, PK_PORT_NEXT, 0), &b_ids);
    pk_ids_fini(&a_ids);
    pk_ids_fini(&b_ids);
    bench_close(&e);
}

static void a_text_with_too_many_tokens_is_answered_by_their_number(void **state)
{
    (void)state;
    const char *text = "one two three four five";
    pk_ids ids = plain_ids(text, strlen(text));
    open_encoder();
    send_text(1, text, 0, strlen(text), FIRST | LAST, (uint32_t)ids.count - 1);
    const sent_batch *sent = bench_sent(&e, PK_PORT_NEXT, 0);
    assert_int_equal(e.out.count, 1);
    assert_int_equal(sent->head.spans->count, 0);
    assert_int_equal(sent->head.ops->code, PK_OP_END);
    assert_int_equal(sent->head.ops->argument, ids.count);
    send_text(1, text, 0, strlen(text), FIRST | LAST, (uint32_t)ids.count);
    assert_ids(bench_sent(&e, PK_PORT_NEXT, 0), &ids);
    pk_ids_fini(&ids);
    bench_close(&e);
}

static void an_empty_text_has_no_tokens(void **state)
{
    (void)state;
    open_encoder();
    send_text(1, "", 0, 0, FIRST | LAST, 10);
    const sent_batch *sent = bench_sent(&e, PK_PORT_NEXT, 0);
    assert_int_equal(e.out.count, 1);
    assert_int_equal(sent->head.spans->count, 0);
    assert_int_equal(sent->head.ops->argument, 0);
    bench_close(&e);
}

static void many_ids_go_out_in_pieces(void **state)
{
    (void)state;
    size_t bytes = 2 * (PK_TOKENS_PIECE + 5);
    char *text = malloc(bytes);
    assert_non_null(text);
    for (size_t i = 0; i < bytes; i += 2)
        memcpy(text + i, "\n7", 2); /* at least two tokens */
    pk_ids ids = plain_ids(text, bytes);
    assert_true(ids.count > PK_TOKENS_PIECE);
    open_encoder();
    send_text(3, text, 0, bytes, FIRST | LAST, UINT32_MAX);
    size_t at = 0;
    for (size_t i = 0; i < e.out.count; i++) {
        const sent_batch *sent = bench_sent(&e, PK_PORT_NEXT, i);
        assert_int_equal(sent->head.spans->position, at);
        assert_true(sent->head.spans->count <= PK_TOKENS_PIECE);
        assert_memory_equal(sent->payload->data, ids.ids + at, sent->payload->bytes);
        assert_int_equal(sent->head.op_count, i + 1 == e.out.count);
        at += sent->head.spans->count;
    }
    assert_true(e.out.count > 1);
    assert_int_equal(at, ids.count);
    pk_ids_fini(&ids);
    free(text);
    bench_close(&e);
}

static void pieces_that_do_not_follow_are_refused(void **state)
{
    (void)state;
    pk_span span = {.sequence = 1, .count = 1};
    pk_op ops[3];
    open_encoder();
    bench_refuses(&e, piece(PK_KIND_TEXT, &span, ops, 0, 0), payload_of("a", 1), PK_PEER,
                  "sequence 1 was never started");
    send_text(1, "abc", 0, 3, FIRST, 10);
    span.position = 4;
    bench_refuses(&e, piece(PK_KIND_TEXT, &span, ops, 0, 0), payload_of("a", 1), PK_PEER,
                  "text 1: byte 4 came where 3 was expected");
    span.position = 3;
    bench_refuses(&e, piece(PK_KIND_TEXT, &span, ops, FIRST, 0), payload_of("a", 1), PK_PEER,
                  "sequence 1 starts, but it is here already");
    bench_refuses(&e, piece(PK_KIND_TOKENS, &span, ops, 0, 0), payload_of("abcd", 4), PK_PEER,
                  "token ids (kind 1) came where text (kind 4)");
    bench_close(&e);
}

static void decoding_gives_the_text_back_in_any_pieces(void **state)
{
    (void)state;
    const char *text = "na\xc3\xafve \xf0\x9f\x8c\x8a wave, 12345 \xe6\xb0\xb4\xe8\xbb\x8a";
    size_t bytes = strlen(text);
    pk_ids ids = plain_ids(text, bytes);
    open_decoder();
    for (size_t size = 1; size <= ids.count; size++) {
        char joined[256];
        size_t got = 0;
        bool ended = false;
        for (size_t at = 0; at < ids.count; at += size) {
            size_t end = at + size < ids.count ? at + size : ids.count;
            send_ids(5, ids.ids, at, end, (at == 0 ? FIRST : 0) | (end == ids.count ? LAST : 0));
            for (size_t i = 0; i < d.out.count; i++) {
                const sent_batch *sent = bench_sent(&d, PK_PORT_NEXT, i);
                assert_int_equal(sent->head.kind, PK_KIND_TEXT);
                assert_int_equal(sent->head.spans->position, got);
                assert_false(ended);
                if (sent->payload)
                    memcpy(joined + got, sent->payload->data, sent->payload->bytes);
                got += sent->head.spans->count;
                ended = sent->head.op_count && sent->head.ops->code == PK_OP_END;
            }
        }
        assert_true(ended);
        assert_int_equal(got, bytes);
        assert_memory_equal(joined, text, bytes);
    }
    pk_ids_fini(&ids);
    bench_close(&d);
}

static void special_tokens_are_left_out(void **state)
{
    (void)state;
    open_encoder();
    int32_t special = (int32_t)e.stage.ready.end_token;
    bench_close(&e);
    assert_true(special >= 0);
    pk_ids ids = plain_ids("end", 3);
    assert_ok(pk_ids_append(&ids, special));
    open_decoder();
    send_ids(1, ids.ids, 0, ids.count, FIRST | LAST);
    assert_int_equal(bench_sent(&d, PK_PORT_NEXT, 0)->payload->bytes, 3);
    send_ids(1, NULL, 0, 0, FIRST | LAST);
    assert_int_equal(d.out.count, 1);
    assert_int_equal(bench_sent(&d, PK_PORT_NEXT, 0)->head.spans->count, 0);
    assert_int_equal(bench_sent(&d, PK_PORT_NEXT, 0)->head.ops->code, PK_OP_END);
    pk_ids_fini(&ids);
    bench_close(&d);
}

static void long_text_goes_out_in_pieces_of_whole_characters(void **state)
{
    (void)state;
    pk_ids one = plain_ids("\xe6\xb0\xb4", 3); /* three bytes, and 8 MiB is no multiple of it */
    size_t characters = PK_TEXT_PIECE_BYTES / 3 + 10, count = characters * one.count;
    int32_t *ids = malloc(count * sizeof *ids);
    assert_non_null(ids);
    for (size_t i = 0; i < count; i++)
        ids[i] = one.ids[i % one.count];
    open_decoder();
    send_ids(1, ids, 0, count, FIRST | LAST);
    assert_int_equal(d.out.count, 2);
    assert_int_equal(bench_sent(&d, PK_PORT_NEXT, 0)->payload->bytes, PK_TEXT_PIECE_BYTES / 3 * 3);
    assert_int_equal(bench_sent(&d, PK_PORT_NEXT, 0)->head.op_count, 0);
    assert_int_equal(bench_sent(&d, PK_PORT_NEXT, 1)->head.spans->position, PK_TEXT_PIECE_BYTES / 3 * 3);
    assert_int_equal(bench_sent(&d, PK_PORT_NEXT, 1)->payload->bytes, 30);
    assert_int_equal(bench_sent(&d, PK_PORT_NEXT, 1)->head.op_count, 1);
    pk_ids_fini(&one);
    free(ids);
    bench_close(&d);
}

static void ids_that_do_not_follow_are_refused(void **state)
{
    (void)state;
    int32_t ids[] = {1, 2};
    pk_span span = {.sequence = 1, .position = 3, .count = 1};
    pk_op ops[3];
    open_decoder();
    send_ids(1, ids, 0, 2, FIRST);
    bench_refuses(&d, piece(PK_KIND_TOKENS, &span, ops, 0, 0), payload_of(ids, 4), PK_PEER,
                  "text 1: token 3 came where 2 was expected");
    bench_refuses(&d, piece(PK_KIND_TEXT, &span, ops, 0, 0), payload_of(ids, 1), PK_PEER,
                  "text (kind 4) came where token ids (kind 1)");
    bench_close(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_of_special_tokens_are_tokens_in_markup_only),
        cmocka_unit_test(interleaved_texts_come_out_one_by_one),
        cmocka_unit_test(a_text_with_too_many_tokens_is_answered_by_their_number),
        cmocka_unit_test(an_empty_text_has_no_tokens),
        cmocka_unit_test(many_ids_go_out_in_pieces),
        cmocka_unit_test(pieces_that_do_not_follow_are_refused),
        cmocka_unit_test(decoding_gives_the_text_back_in_any_pieces),
        cmocka_unit_test(special_tokens_are_left_out),
        cmocka_unit_test(long_text_goes_out_in_pieces_of_whole_characters),
        cmocka_unit_test(ids_that_do_not_follow_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
