/* The kernels in plain C: docs/numerics.md in code, and what the others are held against to the last bit.
 *
 * Two builds of this file break row purity on purpose, so that the test of purity can be seen to fail:
 * PK_FAULT_SPLIT_K and PK_FAULT_MASK_ZERO (gpu/CMakeLists.txt). */
#include "gpu/cpu/kernels.h"
#include "gpu/math.h"

#include <assert.h>

enum { LANES = 16 };

/* sum over i of a[i·stride_a]·b[i·stride_b]: one chain of fused multiply-adds from +0, i ascending. */
static float chain(const float *a, size_t stride_a, const float *b, size_t stride_b, size_t count)
{
    float sum = 0.0f;
    for (size_t i = 0; i < count; i++)
        sum = fmaf(a[i * stride_a], b[i * stride_b], sum);
    return sum;
}

/* Folds the sixteen lanes of a row reduction. */
static float fold(float lane[LANES])
{
    for (size_t w = LANES / 2; w > 0; w /= 2)
        for (size_t i = 0; i < w; i++)
            lane[i] = lane[i] + lane[i + w];
    return lane[0];
}

static float tree_of_squares(const float *x, size_t count)
{
    float lane[LANES] = {0};
    for (size_t i = 0; i < count; i++)
        lane[i % LANES] = fmaf(x[i], x[i], lane[i % LANES]);
    return fold(lane);
}

static float tree_of_sums(const float *x, size_t count)
{
    float lane[LANES] = {0};
    for (size_t i = 0; i < count; i++)
        lane[i % LANES] = lane[i % LANES] + x[i];
    return fold(lane);
}

/* chain(x, w[output]) over inputs [first, end); `panel` is the output's, `lane` its place in it. */
static float product(const float *x, const void *panel, pk_dtype dtype, size_t lane, size_t first, size_t end)
{
    float sum = 0.0f;
    for (size_t k = first; k < end; k++)
        sum = fmaf(x[k], pk_float_at(panel, dtype, k * PK_PANEL + lane), sum);
    return sum;
}

/* Weight `lane` of input k of a group, without its scale. */
static float integer(const void *group, pk_dtype dtype, size_t k, size_t lane)
{
    const char *values = (const char *)group + PK_SCALES_BYTES;
    if (dtype == PK_I8)
        return (float)((const int8_t *)values)[k * PK_PANEL + lane];
    unsigned pair = ((const uint8_t *)values)[k / 2 * PK_PANEL + lane];
    return (float)(k % 2 ? pair >> 4 : pair & 15) - 8.0f;
}

/* A chain for each group, over the integers; the sums are chained with their scales. */
static float quantised_product(const float *x, const pk_matrix *w, size_t output)
{
    float sum = 0.0f;
    for (size_t first = 0; first < w->inputs; first += PK_GROUP) {
        const float *scales = pk_cpu_group(w, output / PK_PANEL, first / PK_GROUP);
        size_t end = first + PK_GROUP < w->inputs ? first + PK_GROUP : w->inputs;
        float group = 0.0f;
        for (size_t k = first; k < end; k++)
            group = fmaf(x[k], integer(scales, w->dtype, k - first, output % PK_PANEL), group);
        sum = fmaf(group, scales[output % PK_PANEL], sum);
    }
    return sum;
}

void pk_cpu_plain_matmul(float *y, const float *x, size_t rows, const pk_matrix *w, size_t panel, size_t panels,
                         float *scratch)
{
    (void)scratch;
    size_t end = (panel + panels) * PK_PANEL;
    end = end < w->outputs ? end : w->outputs;
    for (size_t output = panel * PK_PANEL; output < end; output++) {
        const void *data = pk_cpu_panel(w, output / PK_PANEL);
        for (size_t row = 0; row < rows; row++) {
            const float *from = x + row * w->inputs;
            float *to = y + row * w->outputs + output;
            if (pk_dtype_is_quantised(w->dtype)) {
                *to = quantised_product(from, w, output);
                continue;
            }
#ifdef PK_FAULT_SPLIT_K
            if (rows > 1) {
                *to = product(from, data, w->dtype, output % PK_PANEL, 0, w->inputs / 2) +
                      product(from, data, w->dtype, output % PK_PANEL, w->inputs / 2, w->inputs);
                continue;
            }
#endif
            *to = product(from, data, w->dtype, output % PK_PANEL, 0, w->inputs);
        }
    }
}

static void rmsnorm(float *y, const float *x, const float *w, size_t rows, size_t width, float eps)
{
    for (size_t row = 0; row < rows; row++, x += width, y += width) {
        float r = 1.0f / sqrtf(tree_of_squares(x, width) / (float)width + eps);
        for (size_t i = 0; i < width; i++)
            y[i] = w[i] * (x[i] * r);
    }
}

