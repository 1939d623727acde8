/* speeds.h - how fast this machine computes, reads and hands on: what `penstock doctor` has measured, or, where it was
 * never run, built-in figures whose ratios are those of one measured machine.
 *
 * The figures serve predictions (cost.h) and choices (choose.h) and never change an answer. A file of another machine
 * (home directories travel) is not used: it names processor and cores. One thread. */
#ifndef PK_PIPELINE_SPEEDS_H
#define PK_PIPELINE_SPEEDS_H

#include "ipc/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PK_SPEED_SOURCE_BYTES = 512, PK_SPEED_NAME_BYTES = 128 };

/* key in the file; built-in figure of one thread, and of `PK_SPEEDS_BUILTIN_THREADS`; what it is. The built-in ones
 * stand in docs/performance.md, "Kernels": one core of an AVX2 machine; two threads gave 1.82 times one, less of what
 * memory bounds. */
enum { PK_SPEEDS_BUILTIN_THREADS = 2 };
#define PK_SPEEDS(X)                                                                                                   \
    X(fma, 97.0, 194.0, "multiply-adds in registers, GFLOP/s")                                                         \
    X(read, 12.0, 20.0, "plain reading of memory, GB/s")                                                               \
    X(product_1, 15.0, 20.0, "bf16 product of 1 row, GFLOP/s")                                                         \
    X(product_8, 40.0, 70.0, "bf16 product of 8 rows, GFLOP/s")                                                        \
    X(product_64, 79.0, 145.0, "bf16 product of 64 rows, GFLOP/s")                                                     \
    X(product_512, 84.0, 155.0, "bf16 product of 512 rows, GFLOP/s")                                                   \
    X(lightning, 62.0, 113.0, "lightning prefill, GFLOP/s")                                                            \
    X(softmax, 68.0, 126.0, "softmax prefill, GFLOP/s")                                                                \
    X(softmax_read, 6.8, 10.0, "cache read by softmax decode, GB/s")                                                   \
    X(calls, 10000.0, 5000.0, "smallest operations, thousands a second")

/* One figure with one thread, and with as many as the machine has cores. */
typedef struct {
    double one, all;
} pk_speed;

typedef struct {
    uint32_t threads; /* of the `all` figures */
    bool measured;
#define X(key, one, all, words) pk_speed key;
    PK_SPEEDS(X)
#undef X
    char source[PK_SPEED_SOURCE_BYTES]; /* for people: where the figures are from */
} pk_speeds;

pk_speeds pk_speeds_builtin(void);

/* What doctor kept for this machine with this many cores, else the built-in figures; `source` says which, and why.
 * Never fails: a file that is damaged is like none. */
pk_speeds pk_speeds_read(uint32_t cores);

/* Keeps measured speeds for later. PK_IO: the folder cannot be written to, or there is no place for it. */
pk_err pk_speeds_write(const pk_speeds *speeds);

/* $XDG_CACHE_HOME/penstock/doctor.json, or below $HOME/.cache; PK_INVALID: neither variable is an absolute path. */
pk_err pk_speeds_path(char *out, size_t capacity);

/* The figure at so many threads: between and beyond the two by the loss that each further thread brings. */
double pk_speed_at(pk_speed speed, uint32_t measured_threads, uint32_t threads);

/* GFLOP/s of a product of so many rows. */
double pk_speeds_product(const pk_speeds *speeds, double rows, uint32_t threads);

#endif
