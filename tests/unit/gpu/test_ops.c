/* What the operations compute: the plain kernels against a naive double reference that shares no code and no order of
 * summation with them, and the AVX2 kernels against the plain ones to the last bit, over shapes that fit no tile.
 *
 * Tolerances: a sum of n products rounded in float32 is off by at most n·2^-24·Σ|a·b|, in practice by its square root;
 * 4·√n·2^-24·Σ|a·b| is far below what a wrong term would change. For lightning it is tight enough to tell powers of a
 * rounded λ (2 to 5 times the tolerance over 22 seeds) from the table of decays (up to 0.55 of it). */
#include "tests/unit/gpu/fixture.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static const size_t odd_rows[] = {1, 2, 5, 6, 7, 16, 17, 63, 64, 65, 257};
enum { ODD_ROWS = sizeof odd_rows / sizeof *odd_rows };
static const pk_dtype dtypes[] = {PK_F32, PK_BF16, PK_F16, PK_I8, PK_I4};
enum { DTYPES = sizeof dtypes / sizeof *dtypes };

static void assert_near(float value, double truth, double size, size_t terms)
{
    double tolerance = 4.0 * sqrt((double)terms + 4.0) * 0x1p-24 * size + 0x1p-140;
    if (!(fabs((double)value - truth) <= tolerance)) {
        print_error("%.9g is not %.9g within %.3g\n", (double)value, truth, tolerance);
        fail();
    }
}

static void products_are_those_of_the_reference(void **state)
{
    (void)state;
    rng random = rng_open("matmul reference", 30);
    pk_device *device = device_of("cpu:plain", 2);
    for (size_t d = 0; d < DTYPES; d++) {
        size_t rows = 1 + rng_below(&random, 9), inputs = 300, outputs = 37;
        matrix m;
        matrix_init(&m, device, &random, dtypes[d], outputs, inputs, false);
        float *x = floats(rows * inputs), *y = floats(rows * outputs);
        fill(&random, x, rows * inputs);
        assert_int_equal(pk_device_ops(device)->matmul(device, y, x, rows, &m.packed), PK_OK);
        for (size_t i = 0; i < rows * outputs; i++) {
            double sum = 0.0, size = 0.0;
            for (size_t k = 0; k < inputs; k++) {
                double term = (double)x[i / outputs * inputs + k] * (double)m.values[i % outputs * inputs + k];
                sum += term;
                size += fabs(term);
            }
            assert_near(y[i], sum, size, inputs);
        }
        free(x);
        free(y);
        matrix_fini(&m);
    }
    pk_device_close(&device);
}

static void a_product_is_one_ascending_chain(void **state)
{
    (void)state;
    /* 1 + 2^-24 - 1 in float32: ascending, the small term is rounded away; in any other order it survives. */
    pk_device *device = device_of("cpu", 1);
    const pk_ops *ops = pk_device_ops(device);
    float rows[] = {1.0f, 0x1p-25f, -1.0f}, x[] = {1.0f, 1.0f, 1.0f}, y = 5.0f;
    pk_matrix w = {.dtype = PK_F32, .outputs = 1, .inputs = 3, .data = ops->alloc(device, pk_matrix_bytes(PK_F32, 1, 3))};
    ops->pack(&w, 0, 1, rows);
    assert_int_equal(ops->matmul(device, &y, x, 1, &w), PK_OK);
    assert_true(y == 0.0f && !signbit(y));
    ops->free(device, w.data, pk_matrix_bytes(PK_F32, 1, 3));
    pk_device_close(&device);
}

static void a_quantised_product_chains_its_groups_sums_with_their_scales(void **state)
{
    (void)state;
    enum { INPUTS = PK_GROUP + 2 };
    rng random = rng_open("quantised", 33);
    pk_device *device = device_of("cpu", 1);
    float x[INPUTS], y, first = 0.0f, second = 0.0f;
    fill(&random, x, INPUTS);
    for (size_t d = 3; d < DTYPES; d++, first = second = 0.0f) {
        matrix m;
        matrix_init(&m, device, &random, dtypes[d], 1, INPUTS, false);
        for (size_t k = 0; k < INPUTS; k++) {
            float *sum = k < PK_GROUP ? &first : &second, scale = m.scales[k / PK_GROUP];
            *sum = fmaf(x[k], nearbyintf(m.values[k] / scale), *sum);
        }
        assert_int_equal(pk_device_ops(device)->matmul(device, &y, x, 1, &m.packed), PK_OK);
        float wanted = fmaf(second, m.scales[1], fmaf(first, m.scales[0], 0.0f));
        assert_same_bits(&y, &wanted, 1);
        matrix_fini(&m);
    }
    pk_device_close(&device);
}

