/* How weights, keys and values lie in memory. */
#include "gpu/cpu/kernels.h"

/* a·b, or SIZE_MAX, which no allocation grants, when that is too much for a size. */
static size_t times(size_t a, size_t b)
{
    size_t product;
    return __builtin_mul_overflow(a, b, &product) ? SIZE_MAX : product;
}

size_t pk_matrix_bytes(pk_dtype dtype, size_t outputs, size_t inputs)
{
    if (outputs > SIZE_MAX - PK_PANEL)
        return SIZE_MAX;
    if (times(inputs, PK_PANEL * sizeof(float)) == SIZE_MAX) /* more than any type takes */
        return SIZE_MAX;
    return times(pk_cpu_panels(outputs), pk_cpu_panel_bytes(dtype, inputs));
}

size_t pk_kv_bytes(size_t capacity, size_t kv_heads, size_t dim)
{
    size_t tiles = capacity / PK_KV_TILE + (capacity % PK_KV_TILE != 0);
    return times(times(tiles, PK_KV_TILE * 2 * sizeof(float)), times(kv_heads, dim));
}

#define PACK_ROWS(type)                                                                                                \
    do {                                                                                                               \
        type *to = (type *)pk_cpu_panel(w, output / PK_PANEL) + output % PK_PANEL;                                     \
        const type *from = (const type *)rows + (output - first_output) * inputs;                                     \
        for (size_t k = 0; k < inputs; k++)                                                                            \
            for (size_t lane = 0; lane < lanes; lane++)                                                                \
                to[k * PK_PANEL + lane] = from[lane * inputs + k];                                                     \
    } while (0)

static void pack_int8(const pk_matrix *w, size_t output, const int8_t *row)
{
    for (size_t group = 0; group < pk_groups(w->inputs); group++) {
        int8_t *to = (int8_t *)pk_cpu_group(w, output / PK_PANEL, group) + PK_SCALES_BYTES + output % PK_PANEL;
        size_t first = group * PK_GROUP, left = w->inputs - first, inputs = left < PK_GROUP ? left : PK_GROUP;
        for (size_t k = 0; k < inputs; k++)
            to[k * PK_PANEL] = row[first + k];
    }
}

static void pack_int4(const pk_matrix *w, size_t output, const uint32_t *row)
{
    for (size_t k = 0; k < w->inputs; k += 2) {
        uint8_t *group = (uint8_t *)pk_cpu_group(w, output / PK_PANEL, k / PK_GROUP) + PK_SCALES_BYTES;
        /* A word's byte is a pair already. */
        group[k % PK_GROUP / 2 * PK_PANEL + output % PK_PANEL] = (uint8_t)(row[k / 8] >> 4 * (k % 8));
    }
}

static void pack_quantised(const pk_matrix *w, size_t first_output, size_t count, const void *rows)
{
    size_t words = (w->inputs + 7) / 8;
    for (size_t i = 0; i < count; i++)
        if (w->dtype == PK_I8)
            pack_int8(w, first_output + i, (const int8_t *)rows + i * w->inputs);
        else
            pack_int4(w, first_output + i, (const uint32_t *)rows + i * words);
}

void pk_cpu_pack_scales(const pk_matrix *w, size_t first_output, size_t count, const void *rows, pk_dtype dtype)
{
    size_t groups = pk_groups(w->inputs);
    for (size_t i = 0; i < count * groups; i++) {
        size_t output = first_output + i / groups;
        pk_cpu_group(w, output / PK_PANEL, i % groups)[output % PK_PANEL] = pk_float_at(rows, dtype, i);
    }
}

void pk_cpu_plain_pack(const pk_matrix *w, size_t first_output, size_t count, const void *rows)
{
    if (pk_dtype_is_quantised(w->dtype)) {
        pack_quantised(w, first_output, count, rows);
        return;
    }
    size_t inputs = w->inputs, end = first_output + count, lanes;
    for (size_t output = first_output; output < end; output += lanes) {
        lanes = PK_PANEL - output % PK_PANEL;
        lanes = lanes < end - output ? lanes : end - output;
        if (w->dtype == PK_F32)
            PACK_ROWS(uint32_t);
        else
            PACK_ROWS(uint16_t);
    }
}

void pk_cpu_append(float *keys, float *values, size_t first, const float *k, const float *v, size_t stride,
                   size_t count, size_t dim)
{
    for (size_t i = 0; i < dim; i++)
        for (size_t row = 0; row < count; row++)
            keys[i * PK_KV_TILE + first + row] = k[row * stride + i];
    for (size_t row = 0; row < count; row++)
        memcpy(values + (first + row) * dim, v + row * stride, dim * sizeof *values);
}