static void silu(float *x, size_t count)
{
    for (size_t i = 0; i < count; i++)
        x[i] = pk_silu(x[i]);
}

static void swiglu(float *x, const float *up, size_t count)
{
    for (size_t i = 0; i < count; i++)
        x[i] = pk_silu(x[i]) * up[i];
}

static void gate(float *x, const float *by, size_t count)
{
    for (size_t i = 0; i < count; i++)
        x[i] = pk_sigmoid(by[i]) * x[i];
}

/* One head of a lightning layer: its part of the state, its decays, one block. */
typedef struct {
    float *matrix, *keys, *values; /* [dim][dim], [dim][block], [block][dim] */
    const float *decay;
    size_t dim;
} head_state;

static head_state head_of(const pk_lightning_state *state, const float *decay, size_t head, size_t dim)
{
    return (head_state){.matrix = state->matrix + head * dim * dim,
                        .keys = state->keys + head * dim * PK_LIGHTNING_BLOCK,
                        .values = state->values + head * dim * PK_LIGHTNING_BLOCK,
                        .decay = decay + head * (PK_LIGHTNING_BLOCK + 1),
                        .dim = dim};
}

/* out = P[m]·S + sum over s < m of (k_s·P[m-1-s]) v_sᵀ; out may be S. */
static void advance(float *out, const head_state *h, size_t m)
{
    float decayed[PK_LIGHTNING_BLOCK];
    for (size_t i = 0; i < h->dim; i++) {
        for (size_t s = 0; s < m; s++)
            decayed[s] = h->keys[i * PK_LIGHTNING_BLOCK + s] * h->decay[m - 1 - s];
        for (size_t e = 0; e < h->dim; e++) {
            float increment = chain(decayed, 1, h->values + e, h->dim, m);
            out[i * h->dim + e] = fmaf(h->decay[m], h->matrix[i * h->dim + e], increment);
        }
    }
}

/* The output of the row at place p of its block. future: rows of this call that follow it in the block. */
static void attend(float *out, const float *q, const head_state *h, size_t p, size_t future)
{
    for (size_t e = 0; e < h->dim; e++)
        out[e] = chain(q, 1, h->matrix + e, h->dim, h->dim) * h->decay[p + 1];
    for (size_t s = 0; s <= p; s++) {
        float c = chain(q, 1, h->keys + s, PK_LIGHTNING_BLOCK, h->dim) * h->decay[p - s];
        for (size_t e = 0; e < h->dim; e++)
            out[e] = fmaf(c, h->values[s * h->dim + e], out[e]);
    }
#ifdef PK_FAULT_MASK_ZERO
    for (size_t s = p + 1; s <= p + future; s++) {
        float c = chain(q, 1, h->keys + s, PK_LIGHTNING_BLOCK, h->dim) * 0.0f;
        for (size_t e = 0; e < h->dim; e++)
            out[e] = fmaf(c, h->values[s * h->dim + e], out[e]);
    }
#else
    (void)future;
#endif
}

size_t pk_cpu_plain_lightning_scratch(size_t dim)
{
    (void)dim;
    return 0;
}

void pk_cpu_plain_lightning(const pk_lightning *op, const pk_lightning_span *span, size_t head, float *scratch)
{
    (void)scratch;
    size_t dim = op->dim, in_stride = op->heads * 3 * dim, out_stride = op->heads * dim;
    const float *qkv = op->qkv + span->first_row * in_stride + head * 3 * dim;
    float *out = op->out + span->first_row * out_stride + head * dim;
    head_state h = head_of(&span->state, op->decay, head, dim);
    for (size_t row = 0, count; row < span->rows; row += count) {
        size_t p = (span->position + row) % PK_LIGHTNING_BLOCK;
        count = PK_LIGHTNING_BLOCK - p < span->rows - row ? PK_LIGHTNING_BLOCK - p : span->rows - row;
        const float *block = qkv + row * in_stride;
        pk_cpu_append(h.keys, h.values, p, block + dim, block + 2 * dim, in_stride, count, dim);
        for (size_t i = 0; i < count; i++)
            attend(out + (row + i) * out_stride, block + i * in_stride, &h, p + i, count - 1 - i);
        if (p + count == PK_LIGHTNING_BLOCK)
            advance(h.matrix, &h, PK_LIGHTNING_BLOCK);
    }
}

static void lightning_state(float *out, const pk_lightning_state *state, size_t tail_rows, const float *decay,
                            size_t head, size_t dim, float *scratch)
{
    (void)scratch;
    head_state h = head_of(state, decay, head, dim);
    advance(out + head * dim * dim, &h, tail_rows);
}

/* Running softmax of one row: largest weight so far, sum of exponentials, and the weighted sum of values. */
typedef struct {
    float max, sum;
    float *acc; /* [dim] */
} partial;