/* One of the operations on `device`, into `out`. */
typedef void run_case(pk_device *device, void *shape, float *out);

/* Runs the case on plain with one thread, and on AVX2 and AVX-512, where they run, with three: the same bits. */
static void assert_backends_agree(run_case *run, void *shape, size_t count)
{
    static const char *const backends[] = {"cpu:avx2", "cpu:avx512"};
    pk_device *plain = device_of("cpu:plain", 1);
    float *a = floats(count), *b = floats(count);
    run(plain, shape, a);
    for (size_t i = 0; i < 2 && backend_runs(backends[i]); i++) {
        pk_device *simd = device_of(backends[i], 3);
        memset(b, 0, count * sizeof *b);
        run(simd, shape, b);
        assert_same_bits(a, b, count);
        pk_device_close(&simd);
    }
    free(a);
    free(b);
    pk_device_close(&plain);
}

typedef struct {
    rng *random;
    matrix weights;
    float *x;
    size_t rows;
} matmul_case;

static void run_matmul(pk_device *device, void *shape, float *out)
{
    matmul_case *c = shape;
    matrix m;
    matrix_copy(&m, device, c->random, &c->weights);
    assert_int_equal(pk_device_ops(device)->matmul(device, out, c->x, c->rows, &m.packed), PK_OK);
    matrix_fini(&m);
}

static void simd_products_have_the_bits_of_plain(void **state)
{
    (void)state;
    static const size_t inputs[] = {1, 2, 3, 17, 63, 64, 100, 511, 512, 513, 600, 1030};
    static const size_t outputs[] = {1, 7, 15, 16, 17, 40, 64, 65, 100, 130};
    if (!backend_runs("cpu:avx2"))
        skip();
    rng random = rng_open("matmul bits", 31);
    pk_device *device = device_of("cpu:plain", 1);
    for (size_t i = 0; i < DTYPES * ODD_ROWS * 4; i += SHARE) {
        matmul_case c = {.random = &random, .rows = odd_rows[i % ODD_ROWS]};
        size_t width = inputs[rng_below(&random, 12)], height = outputs[rng_below(&random, c.rows > 100 ? 6 : 10)];
        matrix_init(&c.weights, device, &random, dtypes[i % DTYPES], height, width, i % 4 == 0);
        c.x = floats(c.rows * width);
        fill(&random, c.x, c.rows * width);
        if (i % 2)
            sprinkle(&random, c.x, c.rows * width, 3000);
        assert_backends_agree(run_matmul, &c, c.rows * height);
        free(c.x);
        matrix_fini(&c.weights);
    }
    pk_device_close(&device);
}

static void rmsnorm_is_that_of_the_reference(void **state)
{
    (void)state;
    enum { ROWS = 3, WIDTH = 77 };
    rng random = rng_open("rmsnorm", 32);
    pk_device *device = device_of("cpu:plain", 1);
    float x[ROWS * WIDTH], w[WIDTH], y[ROWS * WIDTH];
    fill(&random, x, ROWS * WIDTH);
    fill(&random, w, WIDTH);
    pk_device_ops(device)->rmsnorm(device, y, x, w, ROWS, WIDTH, 1e-3f);
    for (size_t row = 0; row < ROWS; row++) {
        double squares = 0.0;
        for (size_t i = 0; i < WIDTH; i++)
            squares += (double)x[row * WIDTH + i] * (double)x[row * WIDTH + i];
        double r = 1.0 / sqrt(squares / WIDTH + 1e-3);
        for (size_t i = 0; i < WIDTH; i++) {
            double truth = (double)w[i] * (double)x[row * WIDTH + i] * r;
            assert_near(y[row * WIDTH + i], truth, fabs(truth), 4);
        }
    }
    pk_device_close(&device);
}

typedef struct {
    size_t rows, width;
    const float *x, *w;
} rows_case;

static void run_rmsnorm(pk_device *device, void *shape, float *out)
{
    rows_case *c = shape;
    pk_device_ops(device)->rmsnorm(device, out, c->x, c->w, c->rows, c->width, 1e-6f);
    /* In place it must be the same. */
    float *copy = floats(c->rows * c->width);
    memcpy(copy, c->x, c->rows * c->width * sizeof *copy);
    pk_device_ops(device)->rmsnorm(device, copy, copy, c->w, c->rows, c->width, 1e-6f);
    assert_same_bits(copy, out, c->rows * c->width);
    free(copy);
}

