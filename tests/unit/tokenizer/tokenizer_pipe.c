/* tokenizer-pipe TOKENIZER MODE: texts on stdin, their ids on stdout, for tests/e2e/tokenizer_live.py.
 *
 * A text is its length and its bytes, an answer the number of ids and the ids; all numbers are 32 bits in the order of
 * this machine. MODE is none, ordinary or all: which added tokens text becomes. With MODE `decode` it is the other way
 * round: ids come, the bytes of the text with special tokens go. */
#include "stages/tokenizer/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void fail(const char *what)
{
    fprintf(stderr, "tokenizer-pipe: %s\n", what);
    exit(1);
}

/* The next record of `count` units of `size` bytes, in *bytes; false at the end. */
static bool read_record(pk_text *record, size_t size)
{
    uint32_t count;
    if (fread(&count, sizeof count, 1, stdin) != 1)
        return false;
    record->count = 0;
    if (pk_text_reserve(record, (size_t)count * size + 1) || fread(record->bytes, size, count, stdin) != count)
        fail("a record is cut off");
    record->count = (size_t)count * size;
    return true;
}

static void write_record(const void *data, size_t count, size_t size)
{
    uint32_t length = (uint32_t)count;
    if (fwrite(&length, sizeof length, 1, stdout) != 1 || (count && fwrite(data, size, count, stdout) != count))
        fail("cannot write");
}

static void encode_all(const pk_tokenizer *tokenizer, pk_added added)
{
    pk_encoder *encoder = NULL;
    pk_text text = {0};
    pk_ids ids = {0};
    if (pk_encoder_open(&encoder, tokenizer))
        fail(pk_error_text());
    while (read_record(&text, 1)) {
        ids.count = 0;
        if (pk_encoder_run(encoder, added, text.bytes, text.count, &ids))
            fail(pk_error_text());
        write_record(ids.ids, ids.count, sizeof *ids.ids);
    }
    pk_encoder_close(&encoder);
    pk_text_fini(&text);
    pk_ids_fini(&ids);
}

static void decode_all(const pk_tokenizer *tokenizer)
{
    pk_text ids = {0}, text = {0};
    while (read_record(&ids, sizeof(int32_t))) {
        pk_detokenizer state = {.keep_special = true};
        text.count = 0;
        if (pk_tokenizer_decode(tokenizer, &state, (const int32_t *)(const void *)ids.bytes,
                                ids.count / sizeof(int32_t), &text) ||
            pk_tokenizer_decode_end(&state, &text))
            fail(pk_error_text());
        write_record(text.bytes, text.count, 1);
    }
    pk_text_fini(&ids);
    pk_text_fini(&text);
}

int main(int argc, char **argv)
{
    static const char *const modes[] = {
        [PK_ADDED_NONE] = "none", [PK_ADDED_ORDINARY] = "ordinary", [PK_ADDED_ALL] = "all"};
    pk_tokenizer *tokenizer = NULL;
    size_t mode = 0;
    if (argc != 3)
        fail("usage: tokenizer-pipe TOKENIZER none|ordinary|all|decode");
    while (mode < 3 && strcmp(modes[mode], argv[2]) != 0)
        mode++;
    if (pk_tokenizer_open(&tokenizer, argv[1]))
        fail(pk_error_text());
    if (mode < 3)
        encode_all(tokenizer, (pk_added)mode);
    else
        decode_all(tokenizer);
    pk_tokenizer_close(&tokenizer);
    return 0;
}
