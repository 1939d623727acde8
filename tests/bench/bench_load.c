/* bench-load: how fast the loader reads a checkpoint beside bare reading of the same files.
 *
 *     bench-load [--json] [--rounds N] MODEL_DIR
 *
 * The loader delivers every tensor's rows, and the callback copies them to their final place, in memory that is there
 * already. The bare readers read into a few buffers and look at nothing. A round measures each of them once, in an order
 * that moves on; the first round warms up and is not counted; direct reads pass the page cache by, the buffered reader empties it of its file first. A checksum
 * of one word in 512 of what each engine of the loader delivered must be the same in every round. */
#include "loader/checkpoint.h"
#include "loader/reader.h"
#include "tests/bench/figures.h"
#include "tests/bench/raw_read.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { ROUNDS_DEFAULT = 5, WAYS = 5, CHECKED_STRIDE = 4096 };

typedef struct {
    pk_checkpoint *checkpoint;
    pk_read_request *requests;
    size_t count;
    uint64_t bytes, file_bytes, checksum;
    char *memory; /* all tensors, one behind the other */
    char **places; /* [count] */
} bench;

typedef struct {
    double gbs, processor_seconds; /* the latter per GB */
} reading;

static pk_err copy_rows(void *user, const pk_tensor_entry *tensor, uint64_t first_row, uint64_t row_count,
                        const void *rows)
{
    uint64_t row_bytes = pk_tensor_row_bytes(tensor);
    memcpy(*(char **)user + first_row * row_bytes, rows, row_count * row_bytes);
    return PK_OK;
}

