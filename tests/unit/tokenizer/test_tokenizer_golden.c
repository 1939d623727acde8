/* The answers of Hugging Face's `tokenizers`, made by tools/tokenizer/make_goldens.py. */
#include "stages/tokenizer/tokenizer.h"

#include <inttypes.h>
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define GOLDEN PK_SOURCE_DIR "/tests/golden/tokenizer/"

typedef struct {
    json_t *answers;
    pk_tokenizer *tokenizer;
} golden;

static void golden_open(golden *self, const char *name)
{
    char path[512];
    json_error_t problem;
    snprintf(path, sizeof path, GOLDEN "%s.answers.json", name);
    /* One of the texts holds a NUL. */
    if (!(self->answers = json_load_file(path, JSON_ALLOW_NUL, &problem)))
        fail_msg("%s: %s", path, problem.text);
    snprintf(path, sizeof path, PK_SOURCE_DIR "/%s", json_string_value(json_object_get(self->answers, "tokenizer")));
    if (pk_tokenizer_open(&self->tokenizer, path))
        fail_msg("%s", pk_error_text());
    assert_int_equal(pk_tokenizer_count(self->tokenizer), json_integer_value(json_object_get(self->answers, "ids")));
}

static void golden_close(golden *self)
{
    pk_tokenizer_close(&self->tokenizer);
    json_decref(self->answers);
}

static bool same_ids(const pk_ids *ids, json_t *expected)
{
    if (ids->count != json_array_size(expected))
        return false;
    for (size_t i = 0; i < ids->count; i++)
        if (ids->ids[i] != json_integer_value(json_array_get(expected, i)))
            return false;
    return true;
}

/* The texts under `key`, of which there are more than `least`. */
static void check_encodings(const golden *self, const char *key, pk_added added, size_t least)
{
    size_t i;
    json_t *one;
    pk_encoder *encoder = NULL;
    assert_int_equal(pk_encoder_open(&encoder, self->tokenizer), PK_OK);
    json_array_foreach(json_object_get(self->answers, key), i, one)
    {
        json_t *text = json_object_get(one, "text");
        pk_ids ids = {0};
        assert_int_equal(pk_encoder_run(encoder, added, json_string_value(text), json_string_length(text), &ids),
                         PK_OK);
        if (!same_ids(&ids, json_object_get(one, "ids")))
            fail_msg("%s %zu differs: \"%s\"", key, i, json_string_value(text));
        pk_ids_fini(&ids);
    }
    assert_true(i > least);
    pk_encoder_close(&encoder);
}

static void check_decoding(const golden *self, json_t *one, const char *key, bool keep_special)
{
    pk_text text = {0};
    pk_detokenizer state = {.keep_special = keep_special};
    size_t i;
    json_t *id, *expected = json_object_get(one, key);
    json_array_foreach(json_object_get(one, "ids"), i, id)
    {
        int32_t value = (int32_t)json_integer_value(id);
        assert_int_equal(pk_tokenizer_decode(self->tokenizer, &state, &value, 1, &text), PK_OK);
        assert_true(pk_utf8_check(text.bytes, text.count, NULL));
    }
    assert_int_equal(pk_tokenizer_decode_end(&state, &text), PK_OK);
    assert_int_equal(text.count, json_string_length(expected));
    assert_memory_equal(text.bytes, json_string_value(expected), text.count);
    pk_text_fini(&text);
}

static void check_decodings(const golden *self)
{
    size_t i;
    json_t *one;
    json_array_foreach(json_object_get(self->answers, "decodings"), i, one)
    {
        check_decoding(self, one, "text", false);
        check_decoding(self, one, "with_special", true);
    }
    assert_true(i > 50);
}

static char *read_whole(const char *path, size_t *bytes)
{
    FILE *file = fopen(path, "rb");
    if (!file)
        fail_msg("cannot open %s", path);
    char *text = malloc(1 << 20);
    assert_non_null(text);
    *bytes = fread(text, 1, 1 << 20, file);
    fclose(file);
    return text;
}

/* FNV-1a over the ids as little-endian 32-bit integers. */
static uint64_t digest_of(const pk_ids *ids)
{
    uint64_t digest = 0xCBF29CE484222325ull;
    for (size_t i = 0; i < ids->count; i++)
        for (int shift = 0; shift < 32; shift += 8)
            digest = (digest ^ ((uint32_t)ids->ids[i] >> shift & 0xFF)) * 0x100000001B3ull;
    return digest;
}