static void run_elements(pk_device *device, void *shape, float *out)
{
    rows_case *c = shape;
    const pk_ops *ops = pk_device_ops(device);
    size_t count = c->rows * c->width;
    memcpy(out, c->x, count * sizeof *out);
    ops->silu(device, out, count);
    memcpy(out + count, c->x, count * sizeof *out);
    ops->swiglu(device, out + count, c->w, count);
    memcpy(out + 2 * count, c->x, count * sizeof *out);
    ops->gate(device, out + 2 * count, c->w, count);
}

static void simd_rows_and_elements_have_the_bits_of_plain(void **state)
{
    (void)state;
    if (!backend_runs("cpu:avx2"))
        skip();
    rng random = rng_open("rows bits", 33);
    for (size_t i = 0; i < 60; i += SHARE) {
        rows_case c = {.rows = odd_rows[i % ODD_ROWS], .width = 1 + rng_below(&random, 300)};
        size_t count = c.rows * c.width;
        float *x = floats(count), *w = floats(count);
        fill(&random, x, count);
        fill(&random, w, count);
        for (size_t k = 0; k < count; k++)
            x[k] *= 30.0f;
        if (i % 2) {
            sprinkle(&random, x, count, 100);
            sprinkle(&random, w, count, 100);
        }
        c.x = x;
        c.w = w;
        assert_backends_agree(run_rmsnorm, &c, count);
        assert_backends_agree(run_elements, &c, 3 * count);
        free(x);
        free(w);
    }
}

/* The recurrence of model.md §4.1, token by token in double, for three heads of layer 1 of 4. The decay per token comes
 * from the model's formula and not from the table: its float32 λ, taken to powers, is what the table exists to avoid. */
static void lightning_reference(const lightning_sequence *s, double *out, double *sizes, double *states)
{
    static const double slopes[3] = {0x1p-4, 0x1p-8, 0x1p-2};
    size_t dim = s->dim, width = s->heads * dim;
    for (size_t t = 0; t < s->rows; t++)
        for (size_t head = 0; head < s->heads; head++) {
            const float *q = s->qkv + (t * s->heads + head) * 3 * dim, *k = q + dim, *v = k + dim;
            double lambda = exp(-slopes[head] * (1.0 - 1.0 / 3.0 + 1e-5));
            double *S = states + head * dim * dim, *o = out + t * width + head * dim, *size = sizes + t * width + head * dim;
            for (size_t i = 0; i < dim; i++)
                for (size_t e = 0; e < dim; e++) {
                    S[i * dim + e] = lambda * S[i * dim + e] + (double)k[i] * (double)v[e];
                    o[e] += (double)q[i] * S[i * dim + e];
                    size[e] += fabs((double)q[i]) * (fabs(S[i * dim + e]) + 1.0);
                }
        }
}

static void lightning_is_the_recurrence(void **state)
{
    (void)state;
    rng random = rng_open("lightning reference", 34);
    pk_device *device = device_of("cpu:plain", 2);
    lightning_sequence s;
    lightning_init(&s, 3, 12, 150);
    size_t states = s.heads * s.dim * s.dim, width = s.heads * s.dim;
    double *out = calloc(s.rows * width, sizeof *out), *sizes = calloc(s.rows * width, sizeof *sizes),
           *last = calloc(states, sizeof *last);
    float *end = floats(states);
    assert_true(out && sizes && last);
    fill(&random, s.qkv, s.rows * width * 3);
    lightning_reference(&s, out, sizes, last);
    lightning_feed(&s, device, 100);
    lightning_feed(&s, device, 50);
    for (size_t i = 0; i < s.rows * width; i++)
        assert_near(s.out[i], out[i], 0.25 * sizes[i], s.rows);
    pk_lightning_state now = {s.matrix, s.keys, s.values};
    pk_device_ops(device)->lightning_state(device, end, &now, s.rows % PK_LIGHTNING_BLOCK, s.decay, s.heads, s.dim);
    for (size_t i = 0; i < states; i++)
        assert_near(end[i], last[i], fabs(last[i]) + 1.0, s.rows);
    free(out);
    free(sizes);
    free(last);
    free(end);
    lightning_fini(&s);
    pk_device_close(&device);
}

