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
    return times(times(pk_cpu_panels(outputs) * PK_PANEL, inputs), pk_dtype_bytes(dtype));
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

void pk_cpu_plain_pack(const pk_matrix *w, size_t first_output, size_t count, const void *rows)
{
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
