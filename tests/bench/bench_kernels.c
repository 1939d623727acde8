/* bench-kernels: how close the CPU kernels come to the machine, against limits measured in the same run.
 *
 *     bench-kernels [threads [rounds]]
 *
 * Arithmetic is compared with chains of fused multiply-adds in registers, reading with a plain read loop (which a good
 * kernel can beat: it is a yardstick, not a ceiling). Measurements are interleaved, a round of each at a time, so that
 * what else runs on the machine touches all of them; given are the median, the least and the most of the rounds. With
 * one thread the clock is the process's own time, so that a busy machine distorts it only through caches and memory. */
#include "gpu/ops.h"
#include "gpu/peak.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct bench bench;
struct bench {
    const char *name, *unit; /* what a second holds, in 1e9 */
    double work;             /* of one call of run */
    void (*run)(bench *);
    const char *limit;      /* name of the measurement that is its limit */
    pk_device *device;
    clockid_t clock;
    size_t rows;
    pk_matrix w;
    float *x, *y;
    pk_lightning lightning;
    pk_lightning_span lightning_span;
    pk_softmax softmax;
    pk_softmax_span softmax_span;
    double rates[64];
    double median;
};

enum { DIM = 128, HEADS = 8, KV_HEADS = 2, POSITIONS = 2048, STREAM_BYTES = 256 << 20 };

