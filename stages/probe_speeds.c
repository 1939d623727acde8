/* probe_speeds.c - how fast the kernels are that the stages use, at sizes of a real layer. */
#include "stages/probe.h"

#include "gpu/ops.h"
#include "ipc/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    WIDTH = 2048,  /* of products: 8 MiB of bf16 weights, */
    MATRICES = 16, /* one after the other, so that few rows wait for memory as they do in a model */
    ROWS_MOST = 512,
    HEADS = 8,
    KV_HEADS = 2,
    DIM = 128,
    CHUNK = 256,        /* rows of one prefill call of attention, */
    BEFORE = 6 * CHUNK, /* softmax at this position */
    FAR = 32768,        /* softmax decode at this one */
    SMALL = 16,         /* width of the smallest operation */
};
static const uint64_t measure_ns = 60000000; /* of each kernel, and at least REPEATS calls */
enum { REPEATS = 3 };

typedef struct {
    pk_device *device;
    const pk_ops *ops;
    unsigned threads;
    pk_matrix matrices[MATRICES], small;
    float *x, *y; /* [ROWS_MOST, 3 * HEADS * DIM or WIDTH] */
    float *cache, *state, *decay;
    size_t rows, next; /* of the product that is measured; its matrix */
} bench;

static const size_t row_floats = 3 * HEADS * DIM > WIDTH ? 3 * HEADS *DIM : WIDTH;

/* Values around 1e-2 that differ: neither zeros nor subnormals. */
static void fill(float *to, size_t count)
{
    for (size_t i = 0; i < count; i++)
        to[i] = 1e-2f + 1e-5f * (float)(i % 997);
}

static pk_err pack(bench *b, pk_matrix *matrix, size_t width, const uint16_t *stored)
{
    *matrix = (pk_matrix){.dtype = PK_BF16, .outputs = width, .inputs = width};
    if (!(matrix->data = b->ops->alloc(b->device, pk_matrix_bytes(PK_BF16, width, width))))
        return pk_fail(PK_NOMEM, "a matrix of %zu columns", width);
    b->ops->pack(matrix, 0, width, stored);
    return PK_OK;
}

static pk_err pack_all(bench *b)
{
    pk_err err = PK_OK;
    uint16_t *stored = malloc((size_t)WIDTH * WIDTH * sizeof *stored);
    if (!stored)
        return pk_fail(PK_NOMEM, "a matrix of %d columns", WIDTH);
    for (size_t i = 0; i < (size_t)WIDTH * WIDTH; i++)
        stored[i] = (uint16_t)(0x3c00u + i % 127); /* bf16 values near 0.008 */
    for (size_t i = 0; !err && i < MATRICES; i++)
        err = pack(b, &b->matrices[i], WIDTH, stored);
    if (!err)
        err = pack(b, &b->small, SMALL, stored);
    free(stored);
    return err;
}

static float *floats(bench *b, size_t count)
{
    float *data = b->ops->alloc(b->device, count * sizeof *data);
    if (data)
        fill(data, count);
    return data;
}

/* The process ends after its one answer: what is allocated here is not given back. */
static pk_err open_bench(bench *b, unsigned threads)
{
    pk_err err = pk_device_open(&b->device, (pk_device_options){.backend = "cpu", .threads = threads});
    if (err)
        return err;
    b->ops = pk_device_ops(b->device);
    b->threads = threads;
    b->x = floats(b, ROWS_MOST * row_floats);
    b->y = floats(b, ROWS_MOST * row_floats);
    b->cache = floats(b, pk_kv_bytes(FAR + 1, KV_HEADS, DIM) / sizeof(float));
    b->state = floats(b, (size_t)HEADS * DIM * (DIM + 2 * PK_LIGHTNING_BLOCK));
    b->decay = floats(b, (size_t)HEADS * (PK_LIGHTNING_BLOCK + 1));
    if (!b->x || !b->y || !b->cache || !b->state || !b->decay)
        return pk_fail(PK_NOMEM, "room to measure kernels");
    pk_lightning_decay(b->decay, HEADS, 0, 2);
    return pack_all(b);
}

static pk_err product(bench *b)
{
    return b->ops->matmul(b->device, b->y, b->x, b->rows, &b->matrices[b->next++ % MATRICES]);
}

