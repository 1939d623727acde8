#include "tests/unit/gpu/purity.h"

#include <math.h>
#include <stdlib.h>

static size_t changed_rows(const float *a, const float *b, size_t rows, size_t width)
{
    size_t changed = 0;
    for (size_t row = 0; row < rows; row++)
        changed += first_difference(a + row * width, b + row * width, width) < width;
    return changed;
}

/* A cut of 1 to `left` rows, small ones as likely as large ones. */
static size_t next_cut(rng *random, size_t left)
{
    static const size_t sizes[] = {1, 2, 5, 7, 64, 65, 130, 600};
    size_t cut = rng_below(random, sizes[rng_below(random, 8)]) + 1;
    return cut < left ? cut : left;
}

static size_t matmul_changed(pk_device *device, rng *random, pk_dtype dtype, size_t rows)
{
    const pk_ops *ops = pk_device_ops(device);
    size_t inputs = 1 + rng_below(random, 700), outputs = 1 + rng_below(random, 150), changed = 0;
    matrix m;
    matrix_init(&m, device, random, dtype, outputs, inputs, rng_below(random, 2));
    float *x = floats(rows * inputs), *whole = floats(rows * outputs), *cut = floats(rows * outputs);
    fill(random, x, rows * inputs);
    sprinkle(random, x, rows * inputs, 2000);
    ops->matmul(device, whole, x, rows, &m.packed);
    for (size_t row = 0, count; row < rows; row += count) {
        count = next_cut(random, rows - row);
        ops->matmul(device, cut + row * outputs, x + row * inputs, count, &m.packed);
    }
    changed += changed_rows(whole, cut, rows, outputs);
    for (size_t row = 0; row < rows; row++)
        ops->matmul(device, cut + row * outputs, x + row * inputs, 1, &m.packed);
    changed += changed_rows(whole, cut, rows, outputs);
    free(x);
    free(whole);
    free(cut);
    matrix_fini(&m);
    return changed;
}

size_t matmul_rows_changed_by_cuts(const char *backend, unsigned threads, rng *random)
{
    static const pk_dtype dtypes[] = {PK_F32, PK_BF16, PK_F16, PK_I8, PK_I4};
    pk_device *device = device_of(backend, threads);
    size_t changed = 0;
    for (size_t d = 0; d < sizeof dtypes / sizeof *dtypes; d++)
        for (size_t rows = 2; rows < 300; rows = rows * 3 + rng_below(random, 3))
            changed += matmul_changed(device, random, dtypes[d], rows);
    pk_device_close(&device);
    return changed;
}

size_t grouped_rows_changed_by_grouping(const char *backend, unsigned threads, rng *random)
{
    enum { GROUPS = 5, INPUTS = 203, OUTPUTS = 75 };
    const size_t offsets[GROUPS + 1] = {0, 1, 1, 18, 25, 281}; /* one group is empty */
    pk_device *device = device_of(backend, threads);
    const pk_ops *ops = pk_device_ops(device);
    size_t rows = offsets[GROUPS], changed;
    matrix m[GROUPS];
    pk_matrix packed[GROUPS];
    float *x = floats(rows * INPUTS), *whole = floats(rows * OUTPUTS), *alone = floats(rows * OUTPUTS);
    fill(random, x, rows * INPUTS);
    for (size_t g = 0; g < GROUPS; g++) {
        matrix_init(&m[g], device, random, PK_BF16, OUTPUTS, INPUTS, false);
        packed[g] = m[g].packed;
        for (size_t row = offsets[g]; row < offsets[g + 1]; row++)
            ops->matmul(device, alone + row * OUTPUTS, x + row * INPUTS, 1, &packed[g]);
    }
    ops->matmul_grouped(device, whole, x, GROUPS, offsets, packed);
    changed = changed_rows(whole, alone, rows, OUTPUTS);
    for (size_t g = 0; g < GROUPS; g++)
        matrix_fini(&m[g]);
    free(x);
    free(whole);
    free(alone);
    pk_device_close(&device);
    return changed;
}

