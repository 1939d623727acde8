/* The light operations, row by row in plain C on every processor: they move memory and do little arithmetic, none of
 * it fused, so that a compiler vectorises them without changing a bit. */
#include "gpu/cpu/device.h"
#include "gpu/math.h"

#include <assert.h>

/* Rows [first, end) of an operation. */
typedef void row_work(const void *op, size_t first, size_t end);

typedef struct {
    row_work *work;
    const void *op;
    size_t rows, pieces;
} row_job;

static void row_piece(void *argument, size_t piece, unsigned worker)
{
    (void)worker;
    const row_job *job = argument;
    job->work(job->op, job->rows * piece / job->pieces, job->rows * (piece + 1) / job->pieces);
}

static pk_err run_rows(pk_device *device, row_work *work, const void *op, size_t rows, uint64_t cost_ns)
{
    size_t pieces = pk_pool_threads(device->pool) * 4u;
    row_job job = {.work = work, .op = op, .rows = rows, .pieces = pieces < rows ? pieces : rows};
    pk_pool_run(device->pool, row_piece, &job, job.pieces, cost_ns);
    return PK_OK;
}

typedef struct {
    float *out;
    const void *table;
    pk_dtype dtype;
    size_t width;
    const int32_t *ids;
} embed_op;

static void embed_rows(const void *argument, size_t first, size_t end)
{
    const embed_op *op = argument;
    for (size_t row = first; row < end; row++) {
        size_t at = (size_t)op->ids[row] * op->width;
        float *out = op->out + row * op->width;
        const uint16_t *half = (const uint16_t *)op->table + at;
        if (op->dtype == PK_F32)
            memcpy(out, (const float *)op->table + at, op->width * sizeof *out);
        else if (op->dtype == PK_BF16)
            for (size_t i = 0; i < op->width; i++)
                out[i] = pk_bf16_to_f32(half[i]);
        else
            for (size_t i = 0; i < op->width; i++)
                out[i] = pk_f16_to_f32(half[i]);
    }
}

static pk_err embed(pk_device *device, float *out, const void *table, pk_dtype dtype, size_t width, const int32_t *ids,
                    size_t rows)
{
    embed_op op = {.out = out, .table = table, .dtype = dtype, .width = width, .ids = ids};
    return run_rows(device, embed_rows, &op, rows, rows * width);
}

typedef struct {
    float *x;
    const float *residual;
    float alpha, beta;
} residual_op;

static void residual_elements(const void *argument, size_t first, size_t end)
{
    const residual_op *op = argument;
    for (size_t i = first; i < end; i++)
        op->x[i] = op->alpha * op->residual[i] + op->beta * op->x[i];
}

static pk_err residual(pk_device *device, float *x, const float *from, size_t count, float alpha, float beta)
{
    residual_op op = {.x = x, .residual = from, .alpha = alpha, .beta = beta};
    return run_rows(device, residual_elements, &op, count, count / 2);
}

enum { ROPE_PAIRS = 32 };

typedef struct {
    float *x;
    const uint32_t *positions;
    const float *inverse;
    size_t heads, dim, half;
} rope_op;

/* Rotates pairs (i, i + half) of one head, i from `first` on. */
static void rotate(float *head, size_t first, size_t half, size_t count, const float *cosine, const float *sine)
{
    float *low = head + first, *high = head + half + first;
    for (size_t i = 0; i < count; i++) {
        float x = low[i], y = high[i];
        low[i] = x * cosine[i] - y * sine[i];
        high[i] = y * cosine[i] + x * sine[i];
    }
}

static void rope_rows(const void *argument, size_t first, size_t end)
{
    const rope_op *op = argument;
    float cosine[ROPE_PAIRS], sine[ROPE_PAIRS];
    for (size_t row = first; row < end; row++)
        for (size_t pair = 0, count; pair < op->half; pair += count) {
            count = op->half - pair < ROPE_PAIRS ? op->half - pair : ROPE_PAIRS;
            for (size_t i = 0; i < count; i++) {
                double s, c;
                pk_sincos((double)((float)op->positions[row] * op->inverse[pair + i]), &s, &c);
                sine[i] = (float)s;
                cosine[i] = (float)c;
            }
            for (size_t head = 0; head < op->heads; head++)
                rotate(op->x + (row * op->heads + head) * op->dim, pair, op->half, count, cosine, sine);
        }
}

static pk_err rope(pk_device *device, float *x, const uint32_t *positions, const float *inverse, size_t rows,
                   size_t heads, size_t dim, size_t rotary_dim)
{
    assert(rotary_dim <= dim && rotary_dim % 2 == 0);
    rope_op op = {.x = x, .positions = positions, .inverse = inverse, .heads = heads, .dim = dim,
                  .half = rotary_dim / 2};
    return run_rows(device, rope_rows, &op, rows, rows * rotary_dim * (heads + 40) / 2);
}

typedef struct {
    int32_t *ids;
    float *weights;
    const float *logits;
    size_t experts, chosen;
} route_op;

