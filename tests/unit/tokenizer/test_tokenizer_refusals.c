/* Files that lie or ask for what is not supported: each is a small good file with one thing changed. */
#include "stages/tokenizer/byte_alphabet.h"
#include "stages/tokenizer/tokenizer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[64], path[128], config[128];

static int make_folder(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/penstock-test-XXXXXX");
    if (!mkdtemp(folder))
        return -1;
    snprintf(path, sizeof path, "%s/tokenizer.json", folder);
    snprintf(config, sizeof config, "%s/tokenizer_config.json", folder);
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    unlink(path);
    unlink(config);
    return rmdir(folder);
}

static void write_file(const char *where, const char *text, size_t bytes)
{
    FILE *file = fopen(where, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, bytes, file), bytes);
    assert_int_equal(fclose(file), 0);
}

/* A good file: the 256 bytes, then "he" 256, "ll" 257, "hell" 258, an added token at 260. */
static void write_good(FILE *out)
{
    fputs("{\"version\":\"1.0\",\"truncation\":null,\"padding\":null,\"normalizer\":null,\"added_tokens\":"
          "[{\"id\":260,\"content\":\"<eos>\",\"special\":true,\"lstrip\":false}],"
          "\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\":"
          "\"\\\\p{L}+\"},"
          "\"behavior\":\"Isolated\",\"invert\":false},{\"type\":\"ByteLevel\",\"add_prefix_space\":false,"
          "\"use_regex\":false}]},\"post_processor\":null,\"decoder\":{\"type\":\"ByteLevel\"},"
          "\"model\":{\"type\":\"BPE\",\"dropout\":null,\"byte_fallback\":false,\"vocab\":{",
          out);
    for (unsigned byte = 0; byte < 256; byte++) {
        char key[4];
        size_t bytes = pk_utf8_put(key, pk_byte_alphabet_code((unsigned char)byte));
        fprintf(out, byte == '"' || byte == '\\' ? "\"\\%.*s\":%u," : "\"%.*s\":%u,", (int)bytes, key, byte);
    }
    fputs("\"he\":256,\"ll\":257,\"hell\":258},\"merges\":[\"h e\",[\"l\",\"l\"],\"he ll\"]}}", out);
}

/* Writes the good file with the first `old` replaced; "" replaces nothing. */
static void write_changed(const char *old, const char *fresh)
{
    char *text = NULL;
    size_t bytes;
    FILE *memory = open_memstream(&text, &bytes);
    assert_non_null(memory);
    write_good(memory);
    fclose(memory);
    char *at = strstr(text, old);
    if (!at)
        fail_msg("the good file has no %s", old);
    unlink(path); /* a test that failed may have left a fifo there */
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    fprintf(file, "%.*s%s%s", (int)(at - text), text, fresh, at + strlen(old));
    assert_int_equal(fclose(file), 0);
    free(text);
}

static void assert_open_fails(pk_err expected, const char *fragment)
{
    pk_tokenizer *tokenizer = NULL;
    pk_err err = pk_tokenizer_open(&tokenizer, path);
    if (err != expected || tokenizer || !strstr(pk_error_text(), fragment))
        fail_msg("%s \"%s\", expected %s with \"%s\"", pk_err_name(err), err ? pk_error_text() : "",
                 pk_err_name(expected), fragment);
}

static void assert_refused(const char *old, const char *fresh, pk_err expected, const char *fragment)
{
    write_changed(old, fresh);
    assert_open_fails(expected, fragment);
    assert_non_null(strstr(pk_error_text(), path));
}

static void assert_encodes_with(pk_added added, const char *text, const int32_t *expected, size_t count)
{
    pk_tokenizer *tokenizer = NULL;
    pk_encoder *encoder = NULL;
    pk_ids ids = {0};
    if (pk_tokenizer_open(&tokenizer, path) || pk_encoder_open(&encoder, tokenizer))
        fail_msg("%s", pk_error_text());
    assert_int_equal(pk_encoder_run(encoder, added, text, strlen(text), &ids), PK_OK);
    assert_int_equal(ids.count, count);
    assert_memory_equal(ids.ids, expected, count * sizeof *expected);
    pk_ids_fini(&ids);
    pk_encoder_close(&encoder);
    pk_tokenizer_close(&tokenizer);
}

