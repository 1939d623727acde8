/* Older files: vocab.json with merges.txt, and merges.txt alone; what is assumed of them, and what is refused. */
#include "stages/tokenizer/byte_alphabet.h"
#include "stages/tokenizer/tokenizer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define MERGES "#version: 0.2\nh e\nl l\nhe ll\n\xC4\xA0 hell\n. \xC4\x8A\n"

static char folder[64];
static const char *const names[] = {"vocab.json", "merges.txt", "tokenizer_config.json"};

static FILE *create(const char *name)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    return file;
}

static void write_text(const char *name, const char *text)
{
    FILE *file = create(name);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

static int make_folder(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/penstock-test-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[128];
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        unlink(path);
    }
    return rmdir(folder);
}

/* Bytes from 1000 on, so that ids are seen to be read; results in another order than the merges. */
static void write_vocab(void)
{
    FILE *file = create("vocab.json");
    fputs("{\"hell\":3,\"he\":2,\"ll\":1,\"\\u0120hell\":0,\".\\u010a\":4,\"<|endoftext|>\":5", file);
    for (unsigned byte = 0; byte < 256; byte++) {
        char key[4];
        size_t bytes = pk_utf8_put(key, pk_byte_alphabet_code((unsigned char)byte));
        fprintf(file, ",\"%s%.*s\":%u", byte == '"' || byte == '\\' ? "\\" : "", (int)bytes, key, 1000 + byte);
    }
    fputs("}", file);
    assert_int_equal(fclose(file), 0);
}

static pk_tokenizer *open_folder(void)
{
    pk_tokenizer *tokenizer = NULL;
    if (pk_tokenizer_open(&tokenizer, folder))
        fail_msg("%s", pk_error_text());
    return tokenizer;
}

static void assert_encodes(const pk_tokenizer *tokenizer, const char *text, const int32_t *expected, size_t count)
{
    pk_ids ids = {0};
    assert_int_equal(pk_tokenizer_encode(tokenizer, text, strlen(text), &ids), PK_OK);
    assert_int_equal(ids.count, count);
    assert_memory_equal(ids.ids, expected, count * sizeof *expected);
    pk_ids_fini(&ids);
}

static void vocab_and_merges_give_the_ids_of_the_vocabulary(void **state)
{
    (void)state;
    size_t count;
    write_vocab();
    write_text("merges.txt", MERGES);
    pk_tokenizer *tokenizer = open_folder();
    assert_encodes(tokenizer, "hell hello.", (int32_t[]){3, 0, 1000 + 'o', 1000 + '.'}, 4);
    assert_int_equal(*pk_tokenizer_eos(tokenizer, &count), 5);
    assert_true(pk_tokenizer_is_special(tokenizer, 5));
    assert_non_null(strstr(pk_tokenizer_assumed(tokenizer), "from vocab.json and merges.txt"));
    pk_tokenizer_close(&tokenizer);
}

static void merges_alone_count_from_the_bytes_on(void **state)
{
    (void)state;
    size_t count;
    write_text("merges.txt", MERGES);
    pk_tokenizer *tokenizer = open_folder();
    assert_encodes(tokenizer, "hell hello", (int32_t[]){258, 259, 'o'}, 3);
    assert_int_equal(pk_tokenizer_count(tokenizer), 261);
    pk_tokenizer_eos(tokenizer, &count);
    assert_int_equal(count, 0);
    assert_non_null(strstr(pk_tokenizer_assumed(tokenizer), "from merges.txt alone; ids: a byte's is its value"));
    pk_tokenizer_close(&tokenizer);
}

/* ".\n" is a token: GPT-2's pattern would cut it, so these merges were not trained with it. */
static void the_pattern_is_the_one_that_cuts_the_fewest_tokens(void **state)
{
    (void)state;
    write_text("merges.txt", MERGES);
    pk_tokenizer *tokenizer = open_folder();
    assert_non_null(strstr(pk_tokenizer_assumed(tokenizer), "pattern: llama3, which cuts 0 of 261 tokens"));
    assert_encodes(tokenizer, "o.\n", (int32_t[]){'o', 260}, 2);
    pk_tokenizer_close(&tokenizer);
    write_text("merges.txt", "h e\nl l\n");
    tokenizer = open_folder();
    assert_non_null(strstr(pk_tokenizer_assumed(tokenizer), "pattern: gpt2, which cuts 0"));
    pk_tokenizer_close(&tokenizer);
}

