/* Products with weights.
 *
 * Up to six rows, a product is bound by reading the weights: each panel is read once, front to back, several panels at
 * a time (four streams read 1.2 to 1.3 times faster than one or two), and expanded in registers. With more rows it is
 * bound by arithmetic: k is cut into blocks, a panel's block is expanded into the first-level cache once, and tiles of
 * six rows pass over it, their sums stored in y between the blocks. */
#include "gpu/cpu/avx2.h"
#include "gpu/cpu/avx2_tile.h"

#include <assert.h>

/* 32 KiB of expanded weights; prototypes with 256 reached 0.96 to 1.02 of the best library, with 512 1.0 to 1.05. */
enum { BLOCK_INPUTS = 512 };

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Panels that `rows` rows take at once: about twelve accumulators, and more than one stream. */
static size_t streams(size_t rows)
{
    return rows == 1 ? 4 : rows == 2 ? 3 : rows == 3 ? 2 : 1;
}

#define STREAM_AHEAD 2048 /* bytes */

TILE_INLINE void few_rows(const tile *t, size_t rows, size_t panels, const pk_dtype dtype, const bool masked)
{
    switch (rows * 8 + panels) {
    case 1 * 8 + 4: tile_run(t, 1, 4, dtype, false, false, STREAM_AHEAD); break;
    case 2 * 8 + 3: tile_run(t, 2, 3, dtype, false, false, STREAM_AHEAD); break;
    case 3 * 8 + 2: tile_run(t, 3, 2, dtype, false, false, STREAM_AHEAD); break;
    case 1 * 8 + 1: tile_run(t, 1, 1, dtype, masked, false, STREAM_AHEAD); break;
    case 2 * 8 + 1: tile_run(t, 2, 1, dtype, masked, false, STREAM_AHEAD); break;
    case 3 * 8 + 1: tile_run(t, 3, 1, dtype, masked, false, STREAM_AHEAD); break;
    case 4 * 8 + 1: tile_run(t, 4, 1, dtype, masked, false, STREAM_AHEAD); break;
    case 5 * 8 + 1: tile_run(t, 5, 1, dtype, masked, false, STREAM_AHEAD); break;
    case 6 * 8 + 1: tile_run(t, 6, 1, dtype, masked, false, STREAM_AHEAD); break;
    default: assert(!"a shape of streams() or one panel");
    }
}

static void few_rows_of(const tile *t, size_t rows, size_t panels, pk_dtype dtype)
{
    bool masked = t->columns < PK_PANEL;
    if (dtype == PK_F32)
        masked ? few_rows(t, rows, 1, PK_F32, true) : few_rows(t, rows, panels, PK_F32, false);
    else if (dtype == PK_BF16)
        masked ? few_rows(t, rows, 1, PK_BF16, true) : few_rows(t, rows, panels, PK_BF16, false);
    else
        masked ? few_rows(t, rows, 1, PK_F16, true) : few_rows(t, rows, panels, PK_F16, false);
}

static void matmul_few(float *y, const float *x, size_t rows, const pk_matrix *w, size_t panel, size_t panels)
{
    size_t end = panel + panels, whole = smaller(end, w->outputs / PK_PANEL), taken;
    for (; panel < end; panel += taken) {
        taken = panel + streams(rows) <= whole ? streams(rows) : 1;
        tile t = {.x = x, .x_stride = w->inputs, .count = w->inputs, .w = pk_cpu_panel(w, panel),
                  .w_stride = PK_PANEL, .w_step = w->inputs * PK_PANEL, .y = y + panel * PK_PANEL,
                  .y_stride = w->outputs, .columns = smaller(PK_PANEL, w->outputs - panel * PK_PANEL)};
        few_rows_of(&t, rows, taken, w->dtype);
    }
}

/* A panel's block of k in float32: in place if it is stored so, expanded into `to` otherwise. */
static const float *expand(float *to, const pk_matrix *w, size_t panel, size_t k, size_t count)
{
    const uint16_t *from = (const uint16_t *)pk_cpu_panel(w, panel) + k * PK_PANEL;
    if (w->dtype == PK_F32)
        return (const float *)pk_cpu_panel(w, panel) + k * PK_PANEL;
    for (size_t i = 0; i < count * PK_PANEL; i += 8) {
        __m128i half = _mm_loadu_si128((const __m128i_u *)(from + i));
        __m256 whole = w->dtype == PK_F16
                           ? _mm256_cvtph_ps(half)
                           : _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16));
        _mm256_storeu_ps(to + i, whole);
    }
    return to;
}

/* The sums of the next tile are fetched while this one is at work: they lie rows apart, out of a prefetcher's sight. */
static void fetch_sums(const float *y, size_t stride, size_t rows)
{
    for (size_t r = 0; r < rows; r++)
        _mm_prefetch((const char *)(y + r * stride), _MM_HINT_T0);
}

TILE_INLINE void many_rows_step(const tile *t, size_t rows, const bool masked)
{
    switch (rows) {
    case 1: tile_run(t, 1, 1, PK_F32, masked, false, 0); break;
    case 2: tile_run(t, 2, 1, PK_F32, masked, false, 0); break;
    case 3: tile_run(t, 3, 1, PK_F32, masked, false, 0); break;
    case 4: tile_run(t, 4, 1, PK_F32, masked, false, 0); break;
    case 5: tile_run(t, 5, 1, PK_F32, masked, false, 0); break;
    default: tile_run(t, 6, 1, PK_F32, masked, false, 0); break;
    }
}

/* All rows over one block of one panel. */
static void many_rows(tile t, size_t rows)
{
    for (size_t height; rows; rows -= height) {
        height = rows >= 2 * TILE_ROWS ? TILE_ROWS : tile_height(rows);
        fetch_sums(t.y + height * t.y_stride, t.y_stride, smaller(TILE_ROWS, rows - height));
        if (t.columns == PK_PANEL)
            many_rows_step(&t, height, false);
        else
            many_rows_step(&t, height, true);
        t.x += height * t.x_stride;
        t.y += height * t.y_stride;
    }
}

static void matmul_many(float *y, const float *x, size_t rows, const pk_matrix *w, size_t panel, size_t panels,
                        float *scratch)
{
    for (size_t k = 0, count; k < w->inputs; k += count) {
        count = smaller(BLOCK_INPUTS, w->inputs - k);
        for (size_t p = panel; p < panel + panels; p++)
            many_rows((tile){.x = x + k, .x_stride = w->inputs, .count = count, .w = expand(scratch, w, p, k, count),
                             .w_stride = PK_PANEL, .y = y + p * PK_PANEL, .y_stride = w->outputs,
                             .columns = smaller(PK_PANEL, w->outputs - p * PK_PANEL), .resume = k > 0},
                      rows);
    }
}

void pk_cpu_avx2_matmul(float *y, const float *x, size_t rows, const pk_matrix *w, size_t panel, size_t panels,
                        float *scratch)
{
    static_assert(BLOCK_INPUTS * PK_PANEL * sizeof(float) <= PK_CPU_AVX2_MATMUL_SCRATCH, "a block is expanded there");
    if (pk_dtype_is_quantised(w->dtype))
        pk_cpu_avx2_matmul_quantised(y, x, rows, w, panel, panels, scratch);
    else if (rows <= TILE_ROWS)
        matmul_few(y, x, rows, w, panel, panels);
    else
        matmul_many(y, x, rows, w, panel, panels, scratch);
}
