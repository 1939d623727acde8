/* How the heavy operations are cut into pieces for the threads. A cut never crosses a chain: pieces are whole rows,
 * whole panels of outputs, whole heads. Costs are guesses in nanoseconds of one thread, good enough to tell what is
 * worth waking another for. */
#include "gpu/cpu/device.h"

#include <assert.h>

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

static size_t ceiling(size_t a, size_t b)
{
    return (a + b - 1) / b;
}

/* Rows of x that stay in the second-level cache while the panels of one piece pass by, the most panels of a piece, and
 * what its rows and panels should be multiples of. */
enum { BLOCK_ROWS = 192, BLOCK_PANELS = 32, TILE_ROWS = 12, PANEL_STREAMS = 4 };

typedef struct {
    const pk_device *device;
    float *y;
    const float *x;
    const size_t *offsets;
    const pk_matrix *w;
    size_t groups, panels, piece_panels;
} matmul_job;

static size_t group_pieces(const matmul_job *job, size_t group)
{
    size_t rows = job->offsets[group + 1] - job->offsets[group];
    return ceiling(rows, BLOCK_ROWS) * ceiling(job->panels, job->piece_panels);
}

static void matmul_piece(void *argument, size_t piece, unsigned worker)
{
    const matmul_job *job = argument;
    size_t group = 0, here;
    while (piece >= (here = group_pieces(job, group))) {
        piece -= here;
        group++;
    }
    const pk_matrix *w = &job->w[group];
    size_t first = job->offsets[group], rows = job->offsets[group + 1] - first, blocks = ceiling(rows, BLOCK_ROWS);
    /* Blocks of nearly one height, a multiple of the tile's. */
    size_t height = ceiling(ceiling(rows, blocks), TILE_ROWS) * TILE_ROWS;
    size_t row = piece % blocks * height, panel = piece / blocks * job->piece_panels;
    if (row >= rows)
        return;
    job->device->kernels->matmul(job->y + (first + row) * w->outputs, job->x + (first + row) * w->inputs,
                                 smaller(height, rows - row), w, panel,
                                 smaller(job->piece_panels, job->panels - panel),
                                 pk_cpu_scratch(job->device, worker));
}

/* One thread does about 64 multiply-adds and reads about 10 bytes in a nanosecond. */
static uint64_t matmul_cost(const pk_matrix *w, size_t rows)
{
    size_t weights = w->outputs * w->inputs;
    return (uint64_t)weights * rows / 64 + pk_matrix_bytes(w->dtype, w->outputs, w->inputs) / 10;
}

static pk_err matmul_grouped(pk_device *device, float *y, const float *x, size_t groups, const size_t *offsets,
                             const pk_matrix *w)
{
    if (!groups || offsets[groups] == offsets[0])
        return PK_OK;
    matmul_job job = {.device = device, .y = y, .x = x, .offsets = offsets, .w = w, .groups = groups};
    uint64_t cost = 0;
    size_t pieces = 0;
    job.panels = pk_cpu_panels(w->outputs);
    /* Several pieces for each thread, so that one that started late is not waited for. */
    size_t share = ceiling(job.panels, pk_pool_threads(device->pool) * 4);
    job.piece_panels = smaller(ceiling(share, PANEL_STREAMS) * PANEL_STREAMS, BLOCK_PANELS);
    for (size_t group = 0; group < groups; group++) {
        size_t rows = offsets[group + 1] - offsets[group];
        assert(w[group].outputs == w->outputs && w[group].inputs == w->inputs);
        pieces += group_pieces(&job, group);
        cost += rows ? matmul_cost(&w[group], rows) : 0;
    }
    pk_pool_run(device->pool, matmul_piece, &job, pieces, cost);
    return PK_OK;
}

static pk_err matmul(pk_device *device, float *y, const float *x, size_t rows, const pk_matrix *w)
{
    return matmul_grouped(device, y, x, 1, (size_t[]){0, rows}, w);
}

