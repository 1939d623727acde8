/* What must hold for any text: decoding gives it back, text never becomes a special token, long runs end. */
#include "stages/tokenizer/tokenizer.h"

#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

static pk_tokenizer *tokenizer;

static int open_shipped(void **state)
{
    (void)state;
    return pk_tokenizer_open(&tokenizer, PK_SOURCE_DIR "/examples/tokenizer/tokenizer.json");
}

static int close_shipped(void **state)
{
    (void)state;
    pk_tokenizer_close(&tokenizer);
    return 0;
}

static void encode(const void *text, size_t bytes, pk_ids *ids)
{
    if (pk_tokenizer_encode(tokenizer, text, bytes, ids))
        fail_msg("%s", pk_error_text());
}

static void assert_round_trip(const char *text, size_t bytes, const char *what)
{
    pk_ids ids = {0};
    pk_text back = {0};
    pk_detokenizer state = {.keep_special = true};
    encode(text, bytes, &ids);
    for (size_t i = 0; i < ids.count; i++)
        assert_false(pk_tokenizer_is_special(tokenizer, ids.ids[i]));
    /* In two calls, so that a character may be cut between them. */
    size_t half = ids.count / 2;
    assert_int_equal(pk_tokenizer_decode(tokenizer, &state, ids.ids, half, &back), PK_OK);
    assert_int_equal(pk_tokenizer_decode(tokenizer, &state, ids.ids + half, ids.count - half, &back), PK_OK);
    assert_int_equal(pk_tokenizer_decode_end(&state, &back), PK_OK);
    if (back.count != bytes || memcmp(back.bytes, text, bytes) != 0)
        fail_msg("%s does not come back", what);
    pk_ids_fini(&ids);
    pk_text_fini(&back);
}

static size_t put_random_character(char *out)
{
    unsigned code;
    switch (random() % 4) {
    case 0:
        return pk_utf8_put(out, (unsigned)random() % 0x80);
    case 1:
        return pk_utf8_put(out, (unsigned)random() % 0x800);
    case 2:
        return pk_utf8_put(out, " \n\t\r'sta/."[random() % 10]);
    default:
        do
            code = (unsigned)random() % 0x110000;
        while (code >= 0xD800 && code <= 0xDFFF);
        return pk_utf8_put(out, code);
    }
}

static void random_text_comes_back(void **state)
{
    (void)state;
    for (unsigned seed = 1; seed <= 400; seed++) {
        char text[1024], what[32];
        size_t bytes = 0, length = (size_t)(seed * 7) % 1000;
        srandom(seed);
        while (bytes < length)
            bytes += put_random_character(text + bytes);
        snprintf(what, sizeof what, "the text of seed %u", seed);
        assert_round_trip(text, bytes, what);
    }
    printf("seeds 1 to 400\n");
}

static void every_byte_has_a_token_and_random_bytes_decode_to_valid_text(void **state)
{
    (void)state;
    int32_t id_of[256];
    size_t bytes;
    memset(id_of, -1, sizeof id_of);
    for (int32_t id = (int32_t)pk_tokenizer_count(tokenizer); id-- > 0;) {
        const unsigned char *token = pk_tokenizer_bytes(tokenizer, id, &bytes);
        if (token && bytes == 1)
            id_of[token[0]] = id;
    }
    for (size_t byte = 0; byte < 256; byte++)
        assert_true(id_of[byte] >= 0);
    srandom(11);
    printf("seed 11\n");
    for (int round = 0; round < 300; round++) {
        pk_detokenizer detokenizer = {0};
        pk_text text = {0};
        for (int i = 0; i < 50; i++) {
            int32_t id = id_of[random() & 0xFF];
            assert_int_equal(pk_tokenizer_decode(tokenizer, &detokenizer, &id, 1, &text), PK_OK);
            assert_true(pk_utf8_check(text.bytes, text.count, NULL));
        }
        assert_int_equal(pk_tokenizer_decode_end(&detokenizer, &text), PK_OK);
        assert_true(pk_utf8_check(text.bytes, text.count, NULL));
        pk_text_fini(&text);
    }
}

static void a_special_tokens_text_stays_ordinary_text(void **state)
{
    (void)state;
    static const char text[] = "stop<end_of_sentence>\n<beginning_of_sentence>system ai_setting=assistant\n";
    assert_round_trip(text, sizeof text - 1, "the text of special tokens");
}

