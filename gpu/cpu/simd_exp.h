/* simd_exp.h - exp, sigmoid and silu of gpu/math.h, eight at a time, step by step the same and so with the same bits. */
#ifndef PK_GPU_CPU_SIMD_EXP_H
#define PK_GPU_CPU_SIMD_EXP_H

#include "gpu/math.h"

#include <immintrin.h>

static inline __m256 exp8(__m256 x)
{
    const __m256 magic = _mm256_set1_ps(PK_EXPF_MAGIC);
    /* Minimum and maximum answer their second operand when either is NaN. */
    x = _mm256_min_ps(_mm256_set1_ps(PK_EXPF_HIGH), x);
    x = _mm256_max_ps(_mm256_set1_ps(PK_EXPF_LOW), x);
    __m256 shifted = _mm256_fmadd_ps(x, _mm256_set1_ps(PK_EXPF_LOG2E), magic);
    __m256 n = _mm256_sub_ps(shifted, magic);
    __m256 r = _mm256_fnmadd_ps(n, _mm256_set1_ps(PK_EXPF_LN2_HIGH), x);
    r = _mm256_fnmadd_ps(n, _mm256_set1_ps(PK_EXPF_LN2_LOW), r);
    __m256 q = _mm256_fmadd_ps(_mm256_set1_ps(PK_EXPF_Q5), r, _mm256_set1_ps(PK_EXPF_Q4));
    q = _mm256_fmadd_ps(q, r, _mm256_set1_ps(PK_EXPF_Q3));
    q = _mm256_fmadd_ps(q, r, _mm256_set1_ps(PK_EXPF_Q2));
    q = _mm256_fmadd_ps(q, r, _mm256_set1_ps(PK_EXPF_Q1));
    q = _mm256_fmadd_ps(q, r, _mm256_set1_ps(PK_EXPF_Q0));
    __m256 power = _mm256_add_ps(_mm256_fmadd_ps(q, _mm256_mul_ps(r, r), r), _mm256_set1_ps(1.0f));
    __m256i exponent = _mm256_sub_epi32(_mm256_castps_si256(shifted), _mm256_castps_si256(magic));
    __m256i half = _mm256_srai_epi32(exponent, 1), rest = _mm256_sub_epi32(exponent, half);
    const __m256i bias = _mm256_set1_epi32(127);
    half = _mm256_slli_epi32(_mm256_add_epi32(half, bias), 23);
    rest = _mm256_slli_epi32(_mm256_add_epi32(rest, bias), 23);
    return _mm256_mul_ps(_mm256_mul_ps(power, _mm256_castsi256_ps(half)), _mm256_castsi256_ps(rest));
}

static inline __m256 sigmoid8(__m256 x)
{
    const __m256 one = _mm256_set1_ps(1.0f);
    __m256 negative = _mm256_xor_ps(x, _mm256_set1_ps(-0.0f));
    return _mm256_div_ps(one, _mm256_add_ps(one, exp8(negative)));
}

static inline __m256 silu8(__m256 x)
{
    return _mm256_mul_ps(x, sigmoid8(x));
}

/* The sixteen lanes of a row reduction, folded as numerics.md says: 8, 4, 2, 1. */
static inline float fold16(__m256 low, __m256 high)
{
    __m256 eight = _mm256_add_ps(low, high);
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

/* The first `count` of eight lanes; all of them from 8 on. */
static inline __m256i first_lanes(size_t count)
{
    const __m256i index = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)(count < 8 ? count : 8)), index);
}

#endif
