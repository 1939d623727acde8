/* bench-limits: what this machine can do at most in arithmetic and in reading memory, for benchmarks that run processes.
 *
 *     bench-limits THREADS        prints {"fma_gflops": …, "read_gbs": …}
 *
 * Arithmetic: chains of fused multiply-adds in 256-bit registers, what the AVX2 kernels could do if they did nothing
 * else; each thread counts its own processor time, so that other jobs do not lower it. Reading: a plain loop
 * over 512 MiB of huge pages a thread, by wall clock, the best of five: a yardstick that a good kernel can beat. */
#include "tests/bench/figures.h"

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

enum { THREADS_MOST = 256, FMA_STEPS = 1 << 23, CHAINS = 12, LANES = 8, READ_ROUNDS = 5 };
static const size_t read_bytes = (size_t)512 << 20;

typedef float lanes __attribute__((vector_size(32)));

typedef struct {
    pthread_t thread;
    const uint64_t *data;
    double fma_gflops, read_seconds[READ_ROUNDS];
    pthread_barrier_t *together;
} worker;

static double thread_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

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
        STEP(c0); STEP(c1); STEP(c2); STEP(c3); STEP(c4); STEP(c5);
        STEP(c6); STEP(c7); STEP(c8); STEP(c9); STEP(c10); STEP(c11);
    }
#undef STEP
    return (c0 + c1 + c2 + c3 + c4 + c5 + c6 + c7 + c8 + c9 + c10 + c11)[0];
}

static uint64_t read_all(const uint64_t *data)
{
    uint64_t sum[8] = {0};
    for (size_t i = 0; i < read_bytes / sizeof *data; i += 8)
        for (size_t lane = 0; lane < 8; lane++)
            sum[lane] += data[i + lane];
    return sum[0] + sum[1] + sum[2] + sum[3] + sum[4] + sum[5] + sum[6] + sum[7];
}

static void *work(void *argument)
{
    worker *w = argument;
    volatile float product;
    volatile uint64_t sum;
    pthread_barrier_wait(w->together);
    double start = thread_seconds();
    product = fma_chains(FMA_STEPS);
    w->fma_gflops = 2.0 * LANES * CHAINS * FMA_STEPS / (thread_seconds() - start) * 1e-9;
    for (size_t round = 0; round < READ_ROUNDS; round++) {
        pthread_barrier_wait(w->together);
        double begun = seconds_now();
        sum = read_all(w->data);
        w->read_seconds[round] = seconds_now() - begun;
    }
    (void)product;
    (void)sum;
    return NULL;
}

static void *written(void)
{
    void *data = mmap(NULL, read_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data == MAP_FAILED)
        return NULL;
    (void)madvise(data, read_bytes, MADV_HUGEPAGE);
    memset(data, 1, read_bytes); /* untouched pages would all be the one zero page */
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
        double rate = (double)read_bytes * threads / slowest * 1e-9;
        best = rate > best ? rate : best;
    }
    return best;
}

int main(int argc, char **argv)
{
    unsigned threads = argc == 2 ? (unsigned)strtoul(argv[1], NULL, 10) : 0;
    static worker workers[THREADS_MOST];
    pthread_barrier_t together;
    double fma = 0;
    if (!threads || threads > THREADS_MOST) {
        fprintf(stderr, "usage: bench-limits THREADS (1 to %d)\n", THREADS_MOST);
        return 100;
    }
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) {
        fprintf(stderr, "bench-limits: this processor has no AVX2 and FMA\n");
        return 77;
    }
    pthread_barrier_init(&together, NULL, threads);
    for (unsigned i = 0; i < threads; i++) {
        workers[i] = (worker){.data = written(), .together = &together};
        if (!workers[i].data || pthread_create(&workers[i].thread, NULL, work, &workers[i])) {
            fprintf(stderr, "bench-limits: no memory or no thread\n");
            return 111;
        }
    }
    for (unsigned i = 0; i < threads; i++) {
        pthread_join(workers[i].thread, NULL);
        fma += workers[i].fma_gflops;
    }
    printf("{\"fma_gflops\": %.1f, \"read_gbs\": %.1f}\n", fma, best_read(workers, threads));
    return 0;
}