static double now(const bench *b)
{
    struct timespec t;
    clock_gettime(b->clock, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void *zeroed(bench *b, size_t bytes)
{
    void *data = pk_device_ops(b->device)->alloc(b->device, bytes);
    if (!data) {
        fprintf(stderr, "bench-kernels: out of memory\n");
        exit(1);
    }
    return data;
}

static float *numbers(bench *b, size_t count)
{
    float *x = zeroed(b, count * sizeof *x);
    uint32_t state = 1;
    for (size_t i = 0; i < count; i++) {
        state = state * 1664525u + 1013904223u;
        x[i] = (float)(int32_t)state * 0x1p-31f;
    }
    return x;
}

/* Stored weights of ordinary size: infinities and subnormals would be what is measured. */
static void *weights(bench *b, pk_dtype dtype, size_t count)
{
    float *x = numbers(b, count);
    uint16_t *half = (uint16_t *)(void *)x;
    for (size_t i = 0; dtype != PK_F32 && i < count; i++)
        half[i] = (uint16_t)((dtype == PK_BF16 ? 0x3f00u : 0x3800u) | (i * 37 & 0x807fu));
    return x;
}

static void run_fma(bench *b)
{
    b->work = pk_cpu_peak(b->rows);
}

static void run_read(bench *b)
{
    uint64_t sum[8] = {0};
    const uint64_t *data = (const uint64_t *)(const void *)b->x;
    for (size_t i = 0; i < STREAM_BYTES / 8; i += 8)
        for (size_t lane = 0; lane < 8; lane++)
            sum[lane] += data[i + lane];
    volatile uint64_t sink = sum[0] + sum[1] + sum[2] + sum[3] + sum[4] + sum[5] + sum[6] + sum[7];
    (void)sink;
}

static void run_matmul(bench *b)
{
    pk_device_ops(b->device)->matmul(b->device, b->y, b->x, b->rows, &b->w);
}

static void run_lightning(bench *b)
{
    pk_device_ops(b->device)->lightning(b->device, &b->lightning);
}

static void run_softmax(bench *b)
{
    pk_device_ops(b->device)->softmax(b->device, &b->softmax);
}

static void init_matmul(bench *b, pk_dtype dtype, size_t rows, size_t outputs, size_t inputs)
{
    b->rows = rows;
    b->w = (pk_matrix){.dtype = dtype, .outputs = outputs, .inputs = inputs};
    b->w.data = zeroed(b, pk_matrix_bytes(dtype, outputs, inputs));
    void *stored = weights(b, dtype, 16 * inputs);
    for (size_t output = 0; output < outputs; output += 16)
        pk_device_ops(b->device)->pack(&b->w, output, 16, stored);
    b->x = numbers(b, rows * inputs);
    b->y = zeroed(b, rows * outputs * sizeof(float));
    b->run = run_matmul;
    b->work = rows == 1 ? (double)(outputs * inputs * pk_dtype_bytes(dtype)) : 2.0 * (double)(rows * outputs * inputs);
}

static void init_lightning(bench *b, size_t rows)
{
    size_t width = HEADS * DIM;
    float *decay = zeroed(b, HEADS * (PK_LIGHTNING_BLOCK + 1) * sizeof *decay);
    pk_lightning_decay(decay, HEADS, 0, 2);
    b->lightning_span = (pk_lightning_span){
        .rows = rows,
        .state = {.matrix = zeroed(b, width * DIM * sizeof(float)),
                  .keys = zeroed(b, width * PK_LIGHTNING_BLOCK * sizeof(float)),
                  .values = zeroed(b, width * PK_LIGHTNING_BLOCK * sizeof(float))}};
    b->lightning = (pk_lightning){.out = zeroed(b, rows * width * sizeof(float)), .qkv = numbers(b, rows * width * 3),
                                  .decay = decay, .heads = HEADS, .dim = DIM, .spans = &b->lightning_span,
                                  .span_count = 1};
    b->run = run_lightning;
    /* Query times state, increment of the state, and half of scores and values. */
    b->work = 2.0 * (double)(rows * HEADS) * (2.0 * DIM * DIM + PK_LIGHTNING_BLOCK * DIM);
}

static void init_softmax(bench *b, size_t position, size_t rows)
{
    float *cache = zeroed(b, pk_kv_bytes(position + rows, KV_HEADS, DIM));
    for (size_t i = 0; i < pk_kv_bytes(position, KV_HEADS, DIM) / sizeof *cache; i++)
        cache[i] = (float)(i % 97) * 1e-2f - 0.48f;
    b->softmax_span = (pk_softmax_span){.rows = rows, .position = (uint32_t)position, .cache = cache};
    b->softmax = (pk_softmax){.out = zeroed(b, rows * HEADS * DIM * sizeof(float)), .q = numbers(b, rows * HEADS * DIM),
                              .k = numbers(b, rows * KV_HEADS * DIM), .v = numbers(b, rows * KV_HEADS * DIM),
                              .heads = HEADS, .kv_heads = KV_HEADS, .dim = DIM, .spans = &b->softmax_span,
                              .span_count = 1};
    b->run = run_softmax;
    double keys = (double)rows * ((double)position + (double)(rows + 1) / 2.0);
    b->work = rows == 1 ? (double)pk_kv_bytes(position, KV_HEADS, DIM) : 4.0 * keys * HEADS * DIM;
}

static double rate(bench *b)
{
    size_t calls = 0;
    b->run(b); /* first touches are not what is measured */
    double start = now(b), end;
    do {
        b->run(b);
        calls++;
        end = now(b);
    } while (end - start < 0.05);
    return b->work * (double)calls / (end - start) * 1e-9;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double limit_of(const bench *benches, size_t count, const bench *b)
{
    for (size_t i = 0; b->limit && i < count; i++)
        if (!strcmp(benches[i].name, b->limit))
            return benches[i].median;
    return 0.0;
}

static void print(bench *benches, size_t count, size_t rounds)
{
    printf("%-36s %8s %8s %8s  %-7s %s\n", "", "median", "min", "max", "", "of limit");
    for (size_t i = 0; i < count; i++) {
        bench *b = &benches[i];
        qsort(b->rates, rounds, sizeof *b->rates, ascending);
        b->median = b->rates[rounds / 2];
        printf("%-36s %8.1f %8.1f %8.1f  %-7s", b->name, b->median, b->rates[0], b->rates[rounds - 1], b->unit);
        if (b->limit)
            printf(" %.2f", b->median / limit_of(benches, count, b));
        printf("\n");
    }
}

#define FLOPS "GFLOP/s"
#define BYTES "GB/s"

int main(int argc, char **argv)
{
    unsigned threads = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 1;
    size_t rounds = argc > 2 ? strtoul(argv[2], NULL, 10) : 7;
    pk_device *device = NULL;
    bench benches[] = {
        {.name = "FMA in registers (one thread)", .unit = FLOPS, .run = run_fma, .rows = 1 << 20},
        {.name = "plain read loop (one thread)", .unit = BYTES, .run = run_read, .work = STREAM_BYTES},
        {.name = "matmul 512x2048x2048 f32", .unit = FLOPS, .limit = benches[0].name},
        {.name = "matmul 512x2048x2048 bf16", .unit = FLOPS, .limit = benches[0].name},
        {.name = "matmul 512x2048x2048 f16", .unit = FLOPS, .limit = benches[0].name},
        {.name = "matmul 64x2048x2048 bf16", .unit = FLOPS, .limit = benches[0].name},
        {.name = "matmul 8x8192x4096 bf16", .unit = FLOPS, .limit = benches[0].name},
        {.name = "1 row x 8192x8192 f32", .unit = BYTES, .limit = benches[1].name},
        {.name = "1 row x 8192x16384 bf16", .unit = BYTES, .limit = benches[1].name},
        {.name = "lightning prefill 1024, 8x128", .unit = FLOPS, .limit = benches[0].name},
        {.name = "softmax prefill 2048, 8/2x128", .unit = FLOPS, .limit = benches[0].name},
        {.name = "softmax decode at 64K, 8/2x128", .unit = BYTES, .limit = benches[1].name},
    };
    enum { COUNT = sizeof benches / sizeof *benches };
    if (!threads || !rounds || rounds > 64) {
        fprintf(stderr, "usage: bench-kernels [threads [rounds (1 to 64) [backend]]]\n");
        return 100;
    }
    if (pk_cpu_peak(1) == 0) {
        fprintf(stderr, "bench-kernels: its yardstick needs a processor with AVX2 and FMA\n");
        return 77;
    }
    if (pk_device_open(&device, (pk_device_options){.backend = argc > 3 ? argv[3] : "cpu", .threads = threads})) {
        fprintf(stderr, "bench-kernels: %s\n", pk_error_text());
        return 111;
    }
    for (size_t i = 0; i < COUNT; i++) {
        benches[i].device = device;
        benches[i].clock = threads > 1 ? CLOCK_MONOTONIC : CLOCK_PROCESS_CPUTIME_ID;
    }
    benches[1].x = numbers(&benches[1], STREAM_BYTES / sizeof(float));
    init_matmul(&benches[2], PK_F32, 512, 2048, 2048);
    init_matmul(&benches[3], PK_BF16, 512, 2048, 2048);
    init_matmul(&benches[4], PK_F16, 512, 2048, 2048);
    init_matmul(&benches[5], PK_BF16, 64, 2048, 2048);
    init_matmul(&benches[6], PK_BF16, 8, 4096, 8192);
    init_matmul(&benches[7], PK_F32, 1, 8192, 8192);
    init_matmul(&benches[8], PK_BF16, 1, 16384, 8192);
    init_lightning(&benches[9], 1024);
    init_softmax(&benches[10], 0, POSITIONS);
    init_softmax(&benches[11], 65536, 1);
    for (size_t round = 0; round < rounds; round++)
        for (size_t i = 0; i < COUNT; i++)
            benches[i].rates[round] = rate(&benches[i]);
    printf("%s, %u threads, %zu rounds\n", pk_device_ops(device)->name, threads, rounds);
    print(benches, COUNT, rounds);
    pk_device_close(&device);
    return 0;
}
