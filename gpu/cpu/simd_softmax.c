/* Softmax attention: tile after tile of the cache passes under many query lines.
 *
 * A line is one row of one query head. The lines of one kv head go together over each tile, so that its keys and values
 * are read from memory once for all of them. Lines that a product takes as its rows are neighbours either in rows (a
 * prefill: each has one key more than the last, the diagonal) or in heads (a decode: all have the same keys). */
#include "gpu/cpu/simd.h"
#include "gpu/cpu/simd_exp.h"

enum { STEP_LINES = 48 };

typedef struct {
    float max, sum;
} weight;

typedef struct {
    const pk_softmax *op;
    const pk_softmax_span *span;
    size_t kv_head, group, first, rows; /* rows [first, first + rows) of the span */
    bool by_heads;                      /* lines of a step are heads of one row, not rows of one head */
    size_t outer, inner;                /* lines are numbered o·inner + i */
    weight *part, *total;               /* [lines]: of the span of positions at hand, of those before */
    float *acc;                         /* [lines][dim], of the span at hand; those before lie in the output */
    float *weights;                     /* [STEP_LINES][PK_KV_TILE] */
} work;

size_t PK_SIMD(softmax_scratch)(size_t rows, size_t group, size_t dim)
{
    return rows * group * (2 * sizeof(weight) + dim * sizeof(float)) + STEP_LINES * PK_KV_TILE * sizeof(float);
}

static work work_of(const pk_softmax *op, const pk_softmax_span *span, size_t kv_head, size_t first, size_t rows,
                    float *scratch)
{
    size_t group = op->heads / op->kv_heads, lines = rows * group;
    bool by_heads = rows < group;
    weight *part = (weight *)(void *)scratch;
    float *acc = (float *)(void *)(part + 2 * lines);
    return (work){.op = op, .span = span, .kv_head = kv_head, .group = group, .first = first, .rows = rows,
                  .by_heads = by_heads, .outer = by_heads ? rows : group, .inner = by_heads ? group : rows,
                  .part = part, .total = part + lines, .acc = acc, .weights = acc + lines * op->dim};
}

static size_t position_of(const work *w, size_t o, size_t i)
{
    return w->span->position + w->first + (w->by_heads ? o : i);
}

/* Where the line's query, and its output, stands in [rows, heads * dim]. */
static size_t place_of(const work *w, size_t o, size_t i)
{
    size_t row = w->span->first_row + w->first + (w->by_heads ? o : i), head = w->by_heads ? i : o;
    return (row * w->op->heads + w->kv_head * w->group + head) * w->op->dim;
}

static float largest(__m256 x)
{
    __m128 four = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}

/* Scales `count` products of a line into weights and gives their maximum. */
static float scale_weights(float *w, size_t count, float root)
{
    __m256 max = _mm256_set1_ps(-INFINITY), by = _mm256_set1_ps(root);
    for (size_t j = 0; j < count; j += 8) {
        __m256 value = _mm256_mul_ps(_mm256_loadu_ps(w + j), by);
        __m256 valid = _mm256_castsi256_ps(first_lanes(count - j));
        _mm256_storeu_ps(w + j, value);
        max = _mm256_max_ps(_mm256_blendv_ps(_mm256_set1_ps(-INFINITY), value, valid), max);
    }
    return largest(max);
}

/* w = exp(w - max); gives the tree of the sum. Lanes past `count` add +0, which leaves a sum from +0 as it is. */
static float exponentials(float *w, size_t count, float max)
{
    __m256 halves[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()}, less = _mm256_set1_ps(max);
    for (size_t j = 0; j < count; j += 8) {
        __m256 value = exp8(_mm256_sub_ps(_mm256_loadu_ps(w + j), less));
        value = _mm256_and_ps(value, _mm256_castsi256_ps(first_lanes(count - j)));
        _mm256_storeu_ps(w + j, value);
        halves[j / 8 & 1] = _mm256_add_ps(halves[j / 8 & 1], value);
    }
    return fold16(halves[0], halves[1]);
}

/* Turns a line's products with `count` keys of a tile into its weights, and rescales what it has so far. */
static void weigh(weight *part, float *acc, float *w, size_t count, size_t dim)
{
    float tile_max = scale_weights(w, count, (float)(1.0 / sqrt((double)dim)));
    float max = tile_max > part->max ? tile_max : part->max;
    float sum = exponentials(w, count, max);
    if (max != part->max) { /* otherwise alpha is 1 and nothing changes */
        float alpha = pk_expf(part->max - max);
        part->sum = part->sum * alpha;
        for (size_t e = 0; e < dim; e++)
            acc[e] = acc[e] * alpha;
    }
    part->max = max;
    part->sum = part->sum + sum;
}

