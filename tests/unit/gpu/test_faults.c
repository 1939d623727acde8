/* Negative controls: the properties of test_purity.c must fail for a device that breaks them on purpose, whichever of
 * its backends runs. Built once against each faulty device. */
#include "tests/unit/gpu/purity.h"

static const char *const backends[] = {"cpu:plain", "cpu"};

#if defined(PK_FAULT_SPLIT_K)

static void splitting_k_is_noticed(void **state)
{
    (void)state;
    rng random = rng_open("split k", 20);
    for (size_t b = 0; b < 2; b++) {
        assert_true(matmul_rows_changed_by_cuts(backends[b], 1, &random) > 0);
        assert_true(grouped_rows_changed_by_grouping(backends[b], 1, &random) > 0);
    }
}

#else

static void masking_by_zero_is_noticed(void **state)
{
    (void)state;
    rng random = rng_open("mask by zero", 21);
    for (size_t b = 0; b < 2; b++) {
        assert_true(lightning_rows_reached_by_the_future(backends[b], &random) > 0);
        assert_true(softmax_rows_reached_by_the_future(backends[b], &random) > 0);
    }
}

#endif

int main(void)
{
#if defined(PK_FAULT_SPLIT_K)
    const struct CMUnitTest tests[] = {cmocka_unit_test(splitting_k_is_noticed)};
#else
    const struct CMUnitTest tests[] = {cmocka_unit_test(masking_by_zero_is_noticed)};
#endif
    return cmocka_run_group_tests(tests, NULL, NULL);
}
