/* Products with weights.
 *
 * A few rows make a product that is bound by reading the weights: each panel is read once, front to back, several
 * panels at a time (four streams read 1.2 to 1.3 times faster than one or two), and expanded in registers. With more
 * rows it is bound by arithmetic: k is cut into blocks, the block of a panel or two is expanded into the first-level
 * cache once, and the tallest tiles pass over it, their sums stored in y between the blocks. */
#include "gpu/cpu/simd.h"
#include "gpu/cpu/simd_tile.h"

#include <assert.h>

/* 32 KiB of expanded weights, and whole groups of them. */
enum { BLOCK_INPUTS = 512 / TILE_PANELS };

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

#define STREAM_AHEAD 2048 /* bytes */

static tile tile_of(float *y, const float *x, const pk_matrix *w, size_t panel)
{
    size_t panel_bytes = pk_cpu_panel_bytes(w->dtype, w->inputs);
    const char *at = pk_cpu_panel(w, panel);
    tile t = {.x = x, .x_stride = w->inputs, .count = w->inputs, .w = at, .w_stride = PK_PANEL, .w_step = panel_bytes,
              .y = y + panel * PK_PANEL, .y_stride = w->outputs,
              .columns = smaller(PK_PANEL, w->outputs - panel * PK_PANEL)};
    if (pk_dtype_is_quantised(w->dtype)) {
        t.w = at + PK_SCALES_BYTES;
        t.group_scales = at;
        t.group_step = pk_cpu_panel_bytes(w->dtype, PK_GROUP);
        t.group_w_step = panel_bytes;
    }
    return t;
}

/* All rows over one panel, or over as many as so few rows take at once. */
#define FEW_CASE(n)                                                                                                    \
    case n:                                                                                                            \
        if (panels > 1)                                                                                                \
            tile_run(t, n, TILE_STREAMS(n), dtype, kind, STREAM_AHEAD);                                                \
        else                                                                                                           \
            tile_run(t, n, 1, dtype, kind, STREAM_AHEAD);                                                              \
        break;
LANES_INLINE void few_rows(const tile *t, size_t rows, size_t panels, const pk_dtype dtype)
{
    const tile_kind kind = pk_dtype_is_quantised(dtype) ? TILE_GROUPED : TILE_PLAIN;
    switch (rows) {
        FEW_CASE(1) FEW_CASE(2) FEW_CASE(3) FEW_CASE(4) FEW_CASE(5) FEW_CASE(6)
#ifdef __AVX512F__
        FEW_CASE(7) FEW_CASE(8) FEW_CASE(9) FEW_CASE(10) FEW_CASE(11) FEW_CASE(12)
#endif
    default: assert(!"at most TILE_ROWS");
    }
}
#undef FEW_CASE

static void few_rows_of(const tile *t, size_t rows, size_t panels, pk_dtype dtype)
{
    switch (dtype) {
    case PK_F32: few_rows(t, rows, panels, PK_F32); break;
    case PK_BF16: few_rows(t, rows, panels, PK_BF16); break;
    case PK_F16: few_rows(t, rows, panels, PK_F16); break;
    case PK_I8: few_rows(t, rows, panels, PK_I8); break;
    case PK_I4: few_rows(t, rows, panels, PK_I4); break;
    default: assert(!"a type of weights");
    }
}

static void matmul_few(float *y, const float *x, size_t rows, const pk_matrix *w, size_t panel, size_t panels)
{
    size_t end = panel + panels, whole = smaller(end, w->outputs / PK_PANEL), taken;
    for (; panel < end; panel += taken) {
        taken = panel + TILE_STREAMS(rows) <= whole ? TILE_STREAMS(rows) : 1;
        tile t = tile_of(y, x, w, panel);
        few_rows_of(&t, rows, taken, w->dtype);
    }
}

LANES_INLINE void expand_rows(float *to, const char *from, size_t count, const pk_dtype dtype)
{
    for (size_t k = 0; k < count; k++)
        lanes_store(to + k * PK_PANEL, tile_weights(from, k, PK_PANEL, dtype, false, lanes_first(PK_PANEL)));
}

static void expand_groups(float *to, const pk_matrix *w, size_t panel, size_t k, size_t count)
{
    for (size_t group, inputs; count; k += inputs, count -= inputs, to += inputs * PK_PANEL) {
        group = k / PK_GROUP;
        inputs = smaller(PK_GROUP, count);
        const char *from = (const char *)pk_cpu_group(w, panel, group) + PK_SCALES_BYTES;
        if (w->dtype == PK_I8)
            expand_rows(to, from, inputs, PK_I8);
        else
            expand_rows(to, from, inputs, PK_I4);
    }
}