static void assert_encodes(const char *text, const int32_t *expected, size_t count)
{
    assert_encodes_with(PK_ADDED_NONE, text, expected, count);
}

static void the_unchanged_file_is_read_and_encodes(void **state)
{
    (void)state;
    write_changed("", "");
    assert_encodes("hello hell", (int32_t[]){258, 'o', ' ', 258}, 4);
}

static void splits_by_text_and_removal_are_read(void **state)
{
    (void)state;
    write_changed("{\"Regex\":\"\\\\p{L}+\"}", "{\"String\":\"ll\"}");
    assert_encodes("hell", (int32_t[]){256, 257}, 2);
    write_changed("\"Isolated\"", "\"Removed\"");
    assert_encodes("hell. ho!", (int32_t[]){'.', ' ', '!'}, 3);
    write_changed("\"Isolated\",\"invert\":false", "\"Removed\",\"invert\":true");
    assert_encodes("hell. ho!", (int32_t[]){258, 'h', 'o'}, 3);
}

/* " " is a token beside the vocabulary's own, which stands for it. */
static void an_added_token_may_be_what_a_word_stands_for(void **state)
{
    (void)state;
    write_changed("\"lstrip\":false}", "\"lstrip\":false},{\"id\":261,\"content\":\" \"}");
    assert_encodes("hell hell", (int32_t[]){258, ' ', 258}, 3);
    assert_encodes_with(PK_ADDED_ALL, "hell hell", (int32_t[]){258, 261, 258}, 3);
    assert_refused("\"lstrip\":false}", "\"lstrip\":false},{\"id\":261,\"content\":\"\xC3\xA9\"}", PK_INVALID,
                   "added token 1: \"\xC3\xA9\": stands for other bytes");
}

/* As in the library: blanks that one token stripped away are no token again where that strips too. */
static void what_a_token_stripped_away_is_gone(void **state)
{
    (void)state;
    write_changed("\"lstrip\":false}", "\"lstrip\":false},{\"id\":261,\"content\":\" \",\"rstrip\":true}");
    assert_encodes_with(PK_ADDED_ALL, "h   h", (int32_t[]){'h', 261, 261, 261, 'h'}, 5);
    write_changed("\"lstrip\":false}",
                  "\"lstrip\":false},{\"id\":261,\"content\":\" \",\"rstrip\":true,\"lstrip\":true}");
    assert_encodes_with(PK_ADDED_ALL, "h   h", (int32_t[]){'h', 261, 'h'}, 3);
}

