/* Tables made once at load, in double, from our own functions: they feed every later bit. */
#include "gpu/math.h"
#include "gpu/ops.h"

/* Slope `head` of `heads` heads, a power of two. */
static double geometric_slope(size_t head, size_t heads)
{
    return pk_pow(2.0, -8.0 * (double)(head + 1) / (double)heads);
}

/* model.md §4.1: past the largest power of two, every other slope of twice as many heads. */
static double slope(size_t head, size_t heads)
{
    size_t power = 1;
    while (power * 2 <= heads)
        power *= 2;
    return head < power ? geometric_slope(head, power) : geometric_slope(2 * (head - power), 2 * power);
}

void pk_lightning_decay(float *decay, size_t heads, size_t layer, size_t layers)
{
    double depth = layers > 1 ? (double)layer / (double)(layers - 1) : 0.0;
    double factor = 1.0 - depth + 1e-5;
    for (size_t head = 0; head < heads; head++) {
        double rate = slope(head, heads) * factor;
        for (size_t k = 0; k <= PK_LIGHTNING_BLOCK; k++)
            *decay++ = (float)pk_exp(-rate * (double)k);
    }
}

void pk_rope_inverse(float *inverse, double theta, size_t rotary_dim)
{
    for (size_t i = 0; i < rotary_dim / 2; i++)
        inverse[i] = 1.0f / (float)pk_pow(theta, (double)(2 * i) / (double)rotary_dim);
}