/* Elementwise work goes in chunks that fit the first-level cache. */
enum { CHUNK = 4096 };

typedef struct {
    void (*one)(float *x, size_t count);
    void (*two)(float *x, const float *other, size_t count);
    float *x;
    const float *other;
    size_t count;
} element_job;

static void element_piece(void *argument, size_t piece, unsigned worker)
{
    (void)worker;
    const element_job *job = argument;
    size_t first = piece * CHUNK, count = smaller(CHUNK, job->count - first);
    if (job->one)
        job->one(job->x + first, count);
    else
        job->two(job->x + first, job->other + first, count);
}

static pk_err run_elements(pk_device *device, element_job job)
{
    pk_pool_run(device->pool, element_piece, &job, ceiling(job.count, CHUNK), job.count);
    return PK_OK;
}

static pk_err silu(pk_device *device, float *x, size_t count)
{
    return run_elements(device, (element_job){.one = device->kernels->silu, .x = x, .count = count});
}

static pk_err swiglu(pk_device *device, float *x, const float *up, size_t count)
{
    return run_elements(device, (element_job){.two = device->kernels->swiglu, .x = x, .other = up, .count = count});
}

static pk_err gate(pk_device *device, float *x, const float *by, size_t count)
{
    return run_elements(device, (element_job){.two = device->kernels->gate, .x = x, .other = by, .count = count});
}

enum { NORM_ROWS = 8 };

typedef struct {
    const pk_device *device;
    float *y;
    const float *x, *w;
    size_t rows, width;
    float eps;
} norm_job;

static void norm_piece(void *argument, size_t piece, unsigned worker)
{
    (void)worker;
    const norm_job *job = argument;
    size_t first = piece * NORM_ROWS, at = first * job->width;
    job->device->kernels->rmsnorm(job->y + at, job->x + at, job->w, smaller(NORM_ROWS, job->rows - first), job->width,
                                  job->eps);
}

static pk_err rmsnorm(pk_device *device, float *y, const float *x, const float *w, size_t rows, size_t width, float eps)
{
    norm_job job = {.device = device, .y = y, .x = x, .w = w, .rows = rows, .width = width, .eps = eps};
    pk_pool_run(device->pool, norm_piece, &job, ceiling(rows, NORM_ROWS), (uint64_t)rows * width / 4);
    return PK_OK;
}

typedef struct {
    const pk_device *device;
    const pk_lightning *op;
} lightning_job;

static void lightning_piece(void *argument, size_t piece, unsigned worker)
{
    const lightning_job *job = argument;
    job->device->kernels->lightning(job->op, &job->op->spans[piece / job->op->heads], piece % job->op->heads,
                                    pk_cpu_scratch(job->device, worker));
}

static pk_err lightning(pk_device *device, const pk_lightning *op)
{
    pk_err err = pk_cpu_reserve(device, device->kernels->lightning_scratch(op->dim));
    uint64_t cost = 0;
    for (size_t i = 0; i < op->span_count; i++)
        cost += (uint64_t)op->heads * op->dim * op->dim * (op->spans[i].rows / 16 + 1) / 4;
    if (!err)
        pk_pool_run(device->pool, lightning_piece, &(lightning_job){.device = device, .op = op},
                    op->span_count * op->heads, cost);
    return err;
}

typedef struct {
    const pk_device *device;
    float *out;
    const pk_lightning_state *state;
    const float *decay;
    size_t tail_rows, dim;
} state_job;

static void state_piece(void *argument, size_t head, unsigned worker)
{
    const state_job *job = argument;
    job->device->kernels->lightning_state(job->out, job->state, job->tail_rows, job->decay, head, job->dim,
                                          pk_cpu_scratch(job->device, worker));
}

