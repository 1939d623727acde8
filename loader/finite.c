#include "loader/finite.h"

#include <stdbool.h>
#include <string.h>

static uint32_t load(const uint8_t *at, size_t width)
{
    uint32_t value = 0;
    memcpy(&value, at, width); /* little-endian, as the files */
    return value;
}

/* All bits of the exponent: what NaN and Inf have, and nothing else. */
static uint32_t exponent_of(pk_dtype dtype)
{
    return dtype == PK_F32 ? 0x7f800000 : dtype == PK_BF16 ? 0x7f80 : dtype == PK_F16 ? 0x7c00 : 0;
}

static bool any_16(const uint8_t *data, size_t count, uint16_t exponent)
{
    unsigned found = 0;
    for (size_t i = 0; i < count; i++) {
        uint16_t value;
        memcpy(&value, data + 2 * i, sizeof value);
        found |= (unsigned)((value & exponent) == exponent);
    }
    return found;
}

static bool any_32(const uint8_t *data, size_t count, uint32_t exponent)
{
    unsigned found = 0;
    for (size_t i = 0; i < count; i++) {
        uint32_t value;
        memcpy(&value, data + 4 * i, sizeof value);
        found |= (unsigned)((value & exponent) == exponent);
    }
    return found;
}

static void count_each(pk_finite *f, const uint8_t *data, size_t count, size_t width)
{
    uint32_t exponent = exponent_of(f->dtype), sign = 1u << (8 * width - 1);
    for (size_t i = 0; i < count; i++) {
        uint32_t value = load(data + width * i, width);
        if ((value & exponent) != exponent)
            continue;
        if (!f->nan_count && !f->inf_count)
            f->first = f->seen + i;
        bool inf = !(value & ~(exponent | sign));
        f->inf_count += inf;
        f->nan_count += !inf;
    }
}

/* A tensor is nearly always finite: one pass without branches says so at the speed of memory. */
static void look(pk_finite *f, const uint8_t *data, size_t count, size_t width)
{
    uint32_t exponent = exponent_of(f->dtype);
    if (width == 2 ? any_16(data, count, (uint16_t)exponent) : any_32(data, count, exponent))
        count_each(f, data, count, width);
    f->seen += count;
}

void pk_finite_feed(pk_finite *f, const void *data, size_t bytes)
{
    const uint8_t *at = data;
    size_t width = f->dtype == PK_F32 ? 4 : 2;
    if (!exponent_of(f->dtype))
        return;
    if (f->carried) { /* an element that the last piece cut */
        size_t more = width - f->carried < bytes ? width - f->carried : bytes;
        memcpy(f->carry + f->carried, at, more);
        at += more;
        bytes -= more;
        f->carried += more;
        if (f->carried < width)
            return;
        look(f, f->carry, 1, width);
        f->carried = 0;
    }
    look(f, at, bytes / width, width);
    f->carried = bytes % width;
    memcpy(f->carry, at + bytes / width * width, f->carried);
}
