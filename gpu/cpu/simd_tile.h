/* simd_tile.h - the one inner loop of all products: a tile of rows × panels of sixteen columns in registers.
 *
 *     y[r][c] = (resume ? y[r][c] : +0) + chain over k of x[r][k]·w[k][c], then ·scale[r]
 *
 * A lane is a column, never a slice of k, so each output is one chain of fused multiply-adds, k ascending, whatever the
 * tile's height. `resume` continues a chain that was stored. Weights in groups: a chain for each group from +0, whose sum
 * is chained into y with the group's scale. The functions are forced inline and called with constant shape, so that
 * each call becomes a kernel of its own. */
#ifndef PK_GPU_CPU_SIMD_TILE_H
#define PK_GPU_CPU_SIMD_TILE_H

#include "gpu/cpu/simd_lanes.h"

typedef struct {
    const float *x;
    size_t x_stride; /* from row to row, elements; likewise below */
    size_t count;    /* of k */
    const void *w;
    size_t w_stride; /* from k to k + 1 */
    size_t w_step;   /* from one panel of columns to the next, bytes */
    float *y;
    size_t y_stride;
    const float *scale; /* [rows], or NULL */
    size_t columns;     /* of the only panel, where they are less than sixteen */
    bool resume;
    /* Grouped: the scales of the first group, in bytes the way to the next one's, and from one panel's to the next's. */
    const char *group_scales;
    size_t group_step, group_w_step;
} tile;

typedef enum {
    TILE_PLAIN,
    TILE_BOUNDED,  /* w has no lanes behind the last column: they are not read */
    TILE_DIAGONAL, /* row r has r more terms than row 0, which has `count` */
    TILE_BOUNDED_DIAGONAL,
    TILE_GROUPED, /* integers of the stored type, or expanded ones */
} tile_kind;

/* The weights of input k from `w` on. */
LANES_INLINE lanes tile_weights(const char *w, size_t k, size_t stride, pk_dtype dtype, bool bounded, lane_mask mask)
{
    switch (dtype) {
    case PK_BF16: return lanes_of_bf16((const uint16_t *)w + k * stride);
    case PK_F16: return lanes_of_f16((const uint16_t *)w + k * stride);
    case PK_I8: return lanes_of_i8((const int8_t *)w + k * stride);
    case PK_I4: return lanes_of_i4((const uint8_t *)w + k / 2 * stride, k % 2);
    default: break;
    }
    const float *from = (const float *)w + k * stride;
    return bounded ? lanes_load_some(from, mask) : lanes_load(from);
}

