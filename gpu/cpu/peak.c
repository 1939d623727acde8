#include "gpu/peak.h"

#if defined(__x86_64__)

/* More than latency times issue width of any core so far. */
enum { CHAINS = 14 }; /* with two operands they fill the sixteen registers of AVX2 */

typedef float eight __attribute__((vector_size(32)));
typedef float sixteen __attribute__((vector_size(64)));

#define STEP(i) __asm__ volatile("vfmadd213ps %2, %1, %0" : "+v"(c##i) : "v"(a), "v"(b));
#define RUN(lanes)                                                                                                     \
    lanes zero = {0}, a = zero + 0.999f, b = zero + 1e-3f;                                                             \
    lanes c0 = zero, c1 = zero, c2 = zero, c3 = zero, c4 = zero, c5 = zero, c6 = zero, c7 = zero;                      \
    lanes c8 = zero, c9 = zero, c10 = zero, c11 = zero, c12 = zero, c13 = zero;                                        \
    for (size_t i = 0; i < steps; i++) {                                                                               \
        STEP(0) STEP(1) STEP(2) STEP(3) STEP(4) STEP(5) STEP(6) STEP(7) STEP(8) STEP(9) STEP(10) STEP(11) STEP(12)     \
        STEP(13)                                                                                                       \
    }

__attribute__((target("avx2,fma"))) static void run_avx2(size_t steps)
{
    RUN(eight)
}

__attribute__((target("avx512f"))) static void run_avx512(size_t steps)
{
    RUN(sixteen)
}

double pk_cpu_peak(size_t steps)
{
    if (__builtin_cpu_supports("avx512f")) {
        run_avx512(steps);
        return 2.0 * 16 * CHAINS * (double)steps;
    }
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
        run_avx2(steps);
        return 2.0 * 8 * CHAINS * (double)steps;
    }
    return 0;
}

#else

double pk_cpu_peak(size_t steps)
{
    (void)steps;
    return 0;
}

#endif
