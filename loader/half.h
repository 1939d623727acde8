/* half.h - float32 rounded to the 16-bit types, to nearest, ties to even, without branches so that a compiler
 * vectorises the loop around them. The way back is in ipc/dtype.h. */
#ifndef PK_LOADER_HALF_H
#define PK_LOADER_HALF_H

#include <stdint.h>
#include <string.h>

/* Of a finite value. */
static inline uint16_t pk_bf16_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1)) >> 16);
}

/* For |value| < 65504. Below the least normal number, adding 1/2 leaves value / 2^-24, rounded, in the fraction of the
 * sum. */
static inline uint16_t pk_f16_of(float value)
{
    uint32_t bits, sign, magnitude;
    memcpy(&bits, &value, sizeof bits);
    sign = bits >> 16 & 0x8000u;
    magnitude = bits & 0x7fffffffu;
    if (magnitude < 113u << 23) {
        float sum, size;
        memcpy(&size, &magnitude, sizeof size);
        sum = size + 0.5f;
        memcpy(&bits, &sum, sizeof bits);
        return (uint16_t)(sign | (bits - (126u << 23)));
    }
    magnitude -= 112u << 23;
    return (uint16_t)(sign | (magnitude + 0xfffu + (magnitude >> 13 & 1)) >> 13);
}

#endif
