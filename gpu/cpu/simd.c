/* The kernels of AVX2 and of AVX-512: elementwise work, norms, and the table. */
#include "gpu/cpu/simd.h"
#include "gpu/cpu/simd_exp.h"

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
#define MATMUL PK_SIMD(matmul)
#endif
#ifdef PK_FAULT_MASK_ZERO
#define LIGHTNING pk_cpu_plain_lightning
#define SOFTMAX pk_cpu_plain_softmax
#else
#define LIGHTNING PK_SIMD(lightning)
#define SOFTMAX PK_SIMD(softmax)
#endif

const pk_cpu_kernels PK_SIMD(kernels) = {
    .name = PK_SIMD_NAME,
    .matmul_scratch = PK_SIMD_MATMUL_SCRATCH,
    .matmul = MATMUL,
    .rmsnorm = rmsnorm,
    .silu = silu,
    .swiglu = swiglu,
    .gate = gate,
    .lightning_scratch = PK_SIMD(lightning_scratch),
    .lightning = LIGHTNING,
    .lightning_state = PK_SIMD(lightning_state),
    .softmax_scratch = PK_SIMD(softmax_scratch),
    .softmax = SOFTMAX,
};