static float larger(float a, float b)
{
    return a > b ? a : b;
}

static void scale(float *x, size_t count, float by)
{
    for (size_t i = 0; i < count; i++)
        x[i] = x[i] * by;
}

/* Takes `count` keys of one tile into the partial; the tile holds `future` more keys of this call behind them. */
static void take_tile(partial *part, const float *q, const float *keys, const float *values, size_t count,
                      size_t future, size_t dim)
{
    float w[PK_KV_TILE], root = (float)(1.0 / sqrt((double)dim)), max = part->max;
#ifdef PK_FAULT_MASK_ZERO
    size_t last = count + future;
#else
    size_t last = count;
    (void)future;
#endif
    for (size_t j = 0; j < last; j++)
        w[j] = chain(q, 1, keys + j, PK_KV_TILE, dim) * root;
    for (size_t j = 0; j < count; j++)
        max = larger(w[j], max);
    for (size_t j = 0; j < last; j++)
        w[j] = pk_expf(w[j] - max) * (j < count ? 1.0f : 0.0f);
    float alpha = max == part->max ? 1.0f : pk_expf(part->max - max);
    part->max = max;
    part->sum = part->sum * alpha;
    part->sum = part->sum + tree_of_sums(w, last);
    scale(part->acc, dim, alpha);
    for (size_t j = 0; j < last; j++)
        for (size_t e = 0; e < dim; e++)
            part->acc[e] = fmaf(w[j], values[j * dim + e], part->acc[e]);
}

/* Merges the partial of a span into that of the spans before it. */
static void merge(partial *into, const partial *span, size_t dim)
{
    float max = larger(into->max, span->max);
    float a = pk_expf(into->max - max), b = pk_expf(span->max - max);
    into->max = max;
    into->sum = into->sum * a + span->sum * b;
    for (size_t e = 0; e < dim; e++)
        into->acc[e] = into->acc[e] * a + span->acc[e] * b;
}

/* The partial of one span of positions for a row that stands at `position`; `end` is the call's end. */
static void take_span(partial *part, const pk_softmax *op, float *cache, size_t kv_head, const float *q, size_t first,
                      size_t position, size_t end)
{
    part->max = -INFINITY;
    part->sum = 0.0f;
    memset(part->acc, 0, op->dim * sizeof *part->acc);
    for (size_t tile = first; tile <= position && tile < first + PK_KV_SPAN; tile += PK_KV_TILE) {
        size_t count = position - tile + 1 < PK_KV_TILE ? position - tile + 1 : PK_KV_TILE;
        size_t known = end - tile < PK_KV_TILE ? end - tile : PK_KV_TILE;
        take_tile(part, q, pk_cpu_kv_keys(cache, tile, op->kv_heads, op->dim, kv_head),
                  pk_cpu_kv_values(cache, tile, op->kv_heads, op->dim, kv_head), count, known - count, op->dim);
    }
}

static void softmax_row(float *out, const pk_softmax *op, float *cache, size_t kv_head, const float *q, size_t position,
                        size_t end, float *scratch)
{
    partial total = {.acc = out}, span = {.acc = scratch};
    take_span(&total, op, cache, kv_head, q, 0, position, end);
    for (size_t first = PK_KV_SPAN; first <= position; first += PK_KV_SPAN) {
        take_span(&span, op, cache, kv_head, q, first, position, end);
        merge(&total, &span, op->dim);
    }
    for (size_t e = 0; e < op->dim; e++)
        out[e] = out[e] / total.sum;
}

size_t pk_cpu_plain_softmax_scratch(size_t rows, size_t group, size_t dim)
{
    (void)rows;
    (void)group;
    return dim * sizeof(float);
}

void pk_cpu_plain_softmax(const pk_softmax *op, const pk_softmax_span *span, size_t kv_head, size_t first, size_t rows,
                          float *scratch)
{
    size_t group = op->heads / op->kv_heads, end = span->position + span->rows;
    for (size_t row = first; row < first + rows; row++)
        for (size_t head = kv_head * group; head < (kv_head + 1) * group; head++) {
            size_t at = ((span->first_row + row) * op->heads + head) * op->dim;
            softmax_row(op->out + at, op, span->cache, kv_head, op->q + at, span->position + row, end, scratch);
        }
}

const pk_cpu_kernels pk_cpu_plain = {
    .name = "cpu:plain",
    .matmul = pk_cpu_plain_matmul,
    .rmsnorm = rmsnorm,
    .silu = silu,
    .swiglu = swiglu,
    .gate = gate,
    .lightning_scratch = pk_cpu_plain_lightning_scratch,
    .lightning = pk_cpu_plain_lightning,
    .lightning_state = lightning_state,
    .softmax_scratch = pk_cpu_plain_softmax_scratch,
    .softmax = pk_cpu_plain_softmax,
};