static void the_config_names_special_tokens_with_their_ids(void **state)
{
    (void)state;
    size_t count;
    write_text("merges.txt", MERGES);
    write_text("tokenizer_config.json", "{\"eos_token\":\"<stop>\",\"added_tokens_decoder\":"
                                        "{\"300\":{\"content\":\"<stop>\",\"special\":true,\"lstrip\":false}}}");
    pk_tokenizer *tokenizer = open_folder();
    assert_int_equal(*pk_tokenizer_eos(tokenizer, &count), 300);
    pk_tokenizer_close(&tokenizer);
}

/* A document's own "<stop>" would end the conversation. */
static void merges_that_make_a_special_token_are_refused(void **state)
{
    (void)state;
    static const char config[] = "{\"added_tokens_decoder\":{\"%d\":{\"content\":\"%s\",\"special\":true}}}";
    pk_tokenizer *tokenizer = NULL;
    char text[128];
    write_text("merges.txt", MERGES);
    snprintf(text, sizeof text, config, 258, "hell");
    write_text("tokenizer_config.json", text);
    assert_int_equal(pk_tokenizer_open(&tokenizer, folder), PK_CORRUPT);
    assert_non_null(strstr(pk_error_text(), "merges.txt: merge 2: \"hell\" is no ordinary token"));
    write_vocab();
    snprintf(text, sizeof text, config, 3, "hell");
    write_text("tokenizer_config.json", text);
    assert_int_equal(pk_tokenizer_open(&tokenizer, folder), PK_CORRUPT);
    assert_non_null(strstr(pk_error_text(), "merges.txt: merge 2: \"hell\" is no ordinary token"));
}

static void lines_that_are_no_merges_are_refused_by_number(void **state)
{
    (void)state;
    static const struct {
        const char *merges, *fragment;
    } cases[] = {
        {"#version: 0.2\nh e\nhe\n", "merges.txt: line 3: expected \"a b\""},
        {"h e x\n", "merges.txt: line 1: expected \"a b\""},
        {"h e\nhe llo\n", "merges.txt: line 2: \"llo\" is not in the vocabulary"},
        {"h e\nh e\n", "merges.txt: line 2: makes the token 256 again"},
        {"\xC4! e\n", "merges.txt: line 1: \"\xC4!\" is not in the vocabulary"},
        {"h \xFF\n", "merges.txt: line 1: \"\xFF\" is not in the vocabulary"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        pk_tokenizer *tokenizer = NULL;
        write_text("merges.txt", cases[i].merges);
        assert_int_equal(pk_tokenizer_open(&tokenizer, folder), PK_CORRUPT);
        if (!strstr(pk_error_text(), cases[i].fragment))
            fail_msg("case %zu: %s", i, pk_error_text());
    }
}

static void a_folder_without_a_tokenizer_is_refused(void **state)
{
    (void)state;
    pk_tokenizer *tokenizer = NULL;
    assert_int_equal(pk_tokenizer_open(&tokenizer, folder), PK_IO);
    assert_non_null(strstr(pk_error_text(), "has no tokenizer.json, no vocab.json, no merges.txt; expected the first, or both others"));
}

static void a_tokenizer_is_read_from_memory_too(void **state)
{
    (void)state;
    pk_tokenizer *tokenizer = NULL;
    assert_int_equal(pk_tokenizer_open_text(&tokenizer, "{\"model\"", 8), PK_CORRUPT);
    assert_string_equal(pk_error_text(), "byte 8: expected ':', the text ends");
    assert_null(tokenizer);
}

int main(void)
{
#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, make_folder, remove_folder)
    const struct CMUnitTest tests[] = {
        IN_FOLDER(vocab_and_merges_give_the_ids_of_the_vocabulary),
        IN_FOLDER(merges_alone_count_from_the_bytes_on),
        IN_FOLDER(the_pattern_is_the_one_that_cuts_the_fewest_tokens),
        IN_FOLDER(the_config_names_special_tokens_with_their_ids),
        IN_FOLDER(merges_that_make_a_special_token_are_refused),
        IN_FOLDER(lines_that_are_no_merges_are_refused_by_number),
        IN_FOLDER(a_folder_without_a_tokenizer_is_refused),
        IN_FOLDER(a_tokenizer_is_read_from_memory_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