/* A panel's block of k, in float32, into `to`. */
static void expand(float *to, const pk_matrix *w, size_t panel, size_t k, size_t count)
{
    const char *from = (const char *)pk_cpu_panel(w, panel) + pk_cpu_panel_rows_bytes(w->dtype, k);
    if (pk_dtype_is_quantised(w->dtype))
        expand_groups(to, w, panel, k, count);
    else if (w->dtype == PK_BF16)
        expand_rows(to, from, count, PK_BF16);
    else
        expand_rows(to, from, count, PK_F16);
}

/* The sums of the next tile are fetched while this one is at work: they lie rows apart, out of a prefetcher's sight. */
static void fetch_sums(const float *y, size_t stride, size_t rows)
{
    for (size_t r = 0; r < rows; r++)
        _mm_prefetch((const char *)(y + r * stride), _MM_HINT_T0);
}

static void many_rows_step(const tile *t, size_t rows, size_t panels)
{
    if (t->group_scales && panels == TILE_PANELS)
        tile_rows(t, rows, TILE_PANELS, PK_F32, TILE_GROUPED);
    else if (t->group_scales)
        tile_rows(t, rows, 1, PK_F32, TILE_GROUPED);
    else if (panels == TILE_PANELS)
        tile_rows(t, rows, TILE_PANELS, PK_F32, TILE_PLAIN);
    else
        tile_rows(t, rows, 1, PK_F32, TILE_PLAIN);
}

/* All rows over one block of one panel, or of TILE_PANELS. */
static void many_rows(tile t, size_t rows, size_t panels)
{
    for (size_t height; rows; rows -= height) {
        height = tile_height(rows);
        for (size_t c = 0; c < panels; c++)
            fetch_sums(t.y + height * t.y_stride + c * PK_PANEL, t.y_stride, smaller(TILE_ROWS, rows - height));
        many_rows_step(&t, height, panels);
        t.x += height * t.x_stride;
        t.y += height * t.y_stride;
    }
}

/* The tile of inputs [k, k + count) and of `panels` panels, its weights in float32: in place if they are stored so. */
static tile block_of(float *y, const float *x, const pk_matrix *w, size_t panel, size_t panels, size_t k, size_t count,
                     float *scratch)
{
    tile t = tile_of(y, x + k, w, panel);
    t.count = count;
    t.resume = k > 0;
    if (w->dtype == PK_F32) {
        t.w = (const float *)t.w + k * PK_PANEL;
        return t;
    }
    for (size_t c = 0; c < panels; c++)
        expand(scratch + c * BLOCK_INPUTS * PK_PANEL, w, panel + c, k, count);
    t.w = scratch;
    t.w_step = BLOCK_INPUTS * PK_PANEL * sizeof *scratch;
    if (t.group_scales)
        t.group_scales = (const char *)pk_cpu_group(w, panel, k / PK_GROUP);
    return t;
}

static void matmul_many(float *y, const float *x, size_t rows, const pk_matrix *w, size_t panel, size_t panels,
                        float *scratch)
{
    static_assert(BLOCK_INPUTS % PK_GROUP == 0, "a block holds whole groups");
    size_t end = panel + panels, whole = smaller(end, w->outputs / PK_PANEL);
    for (size_t k = 0, count; k < w->inputs; k += count) {
        count = smaller(BLOCK_INPUTS, w->inputs - k);
        for (size_t p = panel, taken; p < end; p += taken) {
            taken = p + TILE_PANELS <= whole ? TILE_PANELS : 1;
            many_rows(block_of(y, x, w, p, taken, k, count, scratch), rows, taken);
        }
    }
}

void PK_SIMD(matmul)(float *y, const float *x, size_t rows, const pk_matrix *w, size_t panel, size_t panels,
                     float *scratch)
{
    static_assert(TILE_PANELS * BLOCK_INPUTS * PK_PANEL * sizeof(float) <= PK_SIMD_MATMUL_SCRATCH,
                  "a block is expanded there");
    if (rows <= TILE_ROWS)
        matmul_few(y, x, rows, w, panel, panels);
    else
        matmul_many(y, x, rows, w, panel, panels, scratch);
}