static void random_lightning(lightning_sequence *s, rng *random, size_t heads, size_t dim, size_t rows, bool special)
{
    lightning_init(s, heads, dim, rows);
    fill(random, s->qkv, rows * heads * 3 * dim);
    if (special)
        sprinkle(random, s->qkv + rows * heads * 3 * dim / 2, rows * heads * 3 * dim / 2, 5000);
}

static void lightning_copy(lightning_sequence *to, const lightning_sequence *from)
{
    lightning_init(to, from->heads, from->dim, from->rows);
    memcpy(to->qkv, from->qkv, from->rows * from->heads * 3 * from->dim * sizeof(float));
}

/* Output rows, and rows of the state as of the end, that differ. */
static size_t lightning_changed(const lightning_sequence *a, const lightning_sequence *b, pk_device *device)
{
    size_t floats_of_state = a->heads * a->dim * a->dim;
    float *state_a = floats(floats_of_state), *state_b = floats(floats_of_state);
    const pk_ops *ops = pk_device_ops(device);
    const lightning_sequence *both[] = {a, b};
    for (size_t i = 0; i < 2; i++) {
        pk_lightning_state state = {both[i]->matrix, both[i]->keys, both[i]->values};
        ops->lightning_state(device, i ? state_b : state_a, &state, a->fed % PK_LIGHTNING_BLOCK, a->decay, a->heads,
                             a->dim);
    }
    size_t changed = changed_rows(a->out, b->out, a->rows, a->heads * a->dim);
    changed += changed_rows(state_a, state_b, a->heads * a->dim, a->dim);
    changed += changed_rows(a->matrix, b->matrix, a->heads * a->dim, a->dim);
    free(state_a);
    free(state_b);
    return changed;
}

static size_t lightning_case(pk_device *device, rng *random, size_t heads, size_t dim, size_t rows, bool special)
{
    lightning_sequence one, cut;
    random_lightning(&one, random, heads, dim, rows, special);
    lightning_copy(&cut, &one);
    while (one.fed < rows)
        lightning_feed(&one, device, 1);
    while (cut.fed < rows)
        lightning_feed(&cut, device, next_cut(random, rows - cut.fed));
    size_t changed = lightning_changed(&one, &cut, device);
    lightning_fini(&one);
    lightning_fini(&cut);
    return changed;
}

size_t lightning_rows_changed_by_cuts(const char *backend, unsigned threads, rng *random)
{
    static const size_t dims[] = {1, 6, 12, 16, 33, 64, 72};
    pk_device *device = device_of(backend, threads);
    size_t changed = 0;
    for (size_t i = 0; i < sizeof dims / sizeof *dims; i++)
        changed += lightning_case(device, random, 1 + rng_below(random, 5), dims[i], 150 + rng_below(random, 150),
                                  i % 2);
    pk_device_close(&device);
    return changed;
}

static void random_softmax(softmax_sequence *s, rng *random, size_t kv_heads, size_t group, size_t dim, size_t rows)
{
    softmax_init(s, kv_heads * group, kv_heads, dim, rows);
    fill(random, s->q, rows * s->heads * dim);
    fill(random, s->k, rows * kv_heads * dim);
    fill(random, s->v, rows * kv_heads * dim);
    /* Weights that vary enough for the running maximum to move. */
    for (size_t i = 0; i < rows * s->heads * dim; i++)
        s->q[i] *= 6.0f;
}

static void softmax_copy(softmax_sequence *to, const softmax_sequence *from)
{
    softmax_init(to, from->heads, from->kv_heads, from->dim, from->rows);
    memcpy(to->q, from->q, from->rows * from->heads * from->dim * sizeof(float));
    memcpy(to->k, from->k, from->rows * from->kv_heads * from->dim * sizeof(float));
    memcpy(to->v, from->v, from->rows * from->kv_heads * from->dim * sizeof(float));
}