LANES_INLINE void tile_load(lanes *acc, const tile *t, unsigned rows, unsigned panels, lane_mask mask)
{
#pragma GCC unroll 12
    for (unsigned r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (unsigned c = 0; c < panels; c++) {
            const float *y = t->y + r * t->y_stride + c * PK_PANEL;
            acc[r * panels + c] = panels == 1 && t->columns < PK_PANEL ? lanes_load_some(y, mask) : lanes_load(y);
        }
}

LANES_INLINE void tile_store(const lanes *acc, const tile *t, unsigned rows, unsigned panels, lane_mask mask)
{
#pragma GCC unroll 12
    for (unsigned r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (unsigned c = 0; c < panels; c++) {
            float *y = t->y + r * t->y_stride + c * PK_PANEL;
            if (panels == 1 && t->columns < PK_PANEL)
                lanes_store_some(y, mask, acc[r * panels + c]);
            else
                lanes_store(y, acc[r * panels + c]);
        }
}

/* acc += the terms of inputs [first, end) for rows [from, rows). */
LANES_INLINE void tile_chain(lanes *acc, const tile *t, const char *w, const float *x, size_t end, unsigned from,
                             unsigned rows, unsigned panels, pk_dtype dtype, bool bounded, size_t prefetch,
                             lane_mask mask)
{
    const size_t x_stride = t->x_stride, w_stride = t->w_stride, w_step = t->w_step;
#pragma GCC unroll TILE_UNROLL
    for (size_t k = 0; k < end; k++) {
        lanes weights[4];
#pragma GCC unroll 4
        for (unsigned c = 0; c < panels; c++) {
            weights[c] = tile_weights(w + c * w_step, k, w_stride, dtype, bounded, mask);
            if (prefetch)
                _mm_prefetch(w + c * w_step + (dtype == PK_I4 ? k / 2 * w_stride : k * w_stride * pk_dtype_bytes(dtype)) + prefetch,
                             _MM_HINT_T0);
        }
#pragma GCC unroll 12
        for (unsigned r = from; r < rows; r++) {
            const lanes value = lanes_all(x[r * x_stride + k]);
#pragma GCC unroll 4
            for (unsigned c = 0; c < panels; c++)
                acc[r * panels + c] = lanes_fma(value, weights[c], acc[r * panels + c]);
        }
    }
}

/* Each group of inputs: its chain, then y = fma(sum, scale, y). */
LANES_INLINE void tile_groups(const tile *t, unsigned rows, unsigned panels, pk_dtype dtype, size_t prefetch,
                              lane_mask mask)
{
    const char *w = t->w;
    const size_t step = dtype == PK_F32 ? PK_GROUP * PK_PANEL * sizeof(float) : t->group_step;
    lanes acc[TILE_ROWS * TILE_PANELS > 12 ? TILE_ROWS * TILE_PANELS : 16], sum[sizeof acc / sizeof *acc];
    for (size_t k = 0, group = 0; k < t->count; k += PK_GROUP, group++, w += step) {
        const size_t left = t->count - k, inputs = left < PK_GROUP ? left : PK_GROUP;
#pragma GCC unroll 24
        for (unsigned i = 0; i < rows * panels; i++) {
            sum[i] = lanes_zero();
            acc[i] = lanes_zero();
        }
        tile_chain(sum, t, w, t->x + k, inputs, 0, rows, panels, dtype, false, prefetch, mask);
        if (t->resume || k)
            tile_load(acc, t, rows, panels, mask);
#pragma GCC unroll 4
        for (unsigned c = 0; c < panels; c++) {
            const lanes scales = lanes_load((const float *)(t->group_scales + group * t->group_step + c * t->group_w_step));
#pragma GCC unroll 12
            for (unsigned r = 0; r < rows; r++)
                acc[r * panels + c] = lanes_fma(sum[r * panels + c], scales, acc[r * panels + c]);
        }
        tile_store(acc, t, rows, panels, mask);
    }
}

/* Diagonal chains are bounded, not masked: zero times infinity would carry a later row into an earlier one.
 * prefetch: bytes ahead in each panel's stream, 0 for none. */
LANES_INLINE void tile_run(const tile *t, const unsigned rows, const unsigned panels, const pk_dtype dtype,
                           const tile_kind kind, const size_t prefetch)
{
    const bool bounded = kind == TILE_BOUNDED || kind == TILE_BOUNDED_DIAGONAL;
    const lane_mask mask = lanes_first(t->columns);
    if (kind == TILE_GROUPED) {
        tile_groups(t, rows, panels, dtype, prefetch, mask);
        return;
    }
    lanes acc[TILE_ROWS * TILE_PANELS > 12 ? TILE_ROWS * TILE_PANELS : 16];
#pragma GCC unroll 24
    for (unsigned i = 0; i < rows * panels; i++)
        acc[i] = lanes_zero();
    if (t->resume)
        tile_load(acc, t, rows, panels, mask);
    tile_chain(acc, t, t->w, t->x, t->count, 0, rows, panels, dtype, bounded, prefetch, mask);
    if (kind == TILE_DIAGONAL || kind == TILE_BOUNDED_DIAGONAL) {
#pragma GCC unroll 12
        for (unsigned k = 0; k + 1 < rows; k++)
            tile_chain(acc, t, (const char *)((const float *)t->w + (t->count + k) * t->w_stride), t->x + t->count + k,
                       1, k + 1, rows, panels, dtype, bounded, 0, mask);
    }
    if (t->scale) {
#pragma GCC unroll 12
        for (unsigned r = 0; r < rows; r++)
#pragma GCC unroll 4
            for (unsigned c = 0; c < panels; c++)
                acc[r * panels + c] = lanes_mul(acc[r * panels + c], lanes_all(t->scale[r]));
    }
    tile_store(acc, t, rows, panels, mask);
}

/* A tile of any height up to TILE_ROWS. */
#define TILE_CASE(n)                                                                                                   \
    case n: tile_run(t, n, panels, dtype, kind, 0); break;
LANES_INLINE void tile_rows(const tile *t, size_t rows, const unsigned panels, const pk_dtype dtype, const tile_kind kind)
{
    switch (rows) {
        TILE_CASE(1) TILE_CASE(2) TILE_CASE(3) TILE_CASE(4) TILE_CASE(5)
#ifdef __AVX512F__
        TILE_CASE(6) TILE_CASE(7) TILE_CASE(8) TILE_CASE(9) TILE_CASE(10) TILE_CASE(11)
#endif
    default: tile_run(t, TILE_ROWS, panels, dtype, kind, 0); break;
    }
}
#undef TILE_CASE

/* Rows of the next tile when `rows` are left: as even as they go, 8 being 4 + 4 and not 6 + 2. */
static inline size_t tile_height(size_t rows)
{
    size_t tiles = (rows + TILE_ROWS - 1) / TILE_ROWS;
    return rows >= 2 * TILE_ROWS ? TILE_ROWS : (rows + tiles - 1) / tiles;
}

#endif
