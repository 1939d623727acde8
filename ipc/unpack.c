#include "ipc/unpack.h"

#include <inttypes.h>
#include <string.h>

static pk_err wrong(const pk_unpacker *u, const char *what, const char *expected)
{
    if (u->at >= u->size)
        return pk_fail(PK_CORRUPT, "byte %zu: the message ends where %s (%s) was expected", u->at, what, expected);
    return pk_fail(PK_CORRUPT, "byte %zu: type 0x%02x where %s (%s) was expected", u->at, u->bytes[u->at], what,
                   expected);
}

/* The `count` bytes behind the type byte, big-endian. The cursor moves only on success. */
static pk_err big_endian(pk_unpacker *u, const char *what, unsigned count, uint64_t *value)
{
    if (u->size - u->at < 1 + (size_t)count)
        return pk_fail(PK_CORRUPT, "byte %zu: the message ends inside %s", u->at, what);
    *value = 0;
    for (unsigned i = 0; i < count; i++)
        *value = *value << 8 | u->bytes[u->at + 1 + i];
    u->at += 1 + (size_t)count;
    return PK_OK;
}

static int type_of(const pk_unpacker *u)
{
    return u->at < u->size ? u->bytes[u->at] : -1;
}

/* A length in its short form (type & mask) or behind one of up to three types; 0 for a type that does not exist. */
typedef struct {
    uint8_t base, mask, wide8, wide16, wide32;
    const char *name;
} length_form;

static pk_err length(pk_unpacker *u, const char *what, const length_form *form, uint32_t *out)
{
    int type = type_of(u);
    uint64_t value = 0;
    pk_err err = PK_OK;
    if (type < 0)
        return wrong(u, what, form->name);
    if (form->mask && (type & ~form->mask) == form->base) {
        value = (uint64_t)(type & form->mask);
        u->at++;
    } else if (form->wide8 && type == form->wide8)
        err = big_endian(u, what, 1, &value);
    else if (type == form->wide16)
        err = big_endian(u, what, 2, &value);
    else if (type == form->wide32)
        err = big_endian(u, what, 4, &value);
    else
        return wrong(u, what, form->name);
    *out = (uint32_t)value;
    return err;
}

pk_err pk_unpack_array(pk_unpacker *u, const char *what, uint32_t *elements)
{
    return length(u, what, &(length_form){0x90, 0x0f, 0, 0xdc, 0xdd, "an array"}, elements);
}

pk_err pk_unpack_map(pk_unpacker *u, const char *what, uint32_t *pairs)
{
    return length(u, what, &(length_form){0x80, 0x0f, 0, 0xde, 0xdf, "a map"}, pairs);
}

pk_err pk_unpack_bin_header(pk_unpacker *u, const char *what, uint32_t *bytes)
{
    return length(u, what, &(length_form){0, 0, 0xc4, 0xc5, 0xc6, "a bin"}, bytes);
}

pk_err pk_unpack_text(pk_unpacker *u, const char *what, const char **text, uint32_t *bytes)
{
    pk_unpacker start = *u;
    pk_err err = length(u, what, &(length_form){0xa0, 0x1f, 0xd9, 0xda, 0xdb, "a string"}, bytes);
    if (err)
        return err;
    if (*bytes > u->size - u->at) {
        *u = start;
        return pk_fail(PK_CORRUPT, "byte %zu: %s claims %" PRIu32 " bytes, the message has %zu left", u->at, what,
                       *bytes, u->size - u->at);
    }
    *text = (const char *)u->bytes + u->at;
    u->at += *bytes;
    return PK_OK;
}

pk_err pk_unpack_uint(pk_unpacker *u, const char *what, uint64_t most, uint64_t *value)
{
    int type = type_of(u);
    pk_err err = PK_OK;
    size_t at = u->at;
    if (type >= 0 && type <= 0x7f) {
        *value = (uint64_t)type;
        u->at++;
    } else if (type >= 0xcc && type <= 0xcf)
        err = big_endian(u, what, 1u << (type - 0xcc), value);
    else
        return wrong(u, what, "an unsigned number");
    if (!err && *value > most)
        err = pk_fail(PK_CORRUPT, "byte %zu: %s is %" PRIu64 ", at most %" PRIu64 " was expected", at, what, *value,
                      most);
    return err;
}

pk_err pk_unpack_int(pk_unpacker *u, const char *what, int64_t *value)
{
    int type = type_of(u);
    uint64_t bits = 0;
    pk_err err;
    if (type >= 0xe0) {
        *value = type - 0x100;
        u->at++;
        return PK_OK;
    }
    if (type >= 0xd0 && type <= 0xd3) {
        unsigned bytes = 1u << (type - 0xd0), unused = 64 - 8 * bytes;
        if ((err = big_endian(u, what, bytes, &bits)))
            return err;
        *value = (int64_t)(bits << unused) >> unused;
        return PK_OK;
    }
    if ((err = pk_unpack_uint(u, what, INT64_MAX, &bits)))
        return err;
    *value = (int64_t)bits;
    return PK_OK;
}

pk_err pk_unpack_f32(pk_unpacker *u, const char *what, float *value)
{
    uint64_t wide = 0;
    if (type_of(u) != 0xca)
        return wrong(u, what, "a float32");
    pk_err err = big_endian(u, what, 4, &wide);
    uint32_t bits = (uint32_t)wide;
    memcpy(value, &bits, sizeof *value);
    return err;
}

/* Bytes of a value's fixed part behind its type byte, for the types without a length; -1 for those with one. */
static int fixed_size(int type)
{
    if (type <= 0x7f || type >= 0xe0 || type == 0xc0 || type == 0xc2 || type == 0xc3)
        return 0;
    if (type >= 0xcc && type <= 0xcf)
        return 1 << (type - 0xcc);
    if (type >= 0xd0 && type <= 0xd3)
        return 1 << (type - 0xd0);
    return type == 0xca ? 4 : type == 0xcb ? 8 : -1;
}

pk_err pk_unpack_skip(pk_unpacker *u, unsigned depth)
{
    int type = type_of(u), fixed;
    uint32_t count = 0;
    uint64_t ignored = 0;
    const char *text;
    pk_err err;
    if (type < 0 || depth == 0)
        return pk_fail(PK_CORRUPT, "byte %zu: %s", u->at, depth ? "the message ends early" : "nested too deeply");
    if ((fixed = fixed_size(type)) >= 0)
        return big_endian(u, "a value", (unsigned)fixed, &ignored);
    if ((type & 0xe0) == 0xa0 || (type >= 0xd9 && type <= 0xdb))
        return pk_unpack_text(u, "a value", &text, &count);
    if ((type & 0xf0) == 0x80 || type == 0xde || type == 0xdf) {
        if ((err = pk_unpack_map(u, "a value", &count)))
            return err;
        for (uint64_t i = 0; i < 2 * (uint64_t)count; i++)
            if ((err = pk_unpack_skip(u, depth - 1)))
                return err;
        return PK_OK;
    }
    if ((type & 0xf0) == 0x90 || type == 0xdc || type == 0xdd) {
        if ((err = pk_unpack_array(u, "a value", &count)))
            return err;
        for (uint32_t i = 0; i < count; i++)
            if ((err = pk_unpack_skip(u, depth - 1)))
                return err;
        return PK_OK;
    }
    return wrong(u, "a value", "a type that Penstock sends");
}