static pk_err lightning_state(pk_device *device, float *out, const pk_lightning_state *state, size_t tail_rows,
                              const float *decay, size_t heads, size_t dim)
{
    assert(tail_rows <= PK_LIGHTNING_BLOCK);
    state_job job = {
        .device = device, .out = out, .state = state, .decay = decay, .tail_rows = tail_rows, .dim = dim};
    pk_err err = pk_cpu_reserve(device, device->kernels->lightning_scratch(dim));
    if (!err)
        pk_pool_run(device->pool, state_piece, &job, heads, (uint64_t)heads * dim * dim * tail_rows / 32);
    return err;
}

/* Query lines (rows × heads of a group) that pass over one tile of keys and values while it lies in the cache. */
enum { SOFTMAX_LINES = 192 };

typedef struct {
    const pk_device *device;
    const pk_softmax *op;
    size_t piece_rows;
} softmax_job;

/* Keys and values enter the caches before any row is computed: rows bound their sums, whatever stands behind. */
static void append_piece(void *argument, size_t piece, unsigned worker)
{
    (void)worker;
    const softmax_job *job = argument;
    const pk_softmax *op = job->op;
    const pk_softmax_span *span = &op->spans[piece / op->kv_heads];
    size_t head = piece % op->kv_heads, stride = op->kv_heads * op->dim;
    for (size_t row = 0, count; row < span->rows; row += count) {
        size_t position = span->position + row, place = position % PK_KV_TILE;
        size_t at = (span->first_row + row) * stride + head * op->dim;
        count = smaller(PK_KV_TILE - place, span->rows - row);
        pk_cpu_append(pk_cpu_kv_keys(span->cache, position, op->kv_heads, op->dim, head),
                      pk_cpu_kv_values(span->cache, position, op->kv_heads, op->dim, head), place, op->k + at,
                      op->v + at, stride, count, op->dim);
    }
}

static size_t span_pieces(const softmax_job *job, const pk_softmax_span *span)
{
    return ceiling(span->rows, job->piece_rows) * job->op->kv_heads;
}

static void softmax_piece(void *argument, size_t piece, unsigned worker)
{
    const softmax_job *job = argument;
    const pk_softmax_span *span = job->op->spans;
    size_t here;
    while (piece >= (here = span_pieces(job, span))) {
        piece -= here;
        span++;
    }
    size_t first = piece / job->op->kv_heads * job->piece_rows;
    job->device->kernels->softmax(job->op, span, piece % job->op->kv_heads, first,
                                  smaller(job->piece_rows, span->rows - first), pk_cpu_scratch(job->device, worker));
}

static pk_err softmax(pk_device *device, const pk_softmax *op)
{
    assert(op->kv_heads && op->heads % op->kv_heads == 0);
    size_t group = op->heads / op->kv_heads, pieces = 0, rows = 0;
    softmax_job job = {.device = device, .op = op, .piece_rows = group < SOFTMAX_LINES ? SOFTMAX_LINES / group : 1};
    uint64_t cost = 0;
    for (size_t i = 0; i < op->span_count; i++) {
        const pk_softmax_span *span = &op->spans[i];
        pieces += span_pieces(&job, span);
        rows += span->rows;
        cost += (uint64_t)span->rows * (span->position + span->rows) * op->heads * op->dim / 16;
    }
    pk_err err = pk_cpu_reserve(device, device->kernels->softmax_scratch(job.piece_rows, group, op->dim));
    if (err)
        return err;
    pk_pool_run(device->pool, append_piece, &job, op->span_count * op->kv_heads, rows * op->kv_heads * op->dim);
    pk_pool_run(device->pool, softmax_piece, &job, pieces, cost);
    return PK_OK;
}

void pk_cpu_split_fill(pk_ops *ops)
{
    ops->matmul = matmul;
    ops->matmul_grouped = matmul_grouped;
    ops->rmsnorm = rmsnorm;
    ops->silu = silu;
    ops->swiglu = swiglu;
    ops->gate = gate;
    ops->lightning = lightning;
    ops->lightning_state = lightning_state;
    ops->softmax = softmax;
}