static pk_err open_bench(bench *b, const char *dir)
{
    pk_err err = pk_checkpoint_open(&b->checkpoint, dir);
    if (err)
        return err;
    b->count = pk_checkpoint_count(b->checkpoint);
    b->bytes = pk_checkpoint_bytes(b->checkpoint);
    b->requests = calloc(b->count + 1, sizeof *b->requests);
    b->places = calloc(b->count + 1, sizeof *b->places);
    b->memory = mmap(NULL, b->bytes + 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (!b->requests || !b->places || b->memory == MAP_FAILED)
        return pk_fail(PK_NOMEM, "room for %s", dir);
    (void)madvise(b->memory, b->bytes, MADV_HUGEPAGE);
    memset(b->memory, 1, b->bytes);
    char *place = b->memory;
    for (size_t i = 0; i < b->count; i++) {
        const pk_tensor_entry *tensor = pk_checkpoint_at(b->checkpoint, i);
        b->places[i] = place;
        b->requests[i] = (pk_read_request){.tensor = tensor, .user = &b->places[i]};
        place += tensor->bytes;
    }
    for (size_t i = 0; i < pk_checkpoint_file_count(b->checkpoint); i++)
        b->file_bytes += pk_safetensors_identity(pk_checkpoint_file(b->checkpoint, i))->bytes;
    return PK_OK;
}

static uint64_t checksum_of(const bench *b)
{
    uint64_t sum = b->bytes, word;
    for (uint64_t at = 0; at + sizeof word <= b->bytes; at += CHECKED_STRIDE) {
        memcpy(&word, b->memory + at, sizeof word);
        sum = (sum ^ word) * UINT64_C(0x9e3779b97f4a7c15);
    }
    return sum;
}

/* A checkpoint that reads as something else this time is no measurement. */
static pk_err check(bench *b)
{
    uint64_t sum = checksum_of(b);
    if (b->checksum && sum != b->checksum)
        return pk_fail(PK_CORRUPT, "what was read differs from the first time");
    b->checksum = sum;
    return PK_OK;
}

static pk_err load_all(bench *b, pk_reader_kind kind, unsigned depth, reading *out)
{
    pk_reader *reader = NULL;
    double start = seconds_now(), used = seconds_used();
    pk_err err = pk_reader_open(&reader, (pk_reader_options){.kind = kind, .depth = depth});
    if (!err)
        err = pk_reader_read(reader, b->requests, b->count, copy_rows);
    double gigabytes = (double)b->bytes * 1e-9;
    *out = (reading){.gbs = gigabytes / (seconds_now() - start), .processor_seconds = (seconds_used() - used) / gigabytes};
    if (!err && pk_reader_note(reader))
        fprintf(stderr, "bench-load: %s\n", pk_reader_note(reader));
    pk_reader_close(&reader);
    return err ? err : check(b);
}

static pk_err read_raw(const bench *b, raw_way way, reading *out)
{
    double start = seconds_now(), used = seconds_used(), gigabytes = (double)b->file_bytes * 1e-9;
    for (size_t i = 0; i < pk_checkpoint_file_count(b->checkpoint); i++)
        if (!raw_read(pk_safetensors_path(pk_checkpoint_file(b->checkpoint, i)), way))
            return pk_fail(PK_IO, "a bare read failed");
    *out = (reading){.gbs = gigabytes / (seconds_now() - start), .processor_seconds = (seconds_used() - used) / gigabytes};
    return PK_OK;
}

/* The first three are bare, the others the loader's. */
static pk_err measure(bench *b, size_t way, reading *out)
{
    static const raw_way raw[] = {RAW_URING, RAW_PREAD, RAW_BUFFERED};
    if (way < 3)
        return read_raw(b, raw[way], out);
    return load_all(b, way == 3 ? PK_READER_URING : PK_READER_PREAD, 0, out);
}

typedef struct {
    figure uring, uring_buffered, pread, uring_processor, pread_processor;
} results;

static pk_err measure_all(bench *b, results *r, size_t rounds)
{
    reading got[WAYS];
    pk_err err = PK_OK;
    for (size_t round = 0; !err && round <= rounds; round++) {
        for (size_t i = 0; !err && i < WAYS; i++)
            err = measure(b, (i + round) % WAYS, &got[(i + round) % WAYS]);
        if (err || !round)
            continue;
        figure_add(&r->uring, got[3].gbs, got[0].gbs);
        figure_add(&r->pread, got[4].gbs, got[1].gbs);
        figure_add(&r->uring_buffered, got[3].gbs, got[2].gbs);
        figure_add(&r->uring_processor, got[3].processor_seconds, got[0].processor_seconds);
        figure_add(&r->pread_processor, got[4].processor_seconds, got[2].processor_seconds);
    }
    return err;
}

static void close_bench(bench *b)
{
    pk_checkpoint_close(&b->checkpoint);
    free(b->requests);
    free(b->places);
    if (b->memory && b->memory != MAP_FAILED)
        munmap(b->memory, b->bytes + 1);
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"json", no_argument, NULL, 'j'}, {"rounds", required_argument, NULL, 'r'}, {0}};
    static results r = {
        .uring = {.name = "loader, io_uring", .unit = "GB/s", .ceiling = "bare io_uring, 32 in flight"},
        .pread = {.name = "loader, pread", .unit = "GB/s", .ceiling = "bare O_DIRECT pread"},
        .uring_buffered = {.name = "loader, io_uring", .unit = "GB/s", .ceiling = "cold buffered pread"},
        .uring_processor = {.name = "loader, io_uring, processor", .unit = "s/GB", .ceiling = "bare io_uring"},
        .pread_processor = {.name = "loader, pread, processor", .unit = "s/GB", .ceiling = "cold buffered pread"},
    };
    bench b = {0};
    size_t rounds = ROUNDS_DEFAULT;
    bool json = false;
    int option;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == 'j')
            json = true;
        else if (option == 'r')
            rounds = strtoul(optarg, NULL, 10);
        else
            optind = argc;
    }
    if (optind != argc - 1 || !rounds || rounds > FIGURE_ROUNDS_MOST) {
        fprintf(stderr, "usage: bench-load [--json] [--rounds N (1 to %d)] MODEL_DIR\n", FIGURE_ROUNDS_MOST);
        return 100;
    }
    pk_err err = open_bench(&b, argv[optind]);
    if (!err)
        err = measure_all(&b, &r, rounds);
    close_bench(&b);
    if (err) {
        fprintf(stderr, "bench-load: %s\n", pk_error_text());
        return 111;
    }
    const figure figures[] = {r.uring, r.pread, r.uring_buffered, r.uring_processor, r.pread_processor};
    figures_print(figures, sizeof figures / sizeof *figures, json);
    return 0;
}
