/* The elementary functions and tables against the C library in long double, whose errors are far below the bounds. */
#include "gpu/math.h"
#include "tests/unit/gpu/fixture.h"

#include <stdio.h>
#include <stdlib.h>

static float float_of(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static uint32_t bits_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static void expf_is_within_2e_7_over_all_floats(void **state)
{
    (void)state;
    long double worst = 0.0L;
    for (uint64_t bits = 0; bits < UINT64_C(1) << 32; bits += 4099) {
        float x = float_of((uint32_t)bits), y = pk_expf(x);
        if (x != x) {
            assert_true(y != y);
            continue;
        }
        long double truth = expl((long double)x), error = fabsl((long double)y - truth);
        if (truth > 0x1.ffffffp+127L)
            assert_true(y == INFINITY);
        else if (truth < 0x1p-126L) /* where floats are 2^-149 apart */
            assert_true(error <= 0x1p-150L + 2e-7L * truth);
        else {
            assert_true(error <= 2e-7L * truth);
            worst = error / truth > worst ? error / truth : worst;
        }
    }
    printf("# expf: largest relative error %.3Le\n", worst);
}

static void expf_of_special_values(void **state)
{
    (void)state;
    assert_int_equal(bits_of(pk_expf(0.0f)), bits_of(1.0f));
    assert_int_equal(bits_of(pk_expf(-0.0f)), bits_of(1.0f));
    assert_int_equal(bits_of(pk_expf(0x1p-149f)), bits_of(1.0f));
    assert_true(pk_expf(INFINITY) == INFINITY);
    assert_true(pk_expf(3.4e38f) == INFINITY);
    assert_true(pk_expf(88.7228f) < INFINITY);
    assert_true(pk_expf(88.7229f) == INFINITY);
    assert_int_equal(bits_of(pk_expf(-INFINITY)), 0);
    assert_int_equal(bits_of(pk_expf(-1e30f)), 0);
    assert_int_equal(bits_of(pk_expf(-103.9f)), 1); /* the smallest subnormal */
    assert_true(pk_expf(NAN) != pk_expf(NAN));
}

static void sigmoid_and_silu_of_special_values(void **state)
{
    (void)state;
    assert_true(pk_sigmoid(0.0f) == 0.5f);
    assert_true(pk_sigmoid(INFINITY) == 1.0f);
    assert_int_equal(bits_of(pk_sigmoid(-INFINITY)), 0);
    assert_true(pk_silu(INFINITY) == INFINITY);
    assert_true(pk_silu(-INFINITY) != pk_silu(-INFINITY)); /* -inf · 0 */
    assert_int_equal(bits_of(pk_silu(-0.0f)), bits_of(-0.0f));
    assert_true(pk_silu(NAN) != pk_silu(NAN));
}

/* `apply` writes what `scalar` says over float patterns of every size and sign, at every place in a vector. */
static void compare_over_floats(const char *backend, bool gated)
{
    enum { COUNT = 4096 + 5 };
    pk_device *device = device_of(backend, 1);
    float *x = floats(COUNT), *y = floats(COUNT), *truth = floats(COUNT);
    for (uint64_t bits = 0; bits < UINT64_C(1) << 32;) {
        for (size_t i = 0; i < COUNT; i++, bits += 10007) {
            x[i] = float_of((uint32_t)bits);
            y[i] = gated ? 1.0f : x[i];
            truth[i] = gated ? pk_sigmoid(x[i]) : pk_silu(x[i]);
        }
        if (gated)
            assert_int_equal(pk_device_ops(device)->gate(device, y, x, COUNT), PK_OK);
        else
            assert_int_equal(pk_device_ops(device)->silu(device, y, COUNT), PK_OK);
        assert_same_bits(y, truth, COUNT);
    }
    free(x);
    free(y);
    free(truth);
    pk_device_close(&device);
}

static void vectors_have_the_bits_of_the_scalar_functions(void **state)
{
    (void)state;
    if (!backend_runs("cpu:avx2"))
        skip();
    compare_over_floats("cpu", true);
    compare_over_floats("cpu", false);
}

/* Errors are bounded by 2^-45 and reported in units of 2^-52. */
static void note(long double *worst, long double error)
{
    assert_true(error < 0x1p-45L);
    *worst = error * 0x1p52L > *worst ? error * 0x1p52L : *worst;
}

static void double_exp_and_log_are_within_2_to_minus_45(void **state)
{
    (void)state;
    long double worst_exp = 0.0L, worst_log = 0.0L;
    rng random = rng_open("exp, log", 1);
    for (int i = 0; i < 200000; i++) {
        double x = (double)rng_float(&random) * (i % 2 ? 700.0 : 1.0);
        long double truth = expl((long double)x);
        note(&worst_exp, fabsl((long double)pk_exp(x) - truth) / truth);
        double positive = i % 3 ? pk_exp(x) : 1.0 + (double)rng_float(&random) * 1e-3;
        long double log_truth = logl((long double)positive);
        if (log_truth != 0.0L)
            note(&worst_log, fabsl((long double)pk_log(positive) - log_truth) / fabsl(log_truth));
    }
    printf("# exp %.2Lf, log %.2Lf units of 2^-52\n", worst_exp, worst_log);
}

static void double_functions_of_special_values(void **state)
{
    (void)state;
    double s, c;
    assert_true(pk_exp(0.0) == 1.0 && pk_exp(-0.0) == 1.0);
    assert_true(pk_exp(INFINITY) == (double)INFINITY && pk_exp(-INFINITY) == 0.0);
    assert_true(pk_exp(709.78) < (double)INFINITY && pk_exp(709.79) == (double)INFINITY);
    assert_true(pk_exp(-745.0) == 0x1p-1074 && pk_exp(-746.0) == 0.0);
    assert_true(pk_exp((double)NAN) != pk_exp((double)NAN));
    assert_true(pk_log(1.0) == 0.0 && pk_log(0.0) == -(double)INFINITY && pk_log((double)INFINITY) == (double)INFINITY);
    assert_true(pk_log(-1.0) != pk_log(-1.0) && pk_log((double)NAN) != pk_log((double)NAN));
    assert_true(fabs(pk_log(0x1p-1074) + 744.4400719213812) < 1e-10);
    assert_true(pk_pow(7.0, 0.0) == 1.0 && pk_pow(1.0, 1e300) == 1.0);
    assert_true(pk_pow(10.0, 400.0) == (double)INFINITY && pk_pow(10.0, -400.0) == 0.0);
    assert_true(pk_pow(-1.0, 2.0) != pk_pow(-1.0, 2.0));
    pk_sincos(0.0, &s, &c);
    assert_true(s == 0.0 && c == 1.0);
    pk_sincos((double)INFINITY, &s, &c);
    assert_true(s != s && c != c);
}

static void double_pow_is_within_2_to_minus_45(void **state)
{
    (void)state;
    long double worst = 0.0L;
    rng random = rng_open("pow", 2);
    for (int i = 0; i < 200000; i++) {
        double base = pk_exp((double)rng_float(&random) * 40.0), power = (double)rng_float(&random) * 16.0;
        long double truth = powl((long double)base, (long double)power);
        note(&worst, fabsl((long double)pk_pow(base, power) - truth) / truth);
    }
    printf("# pow %.2Lf units of 2^-52\n", worst);
}

static void sine_and_cosine_are_within_2_to_minus_45_up_to_1e7(void **state)
{
    (void)state;
    static const double sizes[] = {1.0, 10.0, 1e4, 1e7, 1e9};
    long double worst = 0.0L;
    rng random = rng_open("sincos", 3);
    for (int i = 0; i < 200000; i++) {
        double s, c, x = (double)rng_float(&random) * sizes[i % 5];
        /* Near a multiple of π/2 the reduction cancels most. */
        if (i % 7 == 0)
            x = (double)rng_below(&random, 6400000) * 1.57079632679489661923;
        pk_sincos(x, &s, &c);
        note(&worst, fabsl((long double)s - sinl((long double)x)));
        note(&worst, fabsl((long double)c - cosl((long double)x)));
    }
    printf("# sin, cos %.2Lf units of 2^-52\n", worst);
}

static double slope(size_t head, size_t heads)
{
    size_t power = 1;
    while (power * 2 <= heads)
        power *= 2;
    if (head >= power)
        return (double)powl(2.0L, -8.0L * (long double)(2 * (head - power) + 1) / (long double)(2 * power));
    return (double)powl(2.0L, -8.0L * (long double)(head + 1) / (long double)power);
}

static void decay_tables_follow_the_model(void **state)
{
    (void)state;
    static const size_t shapes[][3] = {{4, 0, 8}, {8, 15, 16}, {64, 78, 80}, {6, 1, 4}, {12, 3, 7}, {1, 0, 1}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        size_t heads = shapes[i][0], layer = shapes[i][1], layers = shapes[i][2];
        float *decay = floats(heads * (PK_LIGHTNING_BLOCK + 1));
        double factor = layers == 1 ? 1.00001 : 1.0 - (double)layer / (double)(layers - 1) + 1e-5;
        pk_lightning_decay(decay, heads, layer, layers);
        for (size_t head = 0; head < heads; head++)
            for (size_t k = 0; k <= PK_LIGHTNING_BLOCK; k++) {
                long double truth = expl(-(long double)slope(head, heads) * (long double)factor * (long double)k);
                float value = decay[head * (PK_LIGHTNING_BLOCK + 1) + k];
                assert_true(fabsl((long double)value - truth) <= 0.51L * 0x1p-23L * truth);
                assert_true(k > 0 || value == 1.0f);
            }
        free(decay);
    }
}

static void slopes_of_six_heads_are_those_of_the_model(void **state)
{
    (void)state;
    /* 2^-2, 2^-4, 2^-6, 2^-8 of four heads, then elements 0 and 2 of eight: 2^-1, 2^-3. */
    static const double slopes[] = {0.25, 0.0625, 0.015625, 0.00390625, 0.5, 0.125};
    float decay[6 * (PK_LIGHTNING_BLOCK + 1)];
    pk_lightning_decay(decay, 6, 0, 2);
    for (size_t head = 0; head < 6; head++)
        assert_true(fabs((double)decay[head * (PK_LIGHTNING_BLOCK + 1) + 1] - exp(-slopes[head] * 1.00001)) < 1e-7);
}

static void rope_frequencies_are_those_of_the_recipe(void **state)
{
    (void)state;
    static const double thetas[] = {1e7, 1e6, 10000.0};
    static const size_t dims[] = {64, 128, 8, 6};
    for (size_t t = 0; t < 3; t++)
        for (size_t d = 0; d < 4; d++) {
            float inverse[64];
            pk_rope_inverse(inverse, thetas[t], dims[d]);
            for (size_t i = 0; i < dims[d] / 2; i++) {
                float power = (float)pow(thetas[t], (double)(2 * i) / (double)dims[d]);
                assert_int_equal(bits_of(inverse[i]), bits_of(1.0f / power));
            }
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(expf_is_within_2e_7_over_all_floats),
        cmocka_unit_test(expf_of_special_values),
        cmocka_unit_test(sigmoid_and_silu_of_special_values),
        cmocka_unit_test(vectors_have_the_bits_of_the_scalar_functions),
        cmocka_unit_test(double_exp_and_log_are_within_2_to_minus_45),
        cmocka_unit_test(double_functions_of_special_values),
        cmocka_unit_test(double_pow_is_within_2_to_minus_45),
        cmocka_unit_test(sine_and_cosine_are_within_2_to_minus_45_up_to_1e7),
        cmocka_unit_test(decay_tables_follow_the_model),
        cmocka_unit_test(slopes_of_six_heads_are_those_of_the_model),
        cmocka_unit_test(rope_frequencies_are_those_of_the_recipe),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