static pk_err small_product(bench *b)
{
    return b->ops->matmul(b->device, b->y, b->x, 1, &b->small);
}

static pk_err lightning(bench *b)
{
    float *keys = b->state + (size_t)HEADS * DIM * DIM;
    pk_lightning_span span = {
        .rows = ROWS_MOST,
        .state = {.matrix = b->state, .keys = keys, .values = keys + (size_t)HEADS * DIM * PK_LIGHTNING_BLOCK}};
    return b->ops->lightning(
        b->device,
        &(pk_lightning){
            .out = b->y, .qkv = b->x, .decay = b->decay, .heads = HEADS, .dim = DIM, .spans = &span, .span_count = 1});
}

static pk_err softmax_at(bench *b, uint32_t position, size_t rows)
{
    pk_softmax_span span = {.rows = rows, .position = position, .cache = b->cache};
    return b->ops->softmax(b->device, &(pk_softmax){.out = b->y,
                                                    .q = b->x,
                                                    .k = b->x,
                                                    .v = b->x,
                                                    .heads = HEADS,
                                                    .kv_heads = KV_HEADS,
                                                    .dim = DIM,
                                                    .spans = &span,
                                                    .span_count = 1});
}

static pk_err softmax_prefill(bench *b)
{
    return softmax_at(b, BEFORE, CHUNK);
}

static pk_err softmax_decode(bench *b)
{
    return softmax_at(b, FAR, 1);
}

/* One thread counts the processor time it has had, which other jobs lower less; several wait for each other. */
static uint64_t time_now(unsigned threads)
{
    struct timespec t;
    clock_gettime(threads == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Calls a second of the best call. */
static pk_err rate_of(bench *b, pk_err (*call)(bench *), double *out)
{
    uint64_t begin = pk_clock_ns(), best = UINT64_MAX;
    pk_err err = call(b); /* once for caches and scratch memory */
    for (unsigned i = 0; !err && (i < REPEATS || pk_clock_ns() - begin < measure_ns); i++) {
        uint64_t start = time_now(b->threads), took;
        err = call(b);
        took = time_now(b->threads) - start;
        best = took < best ? took : best;
    }
    *out = 1e9 / (double)(best ? best : 1);
    return err;
}

pk_err pk_probe_print_speeds(unsigned threads)
{
    static const double chunk_positions = (double)CHUNK * (BEFORE + (CHUNK + 1) / 2.0);
    static const struct {
        const char *key;
        pk_err (*call)(bench *);
        size_t rows;   /* of a product */
        double amount; /* of one call, in the figure's unit times a second */
    } kernels[] = {
        {"product_1", product, 1, 2e-9 * WIDTH * WIDTH},
        {"product_8", product, 8, 8 * 2e-9 * WIDTH * WIDTH},
        {"product_64", product, 64, 64 * 2e-9 * WIDTH * WIDTH},
        {"product_512", product, 512, 512 * 2e-9 * WIDTH * WIDTH},
        {"lightning", lightning, 0, 1e-9 * ROWS_MOST * HEADS * (4.0 * DIM * DIM + 2 * PK_LIGHTNING_BLOCK * DIM)},
        {"softmax", softmax_prefill, 0, 4e-9 * HEADS * DIM * chunk_positions},
        {"softmax_read", softmax_decode, 0, 1e-9 * FAR * 2 * KV_HEADS * DIM * sizeof(float)},
        {"calls", small_product, 0, 1e-3},
    };
    bench b = {0};
    pk_probe_limits limits;
    pk_err err = pk_probe_measure_limits(&limits, threads);
    if (err || (err = open_bench(&b, threads)))
        return err;
    printf("{\"device\": \"%s\", \"threads\": %u, \"speeds\": {\"fma\": %.6g, \"read\": %.6g", b.ops->name, threads,
           limits.fma_gflops, limits.read_gbs);
    for (size_t i = 0; !err && i < sizeof kernels / sizeof *kernels; i++) {
        double rate;
        b.rows = kernels[i].rows;
        err = rate_of(&b, kernels[i].call, &rate);
        printf(", \"%s\": %.6g", kernels[i].key, rate * kernels[i].amount);
    }
    printf("}}\n");
    pk_device_close(&b.device);
    return err;
}