/* Whether expert a is chosen before expert b: larger logit, then lower index, NaN last. */
static bool precedes(const float *logits, size_t a, size_t b)
{
    bool a_nan = logits[a] != logits[a], b_nan = logits[b] != logits[b];
    if (a_nan != b_nan)
        return b_nan;
    if (!a_nan && logits[a] != logits[b])
        return logits[a] > logits[b];
    return a < b;
}

/* The expert that follows `last` in the order of choice; the first one when there is no last (= experts). */
static size_t next_expert(const float *logits, size_t experts, size_t last)
{
    size_t best = experts;
    for (size_t i = 0; i < experts; i++)
        if (i != last && (last == experts || precedes(logits, last, i)) && (best == experts || precedes(logits, i, best)))
            best = i;
    return best;
}

/* max and the tree of exp(logit - max) over a row. */
static float sum_of_exponentials(const float *logits, size_t experts, float *max)
{
    float lane[16] = {0};
    *max = -INFINITY;
    for (size_t i = 0; i < experts; i++)
        *max = logits[i] > *max ? logits[i] : *max;
    for (size_t i = 0; i < experts; i++)
        lane[i % 16] = lane[i % 16] + pk_expf(logits[i] - *max);
    for (size_t w = 8; w > 0; w /= 2)
        for (size_t i = 0; i < w; i++)
            lane[i] = lane[i] + lane[i + w];
    return lane[0];
}

static void route_rows(const void *argument, size_t first, size_t end)
{
    const route_op *op = argument;
    for (size_t row = first; row < end; row++) {
        const float *logits = op->logits + row * op->experts;
        float max, sum = sum_of_exponentials(logits, op->experts, &max), chosen_sum = 0.0f;
        float *weights = op->weights + row * op->chosen;
        size_t expert = op->experts;
        for (size_t rank = 0; rank < op->chosen; rank++) {
            expert = next_expert(logits, op->experts, expert);
            op->ids[row * op->chosen + rank] = (int32_t)expert;
            weights[rank] = pk_expf(logits[expert] - max) / sum;
            chosen_sum = chosen_sum + weights[rank];
        }
        for (size_t rank = 0; rank < op->chosen; rank++)
            weights[rank] = weights[rank] / chosen_sum;
    }
}

static pk_err route(pk_device *device, int32_t *ids, float *weights, const float *logits, size_t rows, size_t experts,
                    size_t chosen)
{
    assert(chosen <= experts);
    route_op op = {.ids = ids, .weights = weights, .logits = logits, .experts = experts, .chosen = chosen};
    return run_rows(device, route_rows, &op, rows, rows * experts * (chosen + 10));
}

typedef struct {
    float *out;
    const float *in;
    const uint32_t *index;
    const float *weights;
    size_t chosen, width;
} gather_op;

static void gather_rows(const void *argument, size_t first, size_t end)
{
    const gather_op *op = argument;
    for (size_t row = first; row < end; row++)
        memcpy(op->out + row * op->width, op->in + op->index[row] * op->width, op->width * sizeof *op->out);
}

static pk_err gather(pk_device *device, float *out, const float *in, const uint32_t *index, size_t rows, size_t width)
{
    gather_op op = {.out = out, .in = in, .index = index, .width = width};
    return run_rows(device, gather_rows, &op, rows, rows * width / 2);
}

static void combine_rows(const void *argument, size_t first, size_t end)
{
    const gather_op *op = argument;
    for (size_t row = first; row < end; row++) {
        float *out = op->out + row * op->width;
        memset(out, 0, op->width * sizeof *out);
        for (size_t rank = row * op->chosen; rank < (row + 1) * op->chosen; rank++) {
            const float *in = op->in + op->index[rank] * op->width;
            float weight = op->weights[rank];
            for (size_t i = 0; i < op->width; i++)
                out[i] = out[i] + weight * in[i];
        }
    }
}

static pk_err combine(pk_device *device, float *out, const float *in, const uint32_t *index, const float *weights,
                      size_t rows, size_t chosen, size_t width)
{
    gather_op op = {.out = out, .in = in, .index = index, .weights = weights, .chosen = chosen, .width = width};
    return run_rows(device, combine_rows, &op, rows, rows * width * (chosen + 1) / 2);
}

typedef struct {
    float *moe;
    const float *mlp, *coefficient;
    size_t width;
} mix_op;

static void mix_rows(const void *argument, size_t first, size_t end)
{
    const mix_op *op = argument;
    for (size_t row = first; row < end; row++) {
        float c = pk_sigmoid(op->coefficient[row]), rest = 1.0f - c;
        float *moe = op->moe + row * op->width;
        const float *mlp = op->mlp + row * op->width;
        for (size_t i = 0; i < op->width; i++)
            moe[i] = rest * moe[i] + c * mlp[i];
    }
}

static pk_err mix_shared(pk_device *device, float *moe, const float *mlp, const float *coefficient, size_t rows,
                         size_t width)
{
    mix_op op = {.moe = moe, .mlp = mlp, .coefficient = coefficient, .width = width};
    return run_rows(device, mix_rows, &op, rows, rows * width / 2);
}

void pk_cpu_rows_fill(pk_ops *ops)
{
    ops->embed = embed;
    ops->residual = residual;
    ops->rope = rope;
    ops->route = route;
    ops->gather = gather;
    ops->combine = combine;
    ops->mix_shared = mix_shared;
}
