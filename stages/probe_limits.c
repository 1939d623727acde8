/* probe_limits.c - what this machine can do at most in arithmetic and in reading memory.
 *
 * Arithmetic: chains of fused multiply-adds in 256-bit registers, what the AVX2 kernels could do if they did nothing
 * else; each thread counts its own processor time, so that other jobs do not lower it. Reading: a plain loop over huge
 * pages, by wall clock, the best of five: a yardstick that a good kernel can beat. */
#include "stages/probe.h"

#include "ipc/clock.h"

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

enum { FMA_STEPS = 1 << 23, CHAINS = 12, LANES = 8, READ_ROUNDS = 5 };
/* Of each thread: more than its share of any cache, and all together no more than a small machine has. */
static const size_t read_bytes_most = (size_t)512 << 20, read_bytes_all = (size_t)2 << 30, read_bytes_least = 32 << 20;

typedef float lanes __attribute__((vector_size(32)));

typedef struct {
    pthread_t thread;
    const uint64_t *data;
    size_t bytes;
    double fma_gflops, read_seconds[READ_ROUNDS];
    pthread_barrier_t *together;
} worker;

static double seconds_now(void)
{
    return (double)pk_clock_ns() * 1e-9;
}

static double thread_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

#if defined(__x86_64__)
/* Twelve independent chains: more than latency times issue width of any core so far. */
__attribute__((target("avx2,fma"))) static float fma_chains(size_t steps)
{
    lanes a = {0}, b = {0}, zero = {0};
    for (size_t i = 0; i < LANES; i++) {
        a[i] = 0.999f;
        b[i] = 1e-3f;
    }
    lanes c0 = zero, c1 = zero, c2 = zero, c3 = zero, c4 = zero, c5 = zero, c6 = zero, c7 = zero, c8 = zero, c9 = zero,
          c10 = zero, c11 = zero;
#define STEP(c) __asm__ volatile("vfmadd213ps %2, %1, %0" : "+x"(c) : "x"(a), "x"(b))
    for (size_t i = 0; i < steps; i++) {
        STEP(c0);
        STEP(c1);
        STEP(c2);
        STEP(c3);
        STEP(c4);
        STEP(c5);
        STEP(c6);
        STEP(c7);
        STEP(c8);
        STEP(c9);
        STEP(c10);
        STEP(c11);
    }
#undef STEP
    return (c0 + c1 + c2 + c3 + c4 + c5 + c6 + c7 + c8 + c9 + c10 + c11)[0];
}

static double fma_gflops(void)
{
    volatile float product;
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma"))
        return 0;
    double start = thread_seconds();
    product = fma_chains(FMA_STEPS);
    (void)product;
    return 2.0 * LANES * CHAINS * FMA_STEPS / (thread_seconds() - start) * 1e-9;
}
#else
static double fma_gflops(void)
{
    return 0;
}
#endif

static uint64_t read_all(const uint64_t *data, size_t bytes)
{
    uint64_t sum[8] = {0};
    for (size_t i = 0; i < bytes / sizeof *data; i += 8)
        for (size_t lane = 0; lane < 8; lane++)
            sum[lane] += data[i + lane];
    return sum[0] + sum[1] + sum[2] + sum[3] + sum[4] + sum[5] + sum[6] + sum[7];
}

static void *work(void *argument)
{
    worker *w = argument;
    volatile uint64_t sum;
    pthread_barrier_wait(w->together);
    w->fma_gflops = fma_gflops();
    for (size_t round = 0; round < READ_ROUNDS; round++) {
        pthread_barrier_wait(w->together);
        double begun = seconds_now();
        sum = read_all(w->data, w->bytes);
        w->read_seconds[round] = seconds_now() - begun;
    }
    (void)sum;
    return NULL;
}

static void *written(size_t bytes)
{
    void *data = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data == MAP_FAILED)
        return NULL;
    (void)madvise(data, bytes, MADV_HUGEPAGE);
    memset(data, 1, bytes); /* untouched pages would all be the one zero page */
    return data;
}

/* GB/s of the best round; a round is as long as its slowest thread. */
static double best_read(const worker *workers, unsigned threads)
{
    double best = 0;
    for (size_t round = 0; round < READ_ROUNDS; round++) {
        double slowest = 0;
        for (const worker *w = workers; w < workers + threads; w++)
            if (w->read_seconds[round] > slowest)
                slowest = w->read_seconds[round];
        double rate = (double)workers->bytes * threads / slowest * 1e-9;
        best = rate > best ? rate : best;
    }
    return best;
}

static size_t bytes_each(unsigned threads)
{
    size_t share = read_bytes_all / threads;
    return share > read_bytes_most ? read_bytes_most : share < read_bytes_least ? read_bytes_least : share;
}

/* The threads wait for each other, so one that cannot start ends the process: penstock-probe has nothing else to do. */
static void start_worker(worker *w)
{
    if (pthread_create(&w->thread, NULL, work, w)) {
        fprintf(stderr, "penstock-probe: no thread could be started\n");
        exit(1);
    }
}

pk_err pk_probe_measure_limits(pk_probe_limits *out, unsigned threads)
{
    static worker workers[PK_PROBE_THREADS_MAX];
    pthread_barrier_t together;
    size_t bytes = bytes_each(threads);
    *out = (pk_probe_limits){0};
    for (unsigned i = 0; i < threads; i++) {
        workers[i] = (worker){.data = written(bytes), .bytes = bytes, .together = &together};
        if (!workers[i].data)
            return pk_fail(PK_NOMEM, "no memory to read %zu bytes in each of %u threads", bytes, threads);
    }
    pthread_barrier_init(&together, NULL, threads);
    for (unsigned i = 0; i < threads; i++)
        start_worker(&workers[i]);
    for (unsigned i = 0; i < threads; i++) {
        pthread_join(workers[i].thread, NULL);
        munmap((void *)(uintptr_t)workers[i].data, bytes);
        out->fma_gflops += workers[i].fma_gflops;
    }
    pthread_barrier_destroy(&together);
    out->read_gbs = best_read(workers, threads);
    return PK_OK;
}
