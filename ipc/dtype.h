/* dtype.h - element types of tensors in files, in memory and on the wire. The codes up to PK_F16 are part of the wire
 * format (docs/wire.md) and never change; those behind it never travel. */
#ifndef PK_IPC_DTYPE_H
#define PK_IPC_DTYPE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef enum {
    PK_U8 = 1,
    PK_I32 = 2,
    PK_F32 = 3,
    PK_BF16 = 4,
    PK_F16 = 5,
    PK_I8 = 6,  /* in files, and as weights in groups with a scale each */
    PK_I64 = 7, /* in files */
    PK_I4 = 8,  /* weights only, in groups with a scale each: two in a byte, eight in an I32 of a file */
} pk_dtype;

/* Inputs of a quantised matrix that share one scale; the last group of a row may be shorter. */
enum { PK_GROUP = 64 };

/* Bits of one element; 0 for a code that is not a dtype. */
static inline size_t pk_dtype_bits(unsigned dtype)
{
    static const uint8_t bits[] = {0, 8, 32, 32, 16, 16, 8, 64, 4};
    return dtype < sizeof bits ? bits[dtype] : 0;
}

/* Bytes of one element; 0 for a code that is not a dtype, and for PK_I4. */
static inline size_t pk_dtype_bytes(unsigned dtype)
{
    return pk_dtype_bits(dtype) / 8;
}

/* The name that safetensors uses: "U8", "I32", "F32", "BF16", "F16", "I8", "I64", and "I4"; "?" otherwise. */
static inline const char *pk_dtype_name(unsigned dtype)
{
    static const char *const names[] = {"?", "U8", "I32", "F32", "BF16", "F16", "I8", "I64", "I4"};
    return dtype < sizeof names / sizeof *names ? names[dtype] : "?";
}

/* Whether weights of this type are integers that a scale goes with, one for PK_GROUP inputs. */
static inline int pk_dtype_is_quantised(unsigned dtype)
{
    return dtype == PK_I8 || dtype == PK_I4;
}

static inline size_t pk_groups(size_t inputs)
{
    return inputs / PK_GROUP + (inputs % PK_GROUP != 0);
}

/* Both expansions are exact, subnormals, infinities and NaN included. */
static inline float pk_bf16_to_f32(uint16_t bits)
{
    uint32_t wide = (uint32_t)bits << 16;
    float value;
    memcpy(&value, &wide, sizeof value);
    return value;
}

static inline float pk_f16_to_f32(uint16_t bits)
{
    uint32_t sign = (uint32_t)(bits & 0x8000u) << 16, exponent = (bits >> 10) & 31u, fraction = bits & 1023u, wide;
    float value;
    if (exponent == 31)
        wide = sign | 0x7f800000u | fraction << 13;
    else if (exponent)
        wide = sign | (exponent + 112) << 23 | fraction << 13;
    else { /* zero or subnormal: fraction × 2^-24, exact in float32 */
        value = (float)fraction * 0x1p-24f;
        return sign ? -value : value;
    }
    memcpy(&value, &wide, sizeof value);
    return value;
}

/* Element `index` of an array of PK_F32, PK_BF16 or PK_F16. */
static inline float pk_float_at(const void *data, pk_dtype dtype, size_t index)
{
    if (dtype == PK_F32)
        return ((const float *)data)[index];
    uint16_t bits = ((const uint16_t *)data)[index];
    return dtype == PK_BF16 ? pk_bf16_to_f32(bits) : pk_f16_to_f32(bits);
}

#endif
