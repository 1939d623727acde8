/* avx2_tile.h - the one inner loop of all products: a tile of rows × panels of sixteen columns in registers.
 *
 *     y[r][c] = (resume ? y[r][c] : +0) + chain over k of x[r][k]·w[k][c], then ·scale[r]
 *
 * A register holds eight columns, never a slice of k, so each output is one chain of fused multiply-adds, k ascending,
 * whatever the tile's height. `resume` continues a chain that was stored. The functions are forced inline and called
 * with constant shape, so that each call becomes a kernel of its own: 6 × 1 panel fills the registers, and few rows
 * take several panels to have enough chains in flight (an FMA takes 4 cycles, two start in each). */
#ifndef PK_GPU_CPU_AVX2_TILE_H
#define PK_GPU_CPU_AVX2_TILE_H

#include "gpu/cpu/avx2_exp.h"
#include "gpu/cpu/kernels.h"

#define TILE_INLINE static inline __attribute__((always_inline))

enum { TILE_ROWS = 6, TILE_PANELS = 4 };

typedef struct {
    const float *x;
    size_t x_stride; /* from row to row, elements; likewise below */
    size_t count;    /* of k */
    const void *w;
    size_t w_stride; /* from k to k + 1 */
    size_t w_step;   /* from one panel of columns to the next */
    float *y;
    size_t y_stride;
    const float *scale; /* [rows], or NULL */
    size_t columns;     /* valid ones of the only panel, where the tile is `masked` */
    bool resume;
} tile;

/* Sixteen weights from element `at` on. */
TILE_INLINE void tile_weights(__m256 out[2], const void *w, size_t at, pk_dtype dtype, bool masked,
                              const __m256i mask[2])
{
    if (dtype == PK_F32) {
        const float *from = (const float *)w + at;
        out[0] = masked ? _mm256_maskload_ps(from, mask[0]) : _mm256_loadu_ps(from);
        out[1] = masked ? _mm256_maskload_ps(from + 8, mask[1]) : _mm256_loadu_ps(from + 8);
        return;
    }
    const uint16_t *from = (const uint16_t *)w + at;
    __m128i low = _mm_loadu_si128((const __m128i_u *)from), high = _mm_loadu_si128((const __m128i_u *)(from + 8));
    if (dtype == PK_F16) {
        out[0] = _mm256_cvtph_ps(low);
        out[1] = _mm256_cvtph_ps(high);
    } else {
        out[0] = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(low), 16));
        out[1] = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(high), 16));
    }
}

/* diagonal: row r has r more terms than row 0, which has `count`. Their chains are bounded, not masked: zero times
 * infinity would carry a later row into an earlier one. prefetch: bytes ahead in each panel's stream, 0 for none. */
TILE_INLINE void tile_run(const tile *t, const unsigned rows, const unsigned panels, const pk_dtype dtype,
                          const bool masked, const bool diagonal, const size_t prefetch)
{
    __m256 acc[TILE_ROWS][2 * TILE_PANELS], w[2];
    const __m256i mask[2] = {first_lanes(t->columns), first_lanes(t->columns > 8 ? t->columns - 8 : 0)};
    const float *x = t->x;
    const size_t x_stride = t->x_stride, w_stride = t->w_stride, count = t->count;
#pragma GCC unroll 6
    for (unsigned r = 0; r < rows; r++)
#pragma GCC unroll 8
        for (unsigned c = 0; c < 2 * panels; c++) {
            const float *y = t->y + r * t->y_stride + c * 8;
            acc[r][c] = _mm256_setzero_ps();
            if (t->resume)
                acc[r][c] = masked ? _mm256_maskload_ps(y, mask[c & 1]) : _mm256_loadu_ps(y);
        }
    for (size_t k = 0; k < count; k++) {
#pragma GCC unroll 4
        for (unsigned panel = 0; panel < panels; panel++) {
            const size_t at = k * w_stride + panel * t->w_step;
            tile_weights(w, t->w, at, dtype, masked, mask);
            if (prefetch)
                _mm_prefetch((const char *)t->w + at * (dtype == PK_F32 ? 4 : 2) + prefetch, _MM_HINT_T0);
#pragma GCC unroll 6
            for (unsigned r = 0; r < rows; r++) {
                const __m256 value = _mm256_broadcast_ss(x + r * x_stride + k);
                acc[r][2 * panel] = _mm256_fmadd_ps(value, w[0], acc[r][2 * panel]);
                acc[r][2 * panel + 1] = _mm256_fmadd_ps(value, w[1], acc[r][2 * panel + 1]);
            }
        }
    }
    if (diagonal) {
#pragma GCC unroll 6
        for (unsigned k = 0; k + 1 < rows; k++)
#pragma GCC unroll 4
            for (unsigned panel = 0; panel < panels; panel++) {
                tile_weights(w, t->w, (count + k) * w_stride + panel * t->w_step, dtype, masked, mask);
#pragma GCC unroll 6
                for (unsigned r = k + 1; r < rows; r++) {
                    const __m256 value = _mm256_broadcast_ss(x + r * x_stride + count + k);
                    acc[r][2 * panel] = _mm256_fmadd_ps(value, w[0], acc[r][2 * panel]);
                    acc[r][2 * panel + 1] = _mm256_fmadd_ps(value, w[1], acc[r][2 * panel + 1]);
                }
            }
    }
#pragma GCC unroll 6
    for (unsigned r = 0; r < rows; r++)
#pragma GCC unroll 8
        for (unsigned c = 0; c < 2 * panels; c++) {
            float *y = t->y + r * t->y_stride + c * 8;
            if (t->scale)
                acc[r][c] = _mm256_mul_ps(acc[r][c], _mm256_set1_ps(t->scale[r]));
            if (masked)
                _mm256_maskstore_ps(y, mask[c & 1], acc[r][c]);
            else
                _mm256_storeu_ps(y, acc[r][c]);
        }
}

/* Rows of the next tile when `rows` are left: as even as they go, 8 being 4 + 4 and not 6 + 2. */
static inline size_t tile_height(size_t rows)
{
    size_t tiles = (rows + TILE_ROWS - 1) / TILE_ROWS;
    return (rows + tiles - 1) / tiles;
}

#endif