typedef struct {
    size_t heads, group, dim, first, rows;
    const float *x, *k, *v;
} attention_case;

static void run_lightning(pk_device *device, void *shape, float *out)
{
    attention_case *c = shape;
    lightning_sequence s;
    size_t width = c->heads * c->dim, rows = c->first + c->rows;
    lightning_init(&s, c->heads, c->dim, rows);
    memcpy(s.qkv, c->x, rows * width * 3 * sizeof(float));
    lightning_feed(&s, device, c->first);
    lightning_feed(&s, device, c->rows);
    memcpy(out, s.out, rows * width * sizeof(float));
    memcpy(out + rows * width, s.matrix, width * c->dim * sizeof(float));
    pk_lightning_state end = {s.matrix, s.keys, s.values};
    pk_device_ops(device)->lightning_state(device, out + (rows + c->dim) * width, &end, rows % PK_LIGHTNING_BLOCK,
                                           s.decay, c->heads, c->dim);
    lightning_fini(&s);
}

static void simd_lightning_has_the_bits_of_plain(void **state)
{
    (void)state;
    static const size_t dims[] = {1, 5, 8, 12, 16, 31, 32, 48, 64, 80};
    if (!backend_runs("cpu:avx2"))
        skip();
    rng random = rng_open("lightning bits", 35);
    for (size_t i = 0; i < 2 * ODD_ROWS; i += SHARE) {
        attention_case c = {.heads = 1 + rng_below(&random, 3), .dim = dims[i % 10], .first = rng_below(&random, 70),
                            .rows = odd_rows[i % ODD_ROWS]};
        size_t count = (c.first + c.rows) * c.heads * c.dim * 3;
        float *qkv = floats(count);
        fill(&random, qkv, count);
        if (i % 2)
            sprinkle(&random, qkv + count / 2, count / 2, 3000);
        c.x = qkv;
        assert_backends_agree(run_lightning, &c, (c.first + c.rows + 2 * c.dim) * c.heads * c.dim);
        free(qkv);
    }
}

/* Softmax attention of row t and head `head`, in double. */
static void softmax_reference(const softmax_sequence *s, size_t t, size_t head, double *out)
{
    size_t dim = s->dim, kv = head / (s->heads / s->kv_heads);
    const float *q = s->q + (t * s->heads + head) * dim;
    double sum = 0.0;
    memset(out, 0, dim * sizeof *out);
    for (size_t j = 0; j <= t; j++) {
        const float *k = s->k + (j * s->kv_heads + kv) * dim, *v = s->v + (j * s->kv_heads + kv) * dim;
        double dot = 0.0;
        for (size_t i = 0; i < dim; i++)
            dot += (double)q[i] * (double)k[i];
        double weight = exp(dot / sqrt((double)dim));
        sum += weight;
        for (size_t e = 0; e < dim; e++)
            out[e] += weight * (double)v[e];
    }
    for (size_t e = 0; e < dim; e++)
        out[e] /= sum;
}

static void softmax_is_that_of_the_reference(void **state)
{
    (void)state;
    rng random = rng_open("softmax reference", 36);
    pk_device *device = device_of("cpu:plain", 2);
    softmax_sequence s;
    double truth[12];
    softmax_init(&s, 4, 2, 12, PK_KV_SPAN + 80);
    fill(&random, s.q, s.rows * 4 * 12);
    fill(&random, s.k, s.rows * 2 * 12);
    fill(&random, s.v, s.rows * 2 * 12);
    softmax_feed(&s, device, 130);
    softmax_feed(&s, device, s.rows - s.fed);
    for (size_t t = 0; t < s.rows; t += t < 200 ? 1 : 97)
        for (size_t head = 0; head < 4; head++) {
            softmax_reference(&s, t, head, truth);
            for (size_t e = 0; e < 12; e++)
                assert_near(s.out[(t * 4 + head) * 12 + e], truth[e], 1.0, 64);
        }
    softmax_fini(&s);
    pk_device_close(&device);
}

static void run_softmax(pk_device *device, void *shape, float *out)
{
    attention_case *c = shape;
    softmax_sequence s;
    size_t rows = c->first + c->rows, width = c->heads * c->group * c->dim;
    softmax_init(&s, c->heads * c->group, c->heads, c->dim, rows);
    memcpy(s.q, c->x, rows * width * sizeof(float));
    memcpy(s.k, c->k, rows * c->heads * c->dim * sizeof(float));
    memcpy(s.v, c->v, rows * c->heads * c->dim * sizeof(float));
    softmax_feed(&s, device, c->first);
    softmax_feed(&s, device, c->rows);
    memcpy(out, s.out, rows * width * sizeof(float));
    softmax_fini(&s);
}

