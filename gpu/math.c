#include "gpu/math.h"

#define LN2_HIGH 0x1.62e42feep-1 /* 32 bits: times an exponent it is exact */
#define LN2_LOW 0x1.a39ef35793c76p-33
#define HALF_PI_HIGH 0x1.921fb54442d18p+0
#define HALF_PI_LOW 0x1.1a62633145c07p-54
#define MAGIC 0x1.8p+52 /* added and taken away, it rounds to an integer, which then lies in its low bits */

static uint64_t bits_of(double x)
{
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static double from_bits(uint64_t bits)
{
    double x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* 2^n, -1022 <= n <= 1023 */
static double power_of_two(int64_t n)
{
    return from_bits((uint64_t)(n + 1023) << 52);
}

/* Σ c[i]·x^i */
static double polynomial(const double *c, int count, double x)
{
    double sum = c[count - 1];
    for (int i = count - 2; i >= 0; i--)
        sum = fma(sum, x, c[i]);
    return sum;
}

double pk_exp(double x)
{
    /* Taylor on |r| <= ln 2 / 2: the first term left out is below 2^-57. */
    static const double c[] = {
        1.0,           1.0,           1.0 / 2,          1.0 / 6,          1.0 / 24,
        1.0 / 120,     1.0 / 720,     1.0 / 5040,       1.0 / 40320,      1.0 / 362880,
        1.0 / 3628800, 1.0 / 39916800, 1.0 / 479001600, 1.0 / 6227020800, 1.0 / 87178291200,
    };
    if (x != x)
        return x;
    x = x > 710.0 ? 710.0 : x < -746.0 ? -746.0 : x;
    double shifted = fma(x, 0x1.71547652b82fep+0, MAGIC), n = shifted - MAGIC;
    double r = fma(n, -LN2_LOW, fma(n, -LN2_HIGH, x));
    int64_t exponent = (int64_t)(bits_of(shifted) - bits_of(MAGIC)), half = exponent / 2;
    return polynomial(c, sizeof c / sizeof *c, r) * power_of_two(half) * power_of_two(exponent - half);
}

/* log(x) = high + low for finite x > 0, good to about 2^-60 of its size. With x = 2^e·m, m near 1, it is
 * e·ln 2 + 2·atanh(s), s = (m - 1) / (m + 1); s is carried in two parts because its error is the result's. */
static void log_parts(double x, double *high, double *low)
{
    static const double c[] = {2.0 / 3,  2.0 / 5,  2.0 / 7,  2.0 / 9,  2.0 / 11, 2.0 / 13,
                               2.0 / 15, 2.0 / 17, 2.0 / 19, 2.0 / 21, 2.0 / 23};
    int64_t exponent = 0;
    if (x < 0x1p-1022) {
        x *= 0x1p54;
        exponent = -54;
    }
    exponent += (int64_t)(bits_of(x) >> 52) - 1023;
    double m = from_bits((bits_of(x) & 0xfffffffffffffu) | 0x3ff0000000000000u);
    if (m > 0x1.6a09e667f3bcdp+0) {
        m *= 0.5;
        exponent++;
    }
    double above = m - 1.0, below = m + 1.0, below_low = m - (below - 1.0);
    double s = above / below, s_low = (fma(-s, below, above) - s * below_low) / below;
    double z = s * s, whole = (double)exponent * LN2_HIGH, sum = whole + 2.0 * s;
    double rest = (whole - sum) + 2.0 * s;
    rest += s * z * polynomial(c, sizeof c / sizeof *c, z) + (double)exponent * LN2_LOW + 2.0 * s_low;
    *high = sum + rest;
    *low = (sum - *high) + rest;
}

double pk_log(double x)
{
    double high, low;
    if (!(x > 0.0))
        return x == 0.0 ? -INFINITY : NAN;
    if (x == INFINITY)
        return x;
    log_parts(x, &high, &low);
    return high;
}

double pk_pow(double base, double exponent)
{
    double high, low;
    if (!(base > 0.0) || base == INFINITY || !(fabs(exponent) < INFINITY))
        return NAN;
    log_parts(base, &high, &low);
    double product = exponent * high, value = pk_exp(product);
    if (value == 0.0 || value == INFINITY)
        return value;
    /* The low parts would be lost in the product: a relative error of the result as large as the exponent's size. */
    return fma(value, fma(exponent, high, -product) + exponent * low, value);
}

void pk_sincos(double angle, double *sine, double *cosine)
{
    /* Taylor on |r| <= π/4: the first terms left out are below 2^-63. */
    static const double s[] = {
        -1.0 / 6, 1.0 / 120, -1.0 / 5040, 1.0 / 362880, -1.0 / 39916800, 1.0 / 6227020800, -1.0 / 1307674368000,
        1.0 / 355687428096000};
    static const double c[] = {
        -1.0 / 2, 1.0 / 24, -1.0 / 720, 1.0 / 40320, -1.0 / 3628800, 1.0 / 479001600, -1.0 / 87178291200,
        1.0 / 20922789888000, -1.0 / 6402373705728000};
    double shifted = fma(angle, 0x1.45f306dc9c883p-1, MAGIC), n = shifted - MAGIC;
    /* The first step is exact: both sides are multiples of 2^-53 and the difference is below 1. */
    double r = fma(n, -HALF_PI_LOW, fma(n, -HALF_PI_HIGH, angle)), z = r * r;
    double sin_r = fma(r * z, polynomial(s, sizeof s / sizeof *s, z), r);
    double cos_r = fma(z, polynomial(c, sizeof c / sizeof *c, z), 1.0);
    unsigned quadrant = (unsigned)bits_of(shifted) & 3u;
    double first = quadrant & 1u ? cos_r : sin_r, second = quadrant & 1u ? sin_r : cos_r;
    *sine = quadrant & 2u ? -first : first;
    *cosine = (quadrant + 1u) & 2u ? -second : second;
}
