/* dtype.h - element types of tensors in files, in memory and on the wire. The codes are part of the wire format
 * (docs/wire.md) and never change. */
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
} pk_dtype;

/* Bytes of one element; 0 for a code that is not a dtype. */
static inline size_t pk_dtype_bytes(unsigned dtype)
{
    static const uint8_t bytes[] = {0, 1, 4, 4, 2, 2};
    return dtype < sizeof bytes ? bytes[dtype] : 0;
}

/* The name that safetensors uses: "U8", "I32", "F32", "BF16", "F16"; "?" otherwise. */
static inline const char *pk_dtype_name(unsigned dtype)
{
    static const char *const names[] = {"?", "U8", "I32", "F32", "BF16", "F16"};
    return dtype < sizeof names / sizeof *names ? names[dtype] : "?";
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

#endif