static void softmax_bits(rng *random, attention_case c, bool special)
{
    size_t rows = c.first + c.rows, count = rows * c.heads * c.dim;
    float *q = floats(count * c.group), *k = floats(count), *v = floats(count);
    fill(random, q, count * c.group);
    fill(random, k, count);
    fill(random, v, count);
    for (size_t i = 0; i < count * c.group; i++)
        q[i] *= 8.0f;
    if (special) {
        sprinkle(random, q, count * c.group, 2000);
        sprinkle(random, k + count / 2, count / 2 + 1, 3000);
        sprinkle(random, v + count / 2, count / 2 + 1, 3000);
    }
    c.x = q;
    c.k = k;
    c.v = v;
    assert_backends_agree(run_softmax, &c, count * c.group);
    free(q);
    free(k);
    free(v);
}

static void simd_softmax_has_the_bits_of_plain(void **state)
{
    (void)state;
    static const size_t dims[] = {1, 5, 8, 12, 16, 31, 32, 48, 64, 80};
    if (!backend_runs("cpu:avx2"))
        skip();
    rng random = rng_open("softmax bits", 37);
    for (size_t i = 0; i < 2 * ODD_ROWS; i += SHARE)
        softmax_bits(&random,
                     (attention_case){.heads = 1 + rng_below(&random, 2), .group = 1 + rng_below(&random, 9),
                                      .dim = dims[i % 10], .first = rng_below(&random, 200),
                                      .rows = odd_rows[i % ODD_ROWS]},
                     i % 2);
    softmax_bits(&random, (attention_case){.heads = 1, .group = 1, .dim = 8, .first = PK_KV_SPAN - 30, .rows = 100},
                 false);
}

static void rope_rotates_the_first_entries_of_each_head(void **state)
{
    (void)state;
    enum { ROWS = 3, HEADS = 2, DIM = 80, ROTARY = 70 };
    static const uint32_t positions[ROWS] = {0, 1000, 9999999};
    rng random = rng_open("rope", 38);
    pk_device *device = device_of("cpu", 1);
    float x[ROWS * HEADS * DIM], y[ROWS * HEADS * DIM], inverse[ROTARY / 2];
    fill(&random, x, ROWS * HEADS * DIM);
    memcpy(y, x, sizeof y);
    pk_rope_inverse(inverse, 1e7, ROTARY);
    pk_device_ops(device)->rope(device, y, positions, inverse, ROWS, HEADS, DIM, ROTARY);
    for (size_t i = 0; i < ROWS * HEADS * DIM; i++) {
        size_t e = i % DIM, row = i / (HEADS * DIM), pair = e % (ROTARY / 2);
        if (e >= ROTARY || row == 0) {
            assert_true(x[i] == y[i]);
            continue;
        }
        double angle = (double)((float)positions[row] * inverse[pair]), low = (double)x[i - e + pair];
        double high = (double)x[i - e + pair + ROTARY / 2];
        double truth = e < ROTARY / 2 ? low * cos(angle) - high * sin(angle) : high * cos(angle) + low * sin(angle);
        assert_near(y[i], truth, 1.0, 1);
    }
    pk_device_close(&device);
}

static void routes_prefer_large_logits_then_low_ids_and_nan_last(void **state)
{
    (void)state;
    pk_device *device = device_of("cpu", 1);
    float logits[] = {1.0f, 3.0f, 3.0f, -INFINITY, 2.0f, NAN, 3.0f, NAN, 1.0f, -1.0f}, weights[10];
    int32_t ids[10];
    pk_device_ops(device)->route(device, ids, weights, logits, 1, 5, 5);
    const int32_t five[] = {1, 2, 4, 0, 3};
    assert_memory_equal(ids, five, sizeof five);
    assert_true(weights[0] == weights[1] && weights[4] == 0.0f);
    double e[] = {1.0, 1.0, exp(-1.0), exp(-2.0), 0.0}, sum = e[0] + e[1] + e[2] + e[3];
    for (size_t i = 0; i < 5; i++)
        assert_near(weights[i], e[i] / sum, 1.0, 1);
    pk_device_ops(device)->route(device, ids, weights, logits + 5, 1, 5, 3);
    assert_int_equal(ids[0], 1);
    assert_int_equal(ids[1], 3);
    assert_int_equal(ids[2], 4);
    pk_device_ops(device)->route(device, ids, weights, logits + 5, 1, 5, 5);
    assert_int_equal(ids[3], 0);
    assert_int_equal(ids[4], 2);
    assert_true(weights[0] != weights[0]);
    pk_device_close(&device);
}