static size_t softmax_case(pk_device *device, rng *random, size_t kv_heads, size_t group, size_t dim, size_t together,
                           size_t rest)
{
    softmax_sequence one, cut;
    random_softmax(&one, random, kv_heads, group, dim, together + rest);
    if (rest > 20) {
        sprinkle(random, one.k + (one.rows - 20) * kv_heads * dim, 20 * kv_heads * dim, 500);
        sprinkle(random, one.v + (one.rows - 20) * kv_heads * dim, 20 * kv_heads * dim, 500);
    }
    softmax_copy(&cut, &one);
    if (together)
        softmax_feed(&one, device, together);
    while (one.fed < one.rows)
        softmax_feed(&one, device, 1);
    while (cut.fed < cut.rows)
        softmax_feed(&cut, device, next_cut(random, cut.rows - cut.fed));
    size_t changed = changed_rows(one.out, cut.out, one.rows, one.heads * dim);
    softmax_fini(&one);
    softmax_fini(&cut);
    return changed;
}

size_t softmax_rows_changed_by_cuts(const char *backend, unsigned threads, rng *random, size_t together, size_t rest)
{
    static const size_t dims[] = {12, 16, 33, 64};
    pk_device *device = device_of(backend, threads);
    size_t changed = 0, cases = together ? 1 : 4;
    for (size_t i = 0; i < cases; i++)
        changed += softmax_case(device, random, 1 + rng_below(random, 2), 1 + rng_below(random, together ? 2 : 9),
                                dims[i], together, rest);
    pk_device_close(&device);
    return changed;
}

enum { SEQUENCES = 3 };

size_t lightning_rows_changed_by_neighbours(const char *backend, unsigned threads, rng *random)
{
    static const size_t before[SEQUENCES] = {70, 0, 63}, now[SEQUENCES] = {1, 90, 2};
    enum { HEADS = 3, DIM = 20 };
    pk_device *device = device_of(backend, threads);
    lightning_sequence alone[SEQUENCES], mixed[SEQUENCES];
    pk_lightning_span spans[SEQUENCES];
    size_t rows = 0, changed = 0;
    float *qkv = floats(100 * HEADS * 3 * DIM), *out = floats(100 * HEADS * DIM);
    for (size_t i = 0; i < SEQUENCES; i++) {
        random_lightning(&alone[i], random, HEADS, DIM, before[i] + now[i], false);
        lightning_copy(&mixed[i], &alone[i]);
        lightning_feed(&alone[i], device, before[i]);
        lightning_feed(&alone[i], device, now[i]);
        lightning_feed(&mixed[i], device, before[i]);
        memcpy(qkv + rows * HEADS * 3 * DIM, mixed[i].qkv + before[i] * HEADS * 3 * DIM,
               now[i] * HEADS * 3 * DIM * sizeof(float));
        spans[i] = (pk_lightning_span){.first_row = rows, .rows = now[i], .position = (uint32_t)before[i],
                                       .state = {mixed[i].matrix, mixed[i].keys, mixed[i].values}};
        rows += now[i];
    }
    pk_lightning op = {.out = out, .qkv = qkv, .decay = alone[0].decay, .heads = HEADS, .dim = DIM, .spans = spans,
                       .span_count = SEQUENCES};
    pk_device_ops(device)->lightning(device, &op);
    for (size_t i = 0; i < SEQUENCES; i++) {
        changed += changed_rows(out + spans[i].first_row * HEADS * DIM, alone[i].out + before[i] * HEADS * DIM, now[i],
                                HEADS * DIM);
        changed += changed_rows(alone[i].matrix, mixed[i].matrix, HEADS * DIM, DIM);
        lightning_fini(&alone[i]);
        lightning_fini(&mixed[i]);
    }
    free(qkv);
    free(out);
    pk_device_close(&device);
    return changed;
}

