/* probe_limits.c - what this machine can do at most in arithmetic and in reading memory.
 *
 * Arithmetic: chains of fused multiply-adds in the widest registers, what the kernels could do if they did nothing else; each thread counts its own processor time, so that other jobs do not lower it. Reading: a plain loop over huge
 * pages, by wall clock, the best of five: a yardstick that a good kernel can beat. */
#include "stages/probe.h"

#include "gpu/peak.h"
#include "ipc/clock.h"

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

enum { FMA_STEPS = 1 << 23, READ_ROUNDS = 5 };
/* Of each thread: more than its share of any cache, and all together no more than a small machine has. */
static const size_t read_bytes_most = (size_t)512 << 20, read_bytes_all = (size_t)2 << 30, read_bytes_least = 32 << 20;

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

static double fma_gflops(void)
{
    double start = thread_seconds(), done = pk_cpu_peak(FMA_STEPS);
    return done / (thread_seconds() - start) * 1e-9;
}

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
