/* The AVX2 kernels: elementwise work, norms, packing, and the table. */
#include "gpu/cpu/avx2.h"
#include "gpu/cpu/avx2_exp.h"

/* One step of eight for the tail too: lanes past the end are loaded as zero and not stored. */
#define ELEMENTS(expression)                                                                                           \
    for (size_t i = 0; i < count; i += 8) {                                                                            \
        const __m256i valid = first_lanes(count - i);                                                                  \
        const __m256 a = _mm256_maskload_ps(x + i, valid);                                                             \
        _mm256_maskstore_ps(x + i, valid, expression);                                                                 \
    }

static void silu(float *x, size_t count)
{
    ELEMENTS(silu8(a))
}

static void swiglu(float *x, const float *up, size_t count)
{
    ELEMENTS(_mm256_mul_ps(silu8(a), _mm256_maskload_ps(up + i, valid)))
}

static void gate(float *x, const float *by, size_t count)
{
    ELEMENTS(_mm256_mul_ps(sigmoid8(_mm256_maskload_ps(by + i, valid)), a))
}

static float tree_of_squares(const float *x, size_t count)
{
    __m256 low = _mm256_setzero_ps(), high = _mm256_setzero_ps();
    size_t i = 0;
    for (; i + 16 <= count; i += 16) {
        __m256 a = _mm256_loadu_ps(x + i), b = _mm256_loadu_ps(x + i + 8);
        low = _mm256_fmadd_ps(a, a, low);
        high = _mm256_fmadd_ps(b, b, high);
    }
    /* Absent values are zeros here: fma(0, 0, lane) leaves a sum of squares as it is. */
    if (i < count) {
        __m256 a = _mm256_maskload_ps(x + i, first_lanes(count - i));
        low = _mm256_fmadd_ps(a, a, low);
    }
    if (i + 8 < count) {
        __m256 b = _mm256_maskload_ps(x + i + 8, first_lanes(count - i - 8));
        high = _mm256_fmadd_ps(b, b, high);
    }
    return fold16(low, high);
}

static void rmsnorm(float *y, const float *x, const float *w, size_t rows, size_t width, float eps)
{
    for (size_t row = 0; row < rows; row++, x += width, y += width) {
        float r = 1.0f / sqrtf(tree_of_squares(x, width) / (float)width + eps);
        for (size_t i = 0; i < width; i++)
            y[i] = w[i] * (x[i] * r);
    }
}

/* A broken build of the plain kernels (see plain.c) must be what runs, whatever the processor. */
#ifdef PK_FAULT_SPLIT_K
#define MATMUL pk_cpu_plain_matmul
#else
#define MATMUL pk_cpu_avx2_matmul
#endif
#ifdef PK_FAULT_MASK_ZERO
#define LIGHTNING pk_cpu_plain_lightning
#define SOFTMAX pk_cpu_plain_softmax
#else
#define LIGHTNING pk_cpu_avx2_lightning
#define SOFTMAX pk_cpu_avx2_softmax
#endif

const pk_cpu_kernels pk_cpu_avx2 = {
    .name = "cpu:avx2",
    .pack = pk_cpu_plain_pack,
    .matmul_scratch = PK_CPU_AVX2_MATMUL_SCRATCH,
    .matmul = MATMUL,
    .rmsnorm = rmsnorm,
    .silu = silu,
    .swiglu = swiglu,
    .gate = gate,
    .lightning_scratch = pk_cpu_avx2_lightning_scratch,
    .lightning = LIGHTNING,
    .lightning_state = pk_cpu_avx2_lightning_state,
    .softmax_scratch = pk_cpu_avx2_softmax_scratch,
    .softmax = SOFTMAX,
};