static void rows_are_gathered_combined_and_mixed(void **state)
{
    (void)state;
    enum { WIDTH = 3 };
    pk_device *device = device_of("cpu", 1);
    const pk_ops *ops = pk_device_ops(device);
    const float in[] = {1, 2, 3, 10, 20, 30, -0.0f, 0.5f, -1}, weights[] = {0.25f, 2.0f, 1.0f, 0.0f};
    const uint32_t index[] = {2, 0, 1, 2};
    float out[4 * WIDTH], moe[] = {4.0f, -2.0f, 0.0f}, mlp[] = {1.0f, 1.0f, 1.0f}, coefficient[] = {0.0f};
    ops->gather(device, out, in, index, 4, WIDTH);
    assert_same_bits(out, in + 2 * WIDTH, WIDTH);
    assert_same_bits(out + WIDTH, in, WIDTH);
    ops->combine(device, out, in, index, weights, 2, 2, WIDTH);
    const float combined[] = {2.0f, 4.125f, 5.75f, 10.0f, 20.0f, 30.0f};
    assert_same_bits(out, combined, 2 * WIDTH);
    ops->mix_shared(device, moe, mlp, coefficient, 1, WIDTH);
    const float mixed[] = {2.5f, -0.5f, 0.5f};
    assert_same_bits(moe, mixed, WIDTH);
    ops->residual(device, moe, mlp, WIDTH, 3.0f, 2.0f);
    const float summed[] = {8.0f, 2.0f, 4.0f};
    assert_same_bits(moe, summed, WIDTH);
    pk_device_close(&device);
}

static void embedding_expands_exactly(void **state)
{
    (void)state;
    pk_device *device = device_of("cpu", 2);
    const pk_ops *ops = pk_device_ops(device);
    const uint16_t bf16[] = {0, 0, 0x3f80, 0x8001, 0xff80, 0x4049}, f16[] = {0, 0, 0x3c00, 0x8001, 0xfc00, 0x0400};
    const float f32[] = {1, 2, 3, 4, 5, 6};
    const int32_t ids[] = {2, 1, 2};
    float out[6];
    ops->embed(device, out, bf16, PK_BF16, 2, ids, 3);
    const float from_bf16[] = {-INFINITY, 3.140625f, 1.0f, -0x1p-133f, -INFINITY, 3.140625f};
    assert_same_bits(out, from_bf16, 6);
    ops->embed(device, out, f16, PK_F16, 2, ids, 3);
    const float from_f16[] = {-INFINITY, 0x1p-14f, 1.0f, -0x1p-24f, -INFINITY, 0x1p-14f};
    assert_same_bits(out, from_f16, 6);
    ops->embed(device, out, f32, PK_F32, 2, ids, 3);
    const float from_f32[] = {5, 6, 3, 4, 5, 6};
    assert_same_bits(out, from_f32, 6);
    pk_device_close(&device);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_are_those_of_the_reference),
        cmocka_unit_test(a_product_is_one_ascending_chain),
        cmocka_unit_test(a_quantised_product_chains_its_groups_sums_with_their_scales),
        cmocka_unit_test(simd_products_have_the_bits_of_plain),
        cmocka_unit_test(rmsnorm_is_that_of_the_reference),
        cmocka_unit_test(simd_rows_and_elements_have_the_bits_of_plain),
        cmocka_unit_test(lightning_is_the_recurrence),
        cmocka_unit_test(simd_lightning_has_the_bits_of_plain),
        cmocka_unit_test(softmax_is_that_of_the_reference),
        cmocka_unit_test(simd_softmax_has_the_bits_of_plain),
        cmocka_unit_test(rope_rotates_the_first_entries_of_each_head),
        cmocka_unit_test(routes_prefer_large_logits_then_low_ids_and_nan_last),
        cmocka_unit_test(rows_are_gathered_combined_and_mixed),
        cmocka_unit_test(embedding_expands_exactly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
