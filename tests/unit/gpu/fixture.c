#include "tests/unit/gpu/fixture.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static uint64_t mix(uint64_t z)
{
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

rng rng_open(const char *name, uint64_t salt)
{
    const char *text = getenv("PK_SEED");
    uint64_t seed = text ? strtoull(text, NULL, 0) : 20250901u;
    printf("# %s: PK_SEED=%llu\n", name, (unsigned long long)seed);
    return (rng){.state = mix(seed + salt * 0x9e3779b97f4a7c15u)};
}

uint64_t rng_next(rng *random)
{
    return mix(random->state += 0x9e3779b97f4a7c15u);
}

size_t rng_below(rng *random, size_t end)
{
    return (size_t)(rng_next(random) % end);
}

float rng_float(rng *random)
{
    return (float)((double)(rng_next(random) >> 11) * 0x1p-52 - 1.0);
}

void fill(rng *random, float *x, size_t count)
{
    for (size_t i = 0; i < count; i++)
        x[i] = rng_float(random);
}

void sprinkle(rng *random, float *x, size_t count, size_t every)
{
    static const float special[] = {INFINITY, -INFINITY, NAN, -0.0f, 0.0f, 0x1p-149f, -0x1.8p-140f, 3e38f, 1e-38f};
    for (size_t i = 0; i < count / every + 1; i++)
        x[rng_below(random, count)] = special[rng_below(random, sizeof special / sizeof *special)];
}

static uint32_t canonical(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return x != x ? 0x7fc00000u : bits;
}

size_t first_difference(const float *a, const float *b, size_t count)
{
    size_t i = 0;
    while (i < count && canonical(a[i]) == canonical(b[i]))
        i++;
    return i;
}

static void *must(void *data)
{
    if (!data) {
        fprintf(stderr, "out of memory\n");
        exit(1);
    }
    return data;
}

float *floats(size_t count)
{
    return must(calloc(count + 1, sizeof(float)));
}

bool backend_runs(const char *backend)
{
    pk_device *device = NULL;
    pk_err err = pk_device_open(&device, (pk_device_options){.backend = backend, .threads = 1});
    pk_device_close(&device);
    return !err;
}

pk_device *device_of(const char *backend, unsigned threads)
{
    pk_device *device = NULL;
    if (pk_device_open(&device, (pk_device_options){.backend = backend, .threads = threads})) {
        fprintf(stderr, "%s\n", pk_error_text());
        exit(1);
    }
    return device;
}

/* A 16-bit weight: ordinary ones between 2^-4 and 1 in size. */
static uint16_t half_weight(rng *random, pk_dtype dtype, bool special)
{
    static const uint16_t bf16[] = {0x7f80, 0xff80, 0x7fc0, 0x8000, 0x0001, 0x8011};
    static const uint16_t f16[] = {0x7c00, 0xfc00, 0x7e00, 0x8000, 0x0001, 0x83ff};
    uint16_t sign = (uint16_t)(rng_next(random) & 0x8000u);
    if (special)
        return (dtype == PK_BF16 ? bf16 : f16)[rng_below(random, 6)];
    if (dtype == PK_BF16)
        return (uint16_t)(sign | (123 + rng_below(random, 4)) << 7 | rng_below(random, 128));
    return (uint16_t)(sign | (11 + rng_below(random, 4)) << 10 | rng_below(random, 1024));
}

/* Bytes of a stored row. */
static size_t row_bytes(const pk_matrix *w)
{
    return w->dtype == PK_I4 ? (w->inputs + 7) / 8 * 4 : w->inputs * pk_dtype_bytes(w->dtype);
}

/* Integers and scales; in what is left of a row's last word, anything. */
static void make_quantised(matrix *m, rng *random, bool special)
{
    size_t inputs = m->packed.inputs, outputs = m->packed.outputs, groups = pk_groups(inputs);
    uint8_t *stored = m->rows;
    for (size_t i = 0; i < outputs * groups; i++) {
        m->scales[i] = rng_float(random);
        if (special && rng_below(random, 20) == 0)
            sprinkle(random, &m->scales[i], 1, 2);
    }
    for (size_t i = 0; i < outputs * row_bytes(&m->packed); i++)
        stored[i] = (uint8_t)rng_next(random);
    for (size_t o = 0; o < outputs; o++, stored += row_bytes(&m->packed))
        for (size_t k = 0; k < inputs; k++) {
            int value = m->packed.dtype == PK_I8 ? (int8_t)stored[k] : (stored[k / 2] >> (k % 2 ? 4 : 0) & 15) - 8;
            m->values[o * inputs + k] = (float)value * m->scales[o * groups + k / PK_GROUP];
        }
}

static void make_weights(matrix *m, rng *random, bool special)
{
    size_t count = m->packed.outputs * m->packed.inputs;
    if (pk_dtype_is_quantised(m->packed.dtype)) {
        make_quantised(m, random, special);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        bool odd = special && rng_below(random, 200) == 0;
        if (m->packed.dtype == PK_F32) {
            m->values[i] = rng_float(random);
            if (odd)
                sprinkle(random, &m->values[i], 1, 2);
            memcpy((float *)m->rows + i, &m->values[i], sizeof(float));
            continue;
        }
        uint16_t bits = half_weight(random, m->packed.dtype, odd);
        ((uint16_t *)m->rows)[i] = bits;
        m->values[i] = m->packed.dtype == PK_BF16 ? pk_bf16_to_f32(bits) : pk_f16_to_f32(bits);
    }
}

/* Two ranges, the later one first: packing is promised to work in any order. */
static void pack_in_ranges(matrix *m, rng *random)
{
    const pk_ops *ops = pk_device_ops(m->device);
    size_t outputs = m->packed.outputs, cut = rng_below(random, outputs + 1), groups = pk_groups(m->packed.inputs);
    m->packed.data = must(ops->alloc(m->device, pk_matrix_bytes(m->packed.dtype, outputs, m->packed.inputs)));
    ops->pack(&m->packed, cut, outputs - cut, (char *)m->rows + cut * row_bytes(&m->packed));
    ops->pack(&m->packed, 0, cut, m->rows);
    if (!pk_dtype_is_quantised(m->packed.dtype))
        return;
    ops->pack_scales(&m->packed, cut, outputs - cut, m->scales + cut * groups, PK_F32);
    ops->pack_scales(&m->packed, 0, cut, m->scales, PK_F32);
}

static void matrix_shape(matrix *m, pk_device *device, pk_dtype dtype, size_t outputs, size_t inputs)
{
    *m = (matrix){.device = device, .packed = {.dtype = dtype, .outputs = outputs, .inputs = inputs}};
    m->rows = must(calloc(outputs + 1, row_bytes(&m->packed)));
    m->scales = floats(outputs * pk_groups(inputs));
    m->values = floats(outputs * inputs);
}

void matrix_init(matrix *m, pk_device *device, rng *random, pk_dtype dtype, size_t outputs, size_t inputs,
                 bool special)
{
    matrix_shape(m, device, dtype, outputs, inputs);
    make_weights(m, random, special);
    pack_in_ranges(m, random);
}

void matrix_copy(matrix *m, pk_device *device, rng *random, const matrix *from)
{
    size_t count = from->packed.outputs * from->packed.inputs;
    matrix_shape(m, device, from->packed.dtype, from->packed.outputs, from->packed.inputs);
    memcpy(m->rows, from->rows, from->packed.outputs * row_bytes(&from->packed));
    memcpy(m->scales, from->scales, from->packed.outputs * pk_groups(from->packed.inputs) * sizeof(float));
    memcpy(m->values, from->values, count * sizeof(float));
    pack_in_ranges(m, random);
}

void matrix_fini(matrix *m)
{
    const pk_ops *ops = pk_device_ops(m->device);
    ops->free(m->device, m->packed.data, pk_matrix_bytes(m->packed.dtype, m->packed.outputs, m->packed.inputs));
    free(m->rows);
    free(m->scales);
    free(m->values);
}

void lightning_init(lightning_sequence *s, size_t heads, size_t dim, size_t rows)
{
    *s = (lightning_sequence){.heads = heads, .dim = dim, .rows = rows};
    s->qkv = floats(rows * heads * 3 * dim);
    s->out = floats(rows * heads * dim);
    s->decay = floats(heads * (PK_LIGHTNING_BLOCK + 1));
    s->matrix = floats(heads * dim * dim);
    s->keys = floats(heads * dim * PK_LIGHTNING_BLOCK);
    s->values = floats(heads * dim * PK_LIGHTNING_BLOCK);
    pk_lightning_decay(s->decay, heads, 1, 4);
}

void lightning_feed(lightning_sequence *s, pk_device *device, size_t rows)
{
    pk_lightning_span span = {.first_row = s->fed, .rows = rows, .position = (uint32_t)s->fed,
                              .state = {.matrix = s->matrix, .keys = s->keys, .values = s->values}};
    pk_lightning op = {.out = s->out, .qkv = s->qkv, .decay = s->decay, .heads = s->heads, .dim = s->dim,
                       .spans = &span, .span_count = 1};
    if (pk_device_ops(device)->lightning(device, &op))
        exit(1);
    s->fed += rows;
}

void lightning_fini(lightning_sequence *s)
{
    free(s->qkv);
    free(s->out);
    free(s->decay);
    free(s->matrix);
    free(s->keys);
    free(s->values);
}

void softmax_init(softmax_sequence *s, size_t heads, size_t kv_heads, size_t dim, size_t rows)
{
    *s = (softmax_sequence){.heads = heads, .kv_heads = kv_heads, .dim = dim, .rows = rows};
    s->q = floats(rows * heads * dim);
    s->k = floats(rows * kv_heads * dim);
    s->v = floats(rows * kv_heads * dim);
    s->out = floats(rows * heads * dim);
    s->cache = must(calloc(1, pk_kv_bytes(rows, kv_heads, dim)));
}

void softmax_feed(softmax_sequence *s, pk_device *device, size_t rows)
{
    pk_softmax_span span = {.first_row = s->fed, .rows = rows, .position = (uint32_t)s->fed, .cache = s->cache};
    pk_softmax op = {.out = s->out, .q = s->q, .k = s->k, .v = s->v, .heads = s->heads, .kv_heads = s->kv_heads,
                     .dim = s->dim, .spans = &span, .span_count = 1};
    if (pk_device_ops(device)->softmax(device, &op))
        exit(1);
    s->fed += rows;
}

void softmax_fini(softmax_sequence *s)
{
    free(s->q);
    free(s->k);
    free(s->v);
    free(s->out);
    free(s->cache);
}