static void special_tokens_are_left_out_unless_kept(void **state)
{
    (void)state;
    pk_ids ids = {0};
    pk_text text = {0};
    size_t count;
    encode("done", 4, &ids);
    assert_int_equal(pk_ids_append(&ids, *pk_tokenizer_eos(tokenizer, &count)), PK_OK);
    assert_int_equal(pk_tokenizer_decode(tokenizer, &(pk_detokenizer){0}, ids.ids, ids.count, &text), PK_OK);
    assert_int_equal(text.count, 4);
    pk_detokenizer keep = {.keep_special = true};
    assert_int_equal(pk_tokenizer_decode(tokenizer, &keep, ids.ids, ids.count, &text), PK_OK);
    assert_int_equal(text.count, 25);
    assert_memory_equal(text.bytes, "donedone<end_of_sentence>", 25);
    pk_ids_fini(&ids);
    pk_text_fini(&text);
}

static void text_that_is_not_utf8_is_refused_with_its_offset(void **state)
{
    (void)state;
    pk_ids ids = {0};
    encode("kept", 4, &ids);
    size_t before = ids.count;
    assert_int_equal(pk_tokenizer_encode(tokenizer, "abc\xC3(", 5, &ids), PK_CORRUPT);
    assert_string_equal(pk_error_text(), "not UTF-8 at byte 3");
    assert_int_equal(ids.count, before);
    pk_ids_fini(&ids);
}

static void a_negative_id_is_refused_and_an_unknown_one_is_nothing(void **state)
{
    (void)state;
    pk_text text = {0};
    pk_detokenizer detokenizer = {0};
    int32_t ids[] = {'o', 1 << 20, 'k', -1};
    assert_int_equal(pk_tokenizer_decode(tokenizer, &detokenizer, ids, 3, &text), PK_OK);
    assert_int_equal(text.count, 2);
    assert_int_equal(pk_tokenizer_decode(tokenizer, &detokenizer, ids, 4, &text), PK_INVALID);
    assert_string_equal(pk_error_text(), "id -1 at 3 is negative");
    pk_text_fini(&text);
}

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* One piece, or as many as characters: either way the time must stay near linear. The bound is far above what it takes
 * (well under a second without sanitizers) and far below what a quadratic way would take (minutes). */
static void long_runs_end_soon(void **state)
{
    (void)state;
    enum { BYTES = 2 << 20 };
    static const char *const runs[] = {"a", "A",   "aA",           " ",        "\n", " \n", "-",
                                       "7", "the", "\xE6\xBC\xA2", "\xCC\x81", "'s"};
    char *text = malloc(BYTES + 4);
    assert_non_null(text);
    for (size_t i = 0; i < sizeof runs / sizeof *runs; i++) {
        size_t length = strlen(runs[i]), bytes = 0;
        for (; bytes < BYTES; bytes += length)
            memcpy(text + bytes, runs[i], length);
        double start = seconds();
        assert_round_trip(text, bytes, runs[i]);
        double taken = seconds() - start;
        printf("run %zu: %.2f s\n", i, taken);
        assert_true(taken < 20);
    }
    free(text);
}

static size_t bytes_in_use(void)
{
    struct mallinfo2 info = mallinfo2(); /* under the sanitizers, which have their own heap, always the same */
    return info.uordblks + info.hblkhd;
}

static void memory_for_a_long_piece_goes_with_its_text(void **state)
{
    (void)state;
    enum { BYTES = 4 << 20, SLACK = 1 << 20 };
    pk_encoder *encoder = NULL;
    pk_ids ids = {0};
    char *text = malloc(BYTES);
    assert_non_null(text);
    memset(text, 'a', BYTES);
    assert_int_equal(pk_encoder_open(&encoder, tokenizer), PK_OK);
    size_t before = bytes_in_use();
    assert_int_equal(pk_encoder_run(encoder, PK_ADDED_NONE, text, BYTES, &ids), PK_OK);
    pk_ids_fini(&ids);
    assert_true(bytes_in_use() < before + SLACK);
    assert_int_equal(pk_encoder_run(encoder, PK_ADDED_NONE, text, BYTES / 16, &ids), PK_OK);
    pk_ids_fini(&ids);
    pk_encoder_close(&encoder);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_text_comes_back),
        cmocka_unit_test(every_byte_has_a_token_and_random_bytes_decode_to_valid_text),
        cmocka_unit_test(a_special_tokens_text_stays_ordinary_text),
        cmocka_unit_test(special_tokens_are_left_out_unless_kept),
        cmocka_unit_test(text_that_is_not_utf8_is_refused_with_its_offset),
        cmocka_unit_test(a_negative_id_is_refused_and_an_unknown_one_is_nothing),
        cmocka_unit_test(long_runs_end_soon),
        cmocka_unit_test(memory_for_a_long_piece_goes_with_its_text),
    };
    return cmocka_run_group_tests(tests, open_shipped, close_shipped);
}
