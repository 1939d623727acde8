/* Lightning attention, a block at a time: every step is a product whose columns are lanes. One row takes the same way
 * as sixty-four. */
#include "gpu/cpu/simd.h"
#include "gpu/cpu/simd_exp.h"

enum {
    BLOCK = PK_LIGHTNING_BLOCK,
    SCORE_ROWS = 12,   /* rows that share one count of keys: more would compute more of the dropped triangle */
    ADVANCE_ROWS = 24, /* rows of the state whose increments lie in the first-level cache */
};

typedef struct {
    float *matrix, *keys, *values; /* [dim][dim], [dim][BLOCK], [BLOCK][dim] */
    const float *decay;
    size_t dim;
    float *scores;    /* scratch [BLOCK][BLOCK] */
    float *decayed;   /* scratch [dim][BLOCK] */
    float *increment; /* scratch [ADVANCE_ROWS][dim] */
} head_state;

size_t PK_SIMD(lightning_scratch)(size_t dim)
{
    return (BLOCK * BLOCK + dim * BLOCK + ADVANCE_ROWS * dim) * sizeof(float);
}

static head_state head_of(const pk_lightning_state *state, const float *decay, size_t head, size_t dim, float *scratch)
{
    return (head_state){.matrix = state->matrix + head * dim * dim,
                        .keys = state->keys + head * dim * BLOCK,
                        .values = state->values + head * dim * BLOCK,
                        .decay = decay + head * (BLOCK + 1),
                        .dim = dim,
                        .scores = scratch,
                        .decayed = scratch + BLOCK * BLOCK,
                        .increment = scratch + BLOCK * BLOCK + dim * BLOCK};
}

/* decayed = keys of the first m positions, each times P[m-1-s]. */
static void decay_keys(const head_state *h, size_t m)
{
    float reversed[BLOCK] = {0};
    for (size_t s = 0; s < m; s++)
        reversed[s] = h->decay[m - 1 - s];
    for (size_t i = 0; i < h->dim; i++)
        for (size_t s = 0; s < BLOCK; s++)
            h->decayed[i * BLOCK + s] = h->keys[i * BLOCK + s] * reversed[s];
}

/* out = P[m]·matrix + increments of the first m positions; out may be the matrix. */
static void advance(float *out, const head_state *h, size_t m)
{
    size_t dim = h->dim;
    decay_keys(h, m);
    for (size_t i = 0, rows; i < dim; i += rows) {
        rows = dim - i < ADVANCE_ROWS ? dim - i : ADVANCE_ROWS;
        PK_SIMD(product)(&(pk_cpu_product){.x = h->decayed + i * BLOCK, .x_stride = BLOCK, .w = h->values,
                                              .w_stride = dim, .y = h->increment, .y_stride = dim, .rows = rows,
                                              .count = m, .columns = dim});
        for (size_t e = 0; e < rows * dim; e++)
            out[i * dim + e] = fmaf(h->decay[m], h->matrix[i * dim + e], h->increment[e]);
    }
}

/* c_s of `rows` rows at places p, p + 1, … of the block, for the keys up to each row's own. */
static void score(const head_state *h, const float *q, size_t stride, size_t p, size_t rows)
{
    float reversed[2 * BLOCK] = {0}; /* P[k] at BLOCK - k; zeros meet only products that are dropped */
    for (size_t k = 0; k <= BLOCK; k++)
        reversed[BLOCK - k] = h->decay[k];
    for (size_t row = 0, count; row < rows; row += count) {
        count = rows - row < SCORE_ROWS ? rows - row : SCORE_ROWS;
        size_t keys = (p + row + count + PK_PANEL - 1) / PK_PANEL * PK_PANEL;
        float *scores = h->scores + row * BLOCK;
        PK_SIMD(product)(&(pk_cpu_product){.x = q + row * stride, .x_stride = stride, .w = h->keys,
                                              .w_stride = BLOCK, .y = scores, .y_stride = BLOCK, .rows = count,
                                              .count = h->dim, .columns = keys});
        for (size_t r = 0; r < count; r++)
            for (size_t s = 0; s < keys; s++)
                scores[r * BLOCK + s] = scores[r * BLOCK + s] * reversed[BLOCK - (p + row + r) + s];
    }
}

/* Rows at places p, p + 1, … of one block, whose keys and values are there. */
static void attend(float *out, size_t out_stride, const head_state *h, const float *q, size_t q_stride, size_t p,
                   size_t rows)
{
    PK_SIMD(product)(&(pk_cpu_product){.x = q, .x_stride = q_stride, .w = h->matrix, .w_stride = h->dim, .y = out,
                                          .y_stride = out_stride, .rows = rows, .count = h->dim, .columns = h->dim,
                                          .scale = h->decay + p + 1});
    score(h, q, q_stride, p, rows);
    PK_SIMD(product)(&(pk_cpu_product){.x = h->scores, .x_stride = BLOCK, .w = h->values, .w_stride = h->dim,
                                          .y = out, .y_stride = out_stride, .rows = rows, .count = p + 1,
                                          .columns = h->dim, .resume = true, .diagonal = true});
}

void PK_SIMD(lightning)(const pk_lightning *op, const pk_lightning_span *span, size_t head, float *scratch)
{
    size_t dim = op->dim, in_stride = op->heads * 3 * dim, out_stride = op->heads * dim;
    const float *qkv = op->qkv + span->first_row * in_stride + head * 3 * dim;
    float *out = op->out + span->first_row * out_stride + head * dim;
    head_state h = head_of(&span->state, op->decay, head, dim, scratch);
    for (size_t row = 0, count; row < span->rows; row += count) {
        size_t p = (span->position + row) % BLOCK;
        const float *block = qkv + row * in_stride;
        count = BLOCK - p < span->rows - row ? BLOCK - p : span->rows - row;
        pk_cpu_append(h.keys, h.values, p, block + dim, block + 2 * dim, in_stride, count, dim);
        attend(out + row * out_stride, out_stride, &h, block, in_stride, p, count);
        if (p + count == BLOCK)
            advance(h.matrix, &h, BLOCK);
    }
}

void PK_SIMD(lightning_state)(float *out, const pk_lightning_state *state, size_t tail_rows, const float *decay,
                                 size_t head, size_t dim, float *scratch)
{
    head_state h = head_of(state, decay, head, dim, scratch);
    advance(out + head * dim * dim, &h, tail_rows);
}
