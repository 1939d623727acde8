/* probe.h - what this machine can do, measured: the program penstock-probe, which `penstock doctor` and the benchmarks
 * ask.
 *
 *     penstock-probe limits THREADS      {"fma_gflops": …, "read_gbs": …}: arithmetic in registers, a plain read loop
 *     penstock-probe speeds THREADS      the kernels themselves, {"device": …, "speeds": {key: value, …}}; keys are
 * those of pipeline/speeds.h penstock-probe accelerators        GPUs, driver and NCCL, by dlopen: nothing is linked
 *
 * A program of its own, so that kernels and drivers stay out of `penstock`, and a crash in them too. Each answer is one
 * JSON object on standard output and takes about a second; what fails is said on standard error, with exit status 1. */
#ifndef PK_STAGES_PROBE_H
#define PK_STAGES_PROBE_H

#include "ipc/error.h"

enum { PK_PROBE_THREADS_MAX = 1024 };

/* All cores at work at once. fma_gflops is 0 where there are no 256-bit multiply-adds. PK_NOMEM. */
typedef struct {
    double fma_gflops, read_gbs;
} pk_probe_limits;
pk_err pk_probe_measure_limits(pk_probe_limits *out, unsigned threads);

/* Each prints its answer. */
pk_err pk_probe_print_speeds(unsigned threads);
pk_err pk_probe_print_accelerators(void);

#endif
