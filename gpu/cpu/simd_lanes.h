/* simd_lanes.h - sixteen columns of float32 side by side: one register of AVX-512, two of AVX2.
 *
 * The files simd*.c are compiled once for each of the two (gpu/CMakeLists.txt); what they compute is the same, lane by
 * lane, and so are the bits. What differs between the two stands here, and how large a tile the registers hold. */
#ifndef PK_GPU_CPU_SIMD_LANES_H
#define PK_GPU_CPU_SIMD_LANES_H

#include "gpu/cpu/kernels.h"

#include <immintrin.h>

#define LANES_INLINE static inline __attribute__((always_inline))

#ifdef __AVX512F__

#define PK_SIMD(name) pk_cpu_avx512_##name
#define PK_SIMD_NAME "cpu:avx512"

typedef __m512 lanes;
typedef __mmask16 lane_mask;

LANES_INLINE lane_mask lanes_first(size_t count) /* the first `count`; all from sixteen on */
{
    return (lane_mask)(count < 16 ? (1u << count) - 1 : 0xffffu);
}

LANES_INLINE lanes lanes_zero(void)
{
    return _mm512_setzero_ps();
}

LANES_INLINE lanes lanes_load(const float *from)
{
    return _mm512_loadu_ps(from);
}

LANES_INLINE lanes lanes_load_some(const float *from, lane_mask mask)
{
    return _mm512_maskz_loadu_ps(mask, from);
}

LANES_INLINE void lanes_store(float *to, lanes a)
{
    _mm512_storeu_ps(to, a);
}

LANES_INLINE void lanes_store_some(float *to, lane_mask mask, lanes a)
{
    _mm512_mask_storeu_ps(to, mask, a);
}

LANES_INLINE lanes lanes_all(float value)
{
    return _mm512_set1_ps(value);
}

LANES_INLINE lanes lanes_fma(lanes a, lanes b, lanes c)
{
    return _mm512_fmadd_ps(a, b, c);
}

LANES_INLINE lanes lanes_mul(lanes a, lanes b)
{
    return _mm512_mul_ps(a, b);
}

LANES_INLINE lanes lanes_of_bf16(const uint16_t *from)
{
    __m256i bits = _mm256_loadu_si256((const __m256i_u *)from);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
}

LANES_INLINE lanes lanes_of_f16(const uint16_t *from)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i_u *)from));
}

LANES_INLINE lanes lanes_of_i8(const int8_t *from)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i_u *)from)));
}

/* The low halves of sixteen bytes, or the high ones, less 8: a permutation looks at four bits of its index. */
LANES_INLINE lanes lanes_of_i4(const uint8_t *from, bool high)
{
    const __m512 value = _mm512_setr_ps(-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7);
    __m512i pair = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i_u *)from));
    return _mm512_permutexvar_ps(high ? _mm512_srli_epi32(pair, 4) : pair, value);
}

/* Rows of the largest tile, panels that it takes at once, and panels that 1, 2, … rows take: about sixteen
 * accumulators, and four streams of weights where there is but a row. */
enum { TILE_ROWS = 12, TILE_PANELS = 2, TILE_UNROLL = 2 };
#define TILE_STREAMS(rows) ((rows) <= 4 ? 4 : (rows) <= 6 ? 3 : 2)

#else

#define PK_SIMD(name) pk_cpu_avx2_##name
#define PK_SIMD_NAME "cpu:avx2"

typedef struct {
    __m256 low, high;
} lanes;
typedef struct {
    __m256i low, high;
} lane_mask;

LANES_INLINE lane_mask lanes_first(size_t count)
{
    const __m256i index = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), eight = _mm256_set1_epi32(8);
    const __m256i end = _mm256_set1_epi32((int)(count < 16 ? count : 16));
    return (lane_mask){_mm256_cmpgt_epi32(end, index), _mm256_cmpgt_epi32(_mm256_sub_epi32(end, eight), index)};
}

LANES_INLINE lanes lanes_zero(void)
{
    return (lanes){_mm256_setzero_ps(), _mm256_setzero_ps()};
}

LANES_INLINE lanes lanes_load(const float *from)
{
    return (lanes){_mm256_loadu_ps(from), _mm256_loadu_ps(from + 8)};
}

LANES_INLINE lanes lanes_load_some(const float *from, lane_mask mask)
{
    return (lanes){_mm256_maskload_ps(from, mask.low), _mm256_maskload_ps(from + 8, mask.high)};
}

LANES_INLINE void lanes_store(float *to, lanes a)
{
    _mm256_storeu_ps(to, a.low);
    _mm256_storeu_ps(to + 8, a.high);
}

LANES_INLINE void lanes_store_some(float *to, lane_mask mask, lanes a)
{
    _mm256_maskstore_ps(to, mask.low, a.low);
    _mm256_maskstore_ps(to + 8, mask.high, a.high);
}

LANES_INLINE lanes lanes_all(float value)
{
    __m256 all = _mm256_set1_ps(value);
    return (lanes){all, all};
}

LANES_INLINE lanes lanes_fma(lanes a, lanes b, lanes c)
{
    return (lanes){_mm256_fmadd_ps(a.low, b.low, c.low), _mm256_fmadd_ps(a.high, b.high, c.high)};
}

LANES_INLINE lanes lanes_mul(lanes a, lanes b)
{
    return (lanes){_mm256_mul_ps(a.low, b.low), _mm256_mul_ps(a.high, b.high)};
}

LANES_INLINE __m256 eight_of_bf16(const uint16_t *from)
{
    __m128i bits = _mm_loadu_si128((const __m128i_u *)from);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
}

LANES_INLINE lanes lanes_of_bf16(const uint16_t *from)
{
    return (lanes){eight_of_bf16(from), eight_of_bf16(from + 8)};
}

LANES_INLINE lanes lanes_of_f16(const uint16_t *from)
{
    return (lanes){_mm256_cvtph_ps(_mm_loadu_si128((const __m128i_u *)from)),
                   _mm256_cvtph_ps(_mm_loadu_si128((const __m128i_u *)(from + 8)))};
}

LANES_INLINE lanes lanes_of_i8(const int8_t *from)
{
    __m128i bytes = _mm_loadu_si128((const __m128i_u *)from);
    return (lanes){_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes)),
                   _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(bytes, 8)))};
}

/* The low halves of sixteen bytes, or the high ones, less 8. */
LANES_INLINE lanes lanes_of_i4(const uint8_t *from, bool high)
{
    __m128i pair = _mm_loadu_si128((const __m128i_u *)from);
    __m128i half = _mm_and_si128(high ? _mm_srli_epi16(pair, 4) : pair, _mm_set1_epi8(15));
    __m128i value = _mm_sub_epi8(half, _mm_set1_epi8(8));
    return (lanes){_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(value)),
                   _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(value, 8)))};
}

/* As above: an FMA takes 4 cycles and two start in each, so twelve accumulators of eight lanes are enough. */
enum { TILE_ROWS = 6, TILE_PANELS = 1, TILE_UNROLL = 1 };
#define TILE_STREAMS(rows) ((rows) == 1 ? 4 : (rows) == 2 ? 3 : (rows) == 3 ? 2 : 1)

#endif

#endif
