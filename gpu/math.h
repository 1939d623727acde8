/* math.h - the elementary functions of the model, defined by their arithmetic and not by a library.
 *
 * libm differs between machines in the last bit; a promise about bits cannot stand on it. The float32 functions are one
 * polynomial each: what stands here in scalar form is what vector code repeats step by step (gpu/cpu/simd_exp.h), from
 * the same constants, with the same bits. The double functions serve tables made at load, log-probabilities and
 * sampling. Of libm only fma and sqrt are used, which are correctly rounded everywhere. Pure functions, any thread. */
#ifndef PK_GPU_MATH_H
#define PK_GPU_MATH_H

#include <math.h>
#include <stdint.h>
#include <string.h>

/* exp(x) = 2^n · exp(r) with n = round(x / ln 2), |r| <= ln 2 / 2; exp(r) = 1 + (r + r²·q(r)). */
#define PK_EXPF_HIGH 89.0f    /* from here on 2^n · exp(r) overflows by itself: clamping keeps n small */
#define PK_EXPF_LOW -104.0f   /* below, the result rounds to zero */
#define PK_EXPF_LOG2E 0x1.715476p+0f
#define PK_EXPF_MAGIC 0x1.8p+23f /* added and taken away, it rounds to an integer, which then lies in its low bits */
#define PK_EXPF_MAGIC_BITS 0x4b400000u
#define PK_EXPF_LN2_HIGH 0x1.62e4p-1f /* few bits, so that n times it is exact */
#define PK_EXPF_LN2_LOW 0x1.7f7d1cp-20f
#define PK_EXPF_Q0 5.0000001201e-1f
#define PK_EXPF_Q1 1.6666665459e-1f
#define PK_EXPF_Q2 4.1665795894e-2f
#define PK_EXPF_Q3 8.3334519073e-3f
#define PK_EXPF_Q4 1.3981999507e-3f
#define PK_EXPF_Q5 1.9875691500e-4f

/* 2^n as a float32, -126 <= n <= 127 in two's complement; anything else gives some float. */
static inline float pk_float_power_of_two(uint32_t n)
{
    uint32_t bits = (n + 127u) << 23;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* e^x, relative error <= 2e-7 where the result is normal, half a unit of the last place more where it is subnormal;
 * exp(±0) = 1 exactly, exp(-inf) = 0, exp(inf) = inf, exp(NaN) = NaN. */
static inline float pk_expf(float x)
{
    /* Written so that NaN passes through, as the vector minimum and maximum do. */
    x = PK_EXPF_HIGH < x ? PK_EXPF_HIGH : x;
    x = PK_EXPF_LOW > x ? PK_EXPF_LOW : x;
    float shifted = fmaf(x, PK_EXPF_LOG2E, PK_EXPF_MAGIC);
    float n = shifted - PK_EXPF_MAGIC;
    float r = fmaf(n, -PK_EXPF_LN2_LOW, fmaf(n, -PK_EXPF_LN2_HIGH, x));
    float q = fmaf(PK_EXPF_Q5, r, PK_EXPF_Q4);
    q = fmaf(q, r, PK_EXPF_Q3);
    q = fmaf(q, r, PK_EXPF_Q2);
    q = fmaf(q, r, PK_EXPF_Q1);
    q = fmaf(q, r, PK_EXPF_Q0);
    float power = fmaf(q, r * r, r) + 1.0f;
    uint32_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    /* NaN leaves garbage in here, unsigned and therefore defined; NaN times anything stays NaN. */
    uint32_t exponent = bits - PK_EXPF_MAGIC_BITS, half = (uint32_t)((int32_t)exponent >> 1);
    /* In two steps: the first is exact, the second rounds once, also into the subnormals. */
    return power * pk_float_power_of_two(half) * pk_float_power_of_two(exponent - half);
}

/* 1 / (1 + e^-x) */
static inline float pk_sigmoid(float x)
{
    return 1.0f / (1.0f + pk_expf(-x));
}

/* x · sigmoid(x); NaN at -inf, as the formula says. */
static inline float pk_silu(float x)
{
    return x * pk_sigmoid(x);
}

/* e^x; relative error < 2^-45 (measured 2^-52) where the result is normal; exp(0) = 1 exactly. Defined everywhere. */
double pk_exp(double x);

/* Natural logarithm; relative error < 2^-45. log(0) = -inf, log(x < 0) = NaN, log(inf) = inf. */
double pk_log(double x);

/* base^exponent for finite base > 0 and finite exponent (NaN otherwise); relative error < 2^-45. */
double pk_pow(double base, double exponent);

/* Sine and cosine of |angle| <= 1e9 radians, absolute error < 2^-45; NaN for infinities and NaN. */
void pk_sincos(double angle, double *sine, double *cosine);

#endif