static void features_that_are_not_supported_are_refused_by_name(void **state)
{
    (void)state;
    static const struct {
        const char *old, *fresh, *fragment;
    } cases[] = {
        {"\"normalizer\":null", "\"normalizer\":{\"type\":\"NFC\"}", "\"normalizer\" is not supported: NFC"},
        {"\"truncation\":null", "\"truncation\":{\"max_length\":5}", "\"truncation\" is not supported"},
        {"\"padding\":null", "\"padding\":{\"strategy\":\"BatchLongest\"}", "\"padding\" is not supported"},
        {"\"version\"", "\"vershun\"", "\"vershun\" is not supported"},
        {"\"post_processor\":null", "\"post_processor\":{\"type\":\"TemplateProcessing\"}",
         "\"post_processor\": type \"TemplateProcessing\" is not supported"},
        {"\"decoder\":{\"type\":\"ByteLevel\"}", "\"decoder\":{\"type\":\"WordPiece\"}",
         "\"decoder\": type \"WordPiece\" is not supported"},
        {"\"decoder\":{\"type\":\"ByteLevel\"}", "\"decoder\":null", "\"decoder\": type \"\" is not supported"},
        {"\"type\":\"BPE\"", "\"type\":\"Unigram\"", "\"model\": type \"Unigram\" is not supported, only BPE"},
        {"\"dropout\":null", "\"dropout\":0.1", "\"model\": \"dropout\" is not supported"},
        {"\"dropout\":null", "\"continuing_subword_prefix\":\"##\"",
         "\"model\": \"continuing_subword_prefix\" is not supported"},
        {"\"post_processor\":null",
         "\"post_processor\":{\"type\":\"Sequence\",\"processors\":[{\"type\":\"ByteLevel\"},"
         "{\"type\":\"BertProcessing\"}]}",
         "\"post_processor\": step 1: type \"BertProcessing\" is not supported"},
        {"\"dropout\":null", "\"end_of_word_suffix\":\"</w>\"", "\"model\": \"end_of_word_suffix\" is not supported"},
        {"\"byte_fallback\":false", "\"byte_fallback\":true", "\"model\": \"byte_fallback\" is not supported"},
        {"\"byte_fallback\":false", "\"novel\":1", "\"model\": \"novel\" is not supported"},
        {"\"Isolated\"", "\"MergedWithPrevious\"",
         "\"pre_tokenizer\": step 0: behavior \"MergedWithPrevious\" is not supported, only Isolated and Removed"},
        {"\"type\":\"Split\"", "\"type\":\"Whitespace\"", "step 0: type \"Whitespace\" is not supported"},
        {"\"invert\":false", "\"limit\":false", "step 0: \"limit\" is not supported"},
        {"\\\\p{L}+", "\\\\w+", "step 0: pattern, byte 0: '\\w' is not supported"},
        {"\\\\p{L}+", "x*", "can match nothing at all"},
        {"\\\\p{L}+", "(?<=x+)y", "not a pattern"},
        {"\"type\":\"Split\",", "\"type\":\"ByteLevel\"},{\"type\":\"Split\",", "step 1: a step after ByteLevel"},
        {",{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":false}", "", "no ByteLevel at the end"},
        {"\"lstrip\"", "\"strange\"", "\"strange\" is not supported"},
        {"\"a\":97,", "", "\"vocab\": no token for the byte 0x61 (\"a\")"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_refused(cases[i].old, cases[i].fresh, PK_INVALID, cases[i].fragment);
}

static void files_that_lie_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *old, *fresh, *fragment;
    } cases[] = {
        {"\"he\":256", "\"he\":1048576", "\"vocab\": \"he\": expected an id from 0 to 1048575"},
        {"\"he\":256", "\"he\":-1", "expected a whole number from 0"},
        {"\"he\":256", "\"he\":99999999999999999999", "expected a whole number from 0 to 2147483647"},
        {"\"he\":256", "\"he\":\"256\"", "expected a whole number"},
        {"\"he\":256", "\"he\":257", "id 257 is given to two tokens"},
        {"\"he\":256", "\"he\":256,\"he\":300", "\"he\": a duplicate of id 256"},
        {"\"he\":256", "\"\":300,\"he\":256", "an empty token"},
        {"\"h e\"", "\"h x e\"", "merge 0: expected \"a b\" or [\"a\", \"b\"]"},
        {"\"h e\"", "\"he\"", "merge 0: expected"},
        {"\"h e\"", "7", "merge 0: byte"},
        {"[\"l\",\"l\"]", "[\"l\",\"l\",\"l\"]", "merge 1: byte"},
        {"[\"l\",\"l\"]", "[\"l\",1]", "merge 1: byte"},
        {"\"h e\"", "\"h hx\"", "merge 0: \"hx\" is not in the vocabulary"},
        {"\"h e\"", "\"h l\"", "merge 0: \"hl\" is not in the vocabulary"},
        {"\"h e\"", "\" e\"", "merge 0: \"\" is not in the vocabulary"},
        {"[\"l\",\"l\"]", "\"h e\"", "merge 1: the pair of merge 0 again"},
        {"\"merges\":[", "\"merges\":{\"a\":[", ""},
        {"\"h e\",[\"l\",\"l\"],\"he ll\"]", "\"h e\"],\"merges\":3", "duplicate"},
        {"\"id\":260", "\"id\":258", "added token 0: \"<eos>\": id 258 is given to two tokens"},
        {"\"id\":260", "\"id\":1048576", "added token 0: \"<eos>\": expected an id"},
        {"\"content\":\"<eos>\"", "\"content\":\"\"", "added token 0: \"content\": expected a text"},
        {"\"content\":\"<eos>\"", "\"content\":\"hell\"",
         "added token 0: \"hell\": id 260 here, id 258 in the vocabulary"},
        {"\"id\":260,\"content\":\"<eos>\"", "\"id\":258,\"content\":\"hell\"",
         "merge 2: \"hell\" is no ordinary token, text would become it"},
        {"\"special\":true", "\"special\":1", "\"special\": expected true or false"},
        {"\"lstrip\":false}", "\"lstrip\":false},{\"id\":261,\"content\":\"<eos>\"}", "\"<eos>\": comes twice"},
        {"{\"Regex\":\"\\\\p{L}+\"}", "\"x\"", "step 0: \"pattern\": expected"},
        {"\"use_regex\":false", "\"use_regex\":0", "step 1: \"use_regex\": expected true or false"},
        {"\"vocab\":{", "\"vocab\":[],\"x\":{", ""},
        {"{\"version\"", "[{\"version\"", ""},
        {"\"version\":\"1.0\"", "\"version\":\"\\u0000\"", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_changed(cases[i].old, cases[i].fresh);
        pk_tokenizer *tokenizer = NULL;
        pk_err err = pk_tokenizer_open(&tokenizer, path);
        if ((err != PK_CORRUPT && *cases[i].fragment) || err == PK_OK || tokenizer ||
            !strstr(pk_error_text(), cases[i].fragment) || !strstr(pk_error_text(), path))
            fail_msg("case %zu: %s \"%s\"", i, pk_err_name(err), err ? pk_error_text() : "");
    }
}

static void every_truncation_is_refused(void **state)
{
    (void)state;
    char *text = NULL;
    size_t bytes;
    FILE *memory = open_memstream(&text, &bytes);
    write_good(memory);
    fclose(memory);
    for (size_t cut = 0; cut < bytes; cut += 1 + cut / 20) {
        write_file(path, text, cut);
        assert_open_fails(PK_CORRUPT, path);
    }
    free(text);
}

/* Whatever one changed byte does, opening must end in order: with an error, or with a tokenizer that encodes. */
static void changed_bytes_never_crash(void **state)
{
    (void)state;
    char *text = NULL;
    size_t bytes, opened = 0;
    FILE *memory = open_memstream(&text, &bytes);
    write_good(memory);
    fclose(memory);
    srandom(3);
    for (int round = 0; round < 1500; round++) {
        size_t at = (size_t)random() % bytes;
        char before = text[at];
        text[at] = (char)random();
        write_file(path, text, bytes);
        pk_tokenizer *tokenizer = NULL;
        if (pk_tokenizer_open(&tokenizer, path) == PK_OK) {
            pk_ids ids = {0};
            assert_int_equal(pk_tokenizer_encode(tokenizer, "hello, hell 12", 14, &ids), PK_OK);
            pk_ids_fini(&ids);
            opened++;
        }
        pk_tokenizer_close(&tokenizer);
        text[at] = before;
    }
    printf("seed 3: %zu of 1500 opened\n", opened);
    free(text);
}

static void deep_nesting_is_refused_before_it_is_parsed(void **state)
{
    (void)state;
    enum { DEPTH = 100000 };
    static const char start[] = "{\"version\":";
    char *text = malloc(sizeof start + DEPTH);
    assert_non_null(text);
    memcpy(text, start, sizeof start - 1);
    memset(text + sizeof start - 1, '[', DEPTH);
    write_file(path, text, sizeof start - 1 + DEPTH);
    assert_open_fails(PK_CORRUPT, "byte 75: deeper than 64 levels");
    free(text);
}

static void a_member_of_too_many_values_is_refused_before_it_is_a_tree(void **state)
{
    (void)state;
    enum { VALUES = 1 << 20 };
    static const char head[] = "{\"added_tokens\":[";
    char *text = malloc(2 * VALUES + sizeof head);
    assert_non_null(text);
    memcpy(text, head, sizeof head - 1);
    for (size_t i = 0; i < VALUES; i++)
        memcpy(text + sizeof head - 1 + 2 * i, "1,", 2);
    memcpy(text + sizeof head - 3 + 2 * VALUES, "1]}", 3);
    write_file(path, text, 2 * VALUES + sizeof head);
    assert_open_fails(PK_CORRUPT, "more than 262144 values");
    free(text);
}

static void what_is_no_regular_file_of_fair_size_is_refused(void **state)
{
    (void)state;
    unlink(path);
    assert_open_fails(PK_IO, "No such file");
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_open_fails(PK_CORRUPT, "not a regular file");
    unlink(path);
    write_file(path, "{}", 2);
    assert_int_equal(truncate(path, (off_t)PK_TOKENIZER_FILE_BYTES + 1), 0);
    assert_open_fails(PK_CORRUPT, "268435456");
}

static void the_config_names_the_eos_token(void **state)
{
    (void)state;
    size_t count;
    pk_tokenizer *tokenizer = NULL;
    write_changed("\"<eos>\"", "\"<stop>\"");
    assert_int_equal(pk_tokenizer_open(&tokenizer, path), PK_OK);
    pk_tokenizer_eos(tokenizer, &count);
    assert_int_equal(count, 0); /* no usual name, no config */
    pk_tokenizer_close(&tokenizer);

    static const char *const good[] = {"{\"eos_token\":\"<stop>\"}", "{\"eos_token\":{\"content\":\"<stop>\"}}"};
    for (size_t i = 0; i < 2; i++) {
        write_file(config, good[i], strlen(good[i]));
        assert_int_equal(pk_tokenizer_open(&tokenizer, path), PK_OK);
        assert_int_equal(*pk_tokenizer_eos(tokenizer, &count), 260);
        pk_tokenizer_close(&tokenizer);
    }
    write_file(config, "{\"eos_token\":\"<other>\"}", 23);
    assert_open_fails(PK_CORRUPT, "eos_token \"<other>\" is none of the tokenizer's added tokens");
    write_file(config, "{\"eos_token\":7}", 15);
    assert_open_fails(PK_CORRUPT, "\"eos_token\": expected a text");
    write_file(config, "{\"eos_", 6);
    assert_open_fails(PK_CORRUPT, "tokenizer_config.json: JSON at line 1");
    unlink(config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_unchanged_file_is_read_and_encodes),
        cmocka_unit_test(splits_by_text_and_removal_are_read),
        cmocka_unit_test(an_added_token_may_be_what_a_word_stands_for),
        cmocka_unit_test(what_a_token_stripped_away_is_gone),
        cmocka_unit_test(features_that_are_not_supported_are_refused_by_name),
        cmocka_unit_test(files_that_lie_are_refused),
        cmocka_unit_test(every_truncation_is_refused),
        cmocka_unit_test(changed_bytes_never_crash),
        cmocka_unit_test(deep_nesting_is_refused_before_it_is_parsed),
        cmocka_unit_test(a_member_of_too_many_values_is_refused_before_it_is_a_tree),
        cmocka_unit_test(what_is_no_regular_file_of_fair_size_is_refused),
        cmocka_unit_test(the_config_names_the_eos_token),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