static void check_documents(const golden *self)
{
    size_t i;
    json_t *one;
    pk_encoder *encoder = NULL;
    assert_int_equal(pk_encoder_open(&encoder, self->tokenizer), PK_OK);
    json_array_foreach(json_object_get(self->answers, "documents"), i, one)
    {
        char path[512], digest[17];
        size_t bytes;
        pk_ids ids = {0};
        snprintf(path, sizeof path, PK_SOURCE_DIR "/%s", json_string_value(json_object_get(one, "path")));
        char *text = read_whole(path, &bytes);
        assert_int_equal(pk_encoder_run(encoder, PK_ADDED_ORDINARY, text, bytes, &ids), PK_OK);
        snprintf(digest, sizeof digest, "%016" PRIx64, digest_of(&ids));
        assert_int_equal(ids.count, json_integer_value(json_object_get(one, "count")));
        assert_string_equal(digest, json_string_value(json_object_get(one, "fnv1a")));
        pk_ids_fini(&ids);
        free(text);
    }
    assert_true(i >= 7);
    pk_encoder_close(&encoder);
}

static void check_all(const char *name)
{
    golden self = {0};
    golden_open(&self, name);
    check_encodings(&self, "encodings", PK_ADDED_ORDINARY, 100);
    check_encodings(&self, "scripts", PK_ADDED_ORDINARY, 12);
    check_encodings(&self, "added", PK_ADDED_ALL, 10);
    check_decodings(&self);
    check_documents(&self);
    golden_close(&self);
}

static void the_shipped_tokenizer_answers_as_hugging_face(void **state)
{
    (void)state;
    check_all("shipped");
}

static void a_tokenizer_of_gpt2s_make_answers_as_hugging_face(void **state)
{
    (void)state;
    check_all("gpt2");
}

static void a_tokenizer_of_tiktokens_make_answers_as_hugging_face(void **state)
{
    (void)state;
    check_all("cl100k");
}

static void a_tokenizer_of_llama3s_make_answers_as_hugging_face(void **state)
{
    (void)state;
    check_all("llama3");
}

static void special_tokens_are_known_by_name(void **state)
{
    (void)state;
    golden self = {0};
    size_t count, bytes;
    golden_open(&self, "shipped");
    const int32_t *eos = pk_tokenizer_eos(self.tokenizer, &count);
    assert_int_equal(count, 1);
    assert_int_equal(eos[0], pk_tokenizer_added_id(self.tokenizer, "<end_of_sentence>"));
    assert_true(pk_tokenizer_is_special(self.tokenizer, eos[0]));
    assert_memory_equal(pk_tokenizer_bytes(self.tokenizer, eos[0], &bytes), "<end_of_sentence>", 17);
    assert_int_equal(bytes, 17);
    assert_int_equal(pk_tokenizer_added_id(self.tokenizer, "the"), -1);
    golden_close(&self);
    golden_open(&self, "cl100k"); /* it has a hole, and no tokenizer_config.json beside it */
    assert_null(pk_tokenizer_bytes(self.tokenizer, 605, &bytes));
    assert_int_equal(bytes, 0);
    assert_null(pk_tokenizer_bytes(self.tokenizer, -1, &bytes));
    assert_null(pk_tokenizer_bytes(self.tokenizer, 1 << 30, &bytes));
    assert_int_equal(pk_tokenizer_eos(self.tokenizer, &count)[0], 610);
    assert_int_equal(count, 1);
    assert_false(pk_tokenizer_is_special(self.tokenizer, pk_tokenizer_added_id(self.tokenizer, "<tool call>")));
    golden_close(&self);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_shipped_tokenizer_answers_as_hugging_face),
        cmocka_unit_test(a_tokenizer_of_gpt2s_make_answers_as_hugging_face),
        cmocka_unit_test(a_tokenizer_of_tiktokens_make_answers_as_hugging_face),
        cmocka_unit_test(a_tokenizer_of_llama3s_make_answers_as_hugging_face),
        cmocka_unit_test(special_tokens_are_known_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