size_t softmax_rows_changed_by_neighbours(const char *backend, unsigned threads, rng *random)
{
    static const size_t before[SEQUENCES] = {70, 0, 63}, now[SEQUENCES] = {1, 90, 2};
    enum { KV_HEADS = 2, GROUP = 3, DIM = 20, WIDTH = KV_HEADS * GROUP * DIM, KV_WIDTH = KV_HEADS * DIM };
    pk_device *device = device_of(backend, threads);
    softmax_sequence alone[SEQUENCES], mixed[SEQUENCES];
    pk_softmax_span spans[SEQUENCES];
    size_t rows = 0, changed = 0;
    float *q = floats(100 * WIDTH), *k = floats(100 * KV_WIDTH), *v = floats(100 * KV_WIDTH),
          *out = floats(100 * WIDTH);
    for (size_t i = 0; i < SEQUENCES; i++) {
        random_softmax(&alone[i], random, KV_HEADS, GROUP, DIM, before[i] + now[i]);
        softmax_copy(&mixed[i], &alone[i]);
        softmax_feed(&alone[i], device, before[i]);
        softmax_feed(&alone[i], device, now[i]);
        softmax_feed(&mixed[i], device, before[i]);
        memcpy(q + rows * WIDTH, mixed[i].q + before[i] * WIDTH, now[i] * WIDTH * sizeof(float));
        memcpy(k + rows * KV_WIDTH, mixed[i].k + before[i] * KV_WIDTH, now[i] * KV_WIDTH * sizeof(float));
        memcpy(v + rows * KV_WIDTH, mixed[i].v + before[i] * KV_WIDTH, now[i] * KV_WIDTH * sizeof(float));
        spans[i] = (pk_softmax_span){.first_row = rows, .rows = now[i], .position = (uint32_t)before[i],
                                     .cache = mixed[i].cache};
        rows += now[i];
    }
    pk_softmax op = {.out = out, .q = q, .k = k, .v = v, .heads = KV_HEADS * GROUP, .kv_heads = KV_HEADS, .dim = DIM,
                     .spans = spans, .span_count = SEQUENCES};
    pk_device_ops(device)->softmax(device, &op);
    for (size_t i = 0; i < SEQUENCES; i++) {
        changed += changed_rows(out + spans[i].first_row * WIDTH, alone[i].out + before[i] * WIDTH, now[i], WIDTH);
        softmax_fini(&alone[i]);
        softmax_fini(&mixed[i]);
    }
    free(q);
    free(k);
    free(v);
    free(out);
    pk_device_close(&device);
    return changed;
}

static const float poisons[] = {INFINITY, -INFINITY, NAN};

size_t lightning_rows_reached_by_the_future(const char *backend, rng *random)
{
    enum { HEADS = 2, DIM = 19, ROWS = 100, WIDTH = HEADS * DIM };
    pk_device *device = device_of(backend, 1);
    size_t changed = 0;
    for (size_t i = 0; i < 12; i++) {
        lightning_sequence clean, sick;
        size_t row = 1 + rng_below(random, ROWS - 1), part = 1 + i % 2; /* of q, k, v */
        random_lightning(&clean, random, HEADS, DIM, ROWS, false);
        lightning_copy(&sick, &clean);
        sick.qkv[row * 3 * WIDTH + part * DIM + rng_below(random, DIM)] = poisons[i % 3];
        lightning_feed(&clean, device, ROWS);
        lightning_feed(&sick, device, ROWS);
        changed += changed_rows(clean.out, sick.out, row, WIDTH);
        lightning_fini(&clean);
        lightning_fini(&sick);
    }
    pk_device_close(&device);
    return changed;
}

size_t softmax_rows_reached_by_the_future(const char *backend, rng *random)
{
    enum { HEADS = 2, DIM = 19, ROWS = 100, WIDTH = HEADS * DIM };
    pk_device *device = device_of(backend, 1);
    size_t changed = 0;
    for (size_t i = 0; i < 12; i++) {
        softmax_sequence clean, sick;
        size_t row = 1 + rng_below(random, ROWS - 1);
        random_softmax(&clean, random, HEADS, 1, DIM, ROWS);
        softmax_copy(&sick, &clean);
        (i % 2 ? sick.k : sick.v)[row * WIDTH + rng_below(random, DIM)] = poisons[i % 3];
        softmax_feed(&clean, device, ROWS);
        softmax_feed(&sick, device, ROWS);
        changed += changed_rows(clean.out, sick.out, row, WIDTH);
        softmax_fini(&clean);
        softmax_fini(&sick);
    }
    pk_device_close(&device);
    return changed;
}
