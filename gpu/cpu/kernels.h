/* kernels.h - the inside of the CPU device: what one thread does. Not for anyone outside of gpu/cpu.
 *
 * An operation of ops.h is cut into pieces (split.c), and a piece is done by one thread through a table of kernels. Two
 * tables exist: plain C, which reads like docs/numerics.md and is its specification, and SIMD, equal to it to the bit.
 * A kernel decides nothing about threads and allocates nothing; the shape of its piece never changes a bit.
 *
 * Scratch is a thread's own, at least as large as the table's *_scratch functions ask (bytes), its contents garbage. */
#ifndef PK_GPU_CPU_KERNELS_H
#define PK_GPU_CPU_KERNELS_H

#include "gpu/ops.h"

/* Weights lie in panels of 16 outputs, [panel][input][16] in the stored dtype, the last panel padded: one row of a
 * panel is two AVX2 registers of neighbouring outputs or one of AVX-512, and a product streams every panel from front to back.
 *
 * Quantised: [panel][group], and a group is sixteen scales in float32, then [input][16] integers; of PK_I4 [pair of
 * inputs][16] bytes, the even input in the low half and the odd one in the high half, each as weight + 8. */
enum { PK_PANEL = 16, PK_SCALES_BYTES = PK_PANEL * 4 };

typedef struct {
    const char *name;

    /* y rows have w->outputs columns, of which this piece writes those of panels [panel, panel + panels). */
    size_t matmul_scratch;
    void (*matmul)(float *y, const float *x, size_t rows, const pk_matrix *w, size_t panel, size_t panels,
                   float *scratch);

    void (*rmsnorm)(float *y, const float *x, const float *w, size_t rows, size_t width, float eps);
    void (*silu)(float *x, size_t count);
    void (*swiglu)(float *x, const float *up, size_t count);
    void (*gate)(float *x, const float *gate, size_t count);

    /* All rows of one span for one head. */
    size_t (*lightning_scratch)(size_t dim);
    void (*lightning)(const pk_lightning *, const pk_lightning_span *, size_t head, float *scratch);
    void (*lightning_state)(float *out, const pk_lightning_state *, size_t tail_rows, const float *decay, size_t head,
                            size_t dim, float *scratch);

    /* Rows [first, first + rows) of one span (counted within it) for the query heads of one kv head; the span's keys
     * and values are in its cache already. */
    size_t (*softmax_scratch)(size_t rows, size_t group, size_t dim);
    void (*softmax)(const pk_softmax *, const pk_softmax_span *, size_t kv_head, size_t first, size_t rows,
                    float *scratch);
} pk_cpu_kernels;

extern const pk_cpu_kernels pk_cpu_plain;
#ifdef PK_CPU_X86
extern const pk_cpu_kernels pk_cpu_avx2_kernels, pk_cpu_avx512_kernels;
#endif

void pk_cpu_plain_pack(const pk_matrix *, size_t first_output, size_t count, const void *rows);
void pk_cpu_pack_scales(const pk_matrix *, size_t first_output, size_t count, const void *rows, pk_dtype dtype);
void pk_cpu_plain_matmul(float *y, const float *x, size_t rows, const pk_matrix *w, size_t panel, size_t panels,
                         float *scratch);
size_t pk_cpu_plain_lightning_scratch(size_t dim);
void pk_cpu_plain_lightning(const pk_lightning *, const pk_lightning_span *, size_t head, float *scratch);
size_t pk_cpu_plain_softmax_scratch(size_t rows, size_t group, size_t dim);
void pk_cpu_plain_softmax(const pk_softmax *, const pk_softmax_span *, size_t kv_head, size_t first, size_t rows,
                          float *scratch);

static inline size_t pk_cpu_panels(size_t outputs)
{
    return (outputs + PK_PANEL - 1) / PK_PANEL;
}

/* Bytes of `inputs` rows of a panel, without scales. */
static inline size_t pk_cpu_panel_rows_bytes(pk_dtype dtype, size_t inputs)
{
    return dtype == PK_I4 ? (inputs + 1) / 2 * PK_PANEL : inputs * PK_PANEL * pk_dtype_bytes(dtype);
}

static inline size_t pk_cpu_panel_bytes(pk_dtype dtype, size_t inputs)
{
    size_t scales = pk_dtype_is_quantised(dtype) ? pk_groups(inputs) * PK_SCALES_BYTES : 0;
    return pk_cpu_panel_rows_bytes(dtype, inputs) + scales;
}

/* Where panel `panel` starts. */
static inline void *pk_cpu_panel(const pk_matrix *w, size_t panel)
{
    return (char *)w->data + panel * pk_cpu_panel_bytes(w->dtype, w->inputs);
}

/* The scales [PK_PANEL] of a group of a quantised panel; its integers lie PK_SCALES_BYTES behind. */
static inline float *pk_cpu_group(const pk_matrix *w, size_t panel, size_t group)
{
    return (float *)((char *)pk_cpu_panel(w, panel) + group * pk_cpu_panel_bytes(w->dtype, PK_GROUP));
}

/* Keys [dim][PK_KV_TILE] of one head in the tile that holds `position`; its values [PK_KV_TILE][dim]. */
static inline float *pk_cpu_kv_keys(float *cache, size_t position, size_t kv_heads, size_t dim, size_t kv_head)
{
    size_t head_floats = dim * PK_KV_TILE, tile_floats = 2 * kv_heads * head_floats;
    return cache + position / PK_KV_TILE * tile_floats + kv_head * head_floats;
}

static inline float *pk_cpu_kv_values(float *cache, size_t position, size_t kv_heads, size_t dim, size_t kv_head)
{
    return pk_cpu_kv_keys(cache, position, kv_heads, dim, kv_head) + kv_heads * dim * PK_KV_TILE;
}

/* Puts `count` keys (rows of dim floats, stride apart) into columns [first, first + count) of keys [dim][64], and
 * values likewise into rows of values [64][dim]. The block of lightning and the tile of softmax have one layout. */
void pk_cpu_append(float *keys, float *values, size_t first, const float *k, const float *v, size_t stride,
                   size_t count, size_t dim);

#endif