/* Lines (o, i), (o, i + 1), … over one tile; the first has `count` keys there, the next one more each if diagonal. */
static void step(const work *w, size_t o, size_t i, size_t lines, size_t tile, size_t count, bool diagonal)
{
    const pk_softmax *op = w->op;
    size_t dim = op->dim, line = o * w->inner + i, keys = count + (diagonal ? lines - 1 : 0);
    PK_SIMD(product)(&(pk_cpu_product){.x = op->q + place_of(w, o, i),
                                          .x_stride = w->by_heads ? dim : op->heads * dim,
                                          .w = pk_cpu_kv_keys(w->span->cache, tile, op->kv_heads, dim, w->kv_head),
                                          .w_stride = PK_KV_TILE, .y = w->weights, .y_stride = PK_KV_TILE,
                                          .rows = lines, .count = dim,
                                          .columns = (keys + PK_PANEL - 1) / PK_PANEL * PK_PANEL});
    for (size_t r = 0; r < lines; r++)
        weigh(&w->part[line + r], w->acc + (line + r) * dim, w->weights + r * PK_KV_TILE,
              count + (diagonal ? r : 0), dim);
    PK_SIMD(product)(&(pk_cpu_product){.x = w->weights, .x_stride = PK_KV_TILE,
                                          .w = pk_cpu_kv_values(w->span->cache, tile, op->kv_heads, dim, w->kv_head),
                                          .w_stride = dim, .y = w->acc + line * dim, .y_stride = dim, .rows = lines,
                                          .count = count, .columns = dim, .resume = true, .diagonal = diagonal});
}

/* The lines of one o over one tile: those that end inside it, then those that pass it. */
static void over_tile(const work *w, size_t o, size_t tile)
{
    for (size_t i = 0, lines; i < w->inner; i += lines) {
        size_t position = position_of(w, o, i), last = tile + PK_KV_TILE - 1;
        lines = 1;
        if (position < tile)
            continue;
        bool diagonal = !w->by_heads && position < last;
        size_t same = diagonal ? last - position : w->inner;
        lines = w->inner - i < same ? w->inner - i : same;
        lines = lines < STEP_LINES ? lines : STEP_LINES;
        step(w, o, i, lines, tile, position < last ? position - tile + 1 : PK_KV_TILE, diagonal);
    }
}

static void begin_span(const work *w)
{
    for (size_t line = 0; line < w->outer * w->inner; line++)
        w->part[line] = (weight){.max = -INFINITY};
    memset(w->acc, 0, w->outer * w->inner * w->op->dim * sizeof *w->acc);
}

/* out = out·a + acc·b, in the two roundings of each product and one of the sum. */
static void merge(float *out, weight *total, const float *acc, const weight *part, size_t dim)
{
    float max = total->max > part->max ? total->max : part->max;
    float a = pk_expf(total->max - max), b = pk_expf(part->max - max);
    total->max = max;
    total->sum = total->sum * a + part->sum * b;
    for (size_t e = 0; e < dim; e++)
        out[e] = out[e] * a + acc[e] * b;
}

static void end_span(const work *w, size_t first)
{
    for (size_t o = 0; o < w->outer; o++)
        for (size_t i = 0; i < w->inner; i++) {
            size_t line = o * w->inner + i, dim = w->op->dim;
            float *out = w->op->out + place_of(w, o, i);
            if (position_of(w, o, i) < first)
                continue;
            if (first) {
                merge(out, &w->total[line], w->acc + line * dim, &w->part[line], dim);
            } else {
                w->total[line] = w->part[line];
                memcpy(out, w->acc + line * dim, dim * sizeof *out);
            }
        }
}

static void divide(const work *w)
{
    for (size_t o = 0; o < w->outer; o++)
        for (size_t i = 0; i < w->inner; i++) {
            float *out = w->op->out + place_of(w, o, i), sum = w->total[o * w->inner + i].sum;
            for (size_t e = 0; e < w->op->dim; e++)
                out[e] = out[e] / sum;
        }
}

void PK_SIMD(softmax)(const pk_softmax *op, const pk_softmax_span *span, size_t kv_head, size_t first, size_t rows,
                         float *scratch)
{
    work w = work_of(op, span, kv_head, first, rows, scratch);
    size_t end = span->position + first + rows;
    for (size_t begin = 0; begin < end; begin += PK_KV_SPAN) {
        begin_span(&w);
        for (size_t tile = begin; tile < end && tile < begin + PK_KV_SPAN; tile += PK_KV_TILE)
            for (size_t o = 0; o < w.outer; o++)
                over_tile(&w, o, tile);
        end_span(&w, begin);
    }
    divide(&w);
}
