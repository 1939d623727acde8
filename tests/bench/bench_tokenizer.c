/* Encodes a file, and opens a tokenizer, again and again: processor time of each round, for tests/bench/tokenizer.py.
 *
 *     bench-tokenizer TOKENIZER open ROUNDS              seconds of each opening
 *     bench-tokenizer TOKENIZER encode ROUNDS FILE       seconds of each round, the number of ids, their digest
 *
 * The file is encoded in documents of 100,000 bytes, cut between characters, by one encoder that begins each round
 * anew. One JSON object on stdout. */
#include "stages/tokenizer/tokenizer.h"
#include "tests/bench/figures.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DOCUMENT_BYTES = 100000 };

static void fail(pk_err err, const char *what)
{
    fprintf(stderr, "bench-tokenizer: %s: %s\n", what, err ? pk_error_text() : "failed");
    exit(1);
}

static char *read_file(const char *path, size_t *bytes)
{
    FILE *file = fopen(path, "rb");
    if (!file || fseek(file, 0, SEEK_END))
        fail(PK_OK, path);
    *bytes = (size_t)ftell(file);
    rewind(file);
    char *text = malloc(*bytes + 1);
    if (!text || fread(text, 1, *bytes, file) != *bytes)
        fail(PK_OK, path);
    fclose(file);
    return text;
}

static size_t document_end(const char *text, size_t bytes, size_t at)
{
    size_t end = bytes - at < DOCUMENT_BYTES ? bytes : at + DOCUMENT_BYTES;
    while (end < bytes && ((unsigned char)text[end] & 0xC0) == 0x80)
        end--;
    return end;
}

static double encode_all(const pk_tokenizer *tokenizer, const char *text, size_t bytes, pk_ids *ids)
{
    pk_encoder *encoder = NULL;
    pk_err err = PK_OK;
    ids->count = 0;
    double start = seconds_used();
    if ((err = pk_encoder_open(&encoder, tokenizer)))
        fail(err, "encoder");
    for (size_t at = 0, end; at < bytes; at = end) {
        end = document_end(text, bytes, at);
        if ((err = pk_encoder_run(encoder, PK_ADDED_NONE, text + at, end - at, ids)))
            fail(err, "encode");
    }
    pk_encoder_close(&encoder);
    return seconds_used() - start;
}

/* Over every 97th id, as tests/bench/tokenizer.py has it. */
static uint64_t digest_of(const pk_ids *ids)
{
    uint64_t digest = 0;
    for (size_t i = 0; i < ids->count; i += 97)
        digest = digest * 1000003 + (uint32_t)ids->ids[i];
    return digest;
}

static pk_tokenizer *open_tokenizer(const char *path, double *seconds)
{
    pk_tokenizer *tokenizer = NULL;
    double start = seconds_used();
    pk_err err = pk_tokenizer_open(&tokenizer, path);
    *seconds = seconds_used() - start;
    if (err)
        fail(err, path);
    return tokenizer;
}

static void bench_open(const char *path, int rounds)
{
    printf("{\"seconds\": [");
    for (int i = 0; i < rounds; i++) {
        double seconds;
        pk_tokenizer *tokenizer = open_tokenizer(path, &seconds);
        printf("%s%.6f", i ? ", " : "", seconds);
        pk_tokenizer_close(&tokenizer);
    }
    printf("]}\n");
}

static void bench_encode(const char *path, int rounds, const char *file)
{
    double seconds;
    size_t bytes;
    pk_ids ids = {0};
    pk_tokenizer *tokenizer = open_tokenizer(path, &seconds);
    char *text = read_file(file, &bytes);
    printf("{\"bytes\": %zu, \"seconds\": [", bytes);
    for (int i = 0; i < rounds; i++)
        printf("%s%.6f", i ? ", " : "", encode_all(tokenizer, text, bytes, &ids));
    printf("], \"ids\": %zu, \"digest\": %" PRIu64 "}\n", ids.count, digest_of(&ids));
    free(text);
    pk_ids_fini(&ids);
    pk_tokenizer_close(&tokenizer);
}

int main(int argc, char **argv)
{
    bool encode = argc == 5 && strcmp(argv[2], "encode") == 0;
    if (!encode && !(argc == 4 && strcmp(argv[2], "open") == 0)) {
        fprintf(stderr, "usage: bench-tokenizer TOKENIZER open ROUNDS | encode ROUNDS FILE\n");
        return 2;
    }
    if (encode)
        bench_encode(argv[1], atoi(argv[3]), argv[4]);
    else
        bench_open(argv[1], atoi(argv[3]));
    return 0;
}
