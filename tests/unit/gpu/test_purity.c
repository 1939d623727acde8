/* Row purity of the operations: cuts, threads, neighbours and the future change no bit of a row. */
#include "tests/unit/gpu/purity.h"

static const char *const backends[] = {"cpu:plain", "cpu:avx2", "cpu:avx512"};
enum { BACKENDS = sizeof backends / sizeof *backends };

/* For each backend that runs here and 1 to 4 threads (1 and 3 in sanitizer builds). */
#define EVERYWHERE(changed)                                                                                            \
    for (size_t b = 0; b < BACKENDS; b++)                                                                                     \
        for (unsigned threads = 1; threads <= 4 && backend_runs(backends[b]); threads += SHARE > 1 ? 2 : 1)                               \
            assert_int_equal(changed, 0)

static void cuts_change_no_bit_of_a_product(void **state)
{
    (void)state;
    rng random = rng_open("matmul cuts", 10);
    EVERYWHERE(matmul_rows_changed_by_cuts(backends[b], threads, &random));
}

static void groups_change_no_bit_of_a_product(void **state)
{
    (void)state;
    rng random = rng_open("matmul groups", 11);
    EVERYWHERE(grouped_rows_changed_by_grouping(backends[b], threads, &random));
}

static void cuts_change_no_bit_of_lightning(void **state)
{
    (void)state;
    rng random = rng_open("lightning cuts", 12);
    EVERYWHERE(lightning_rows_changed_by_cuts(backends[b], threads, &random));
}

static void cuts_change_no_bit_of_softmax(void **state)
{
    (void)state;
    rng random = rng_open("softmax cuts", 13);
    EVERYWHERE(softmax_rows_changed_by_cuts(backends[b], threads, &random, 0, 150 + rng_below(&random, 100)));
}

static void cuts_change_no_bit_of_softmax_past_a_span(void **state)
{
    (void)state;
    rng random = rng_open("softmax span", 14);
    for (size_t b = 0; b < BACKENDS; b++)
        if (backend_runs(backends[b]))
            assert_int_equal(softmax_rows_changed_by_cuts(backends[b], 2, &random, PK_KV_SPAN - 70, 140), 0);
    for (size_t b = 1; b < BACKENDS; b++)
        if (backend_runs(backends[b]))
            assert_int_equal(softmax_rows_changed_by_cuts(backends[b], 3, &random, 2 * PK_KV_SPAN - 20, 60), 0);
}

static void neighbours_change_no_bit(void **state)
{
    (void)state;
    rng random = rng_open("neighbours", 15);
    EVERYWHERE(lightning_rows_changed_by_neighbours(backends[b], threads, &random));
    EVERYWHERE(softmax_rows_changed_by_neighbours(backends[b], threads, &random));
}

static void infinities_and_nan_do_not_reach_earlier_rows(void **state)
{
    (void)state;
    rng random = rng_open("future", 16);
    for (size_t b = 0; b < BACKENDS; b++)
        if (backend_runs(backends[b])) {
            assert_int_equal(lightning_rows_reached_by_the_future(backends[b], &random), 0);
            assert_int_equal(softmax_rows_reached_by_the_future(backends[b], &random), 0);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cuts_change_no_bit_of_a_product),
        cmocka_unit_test(groups_change_no_bit_of_a_product),
        cmocka_unit_test(cuts_change_no_bit_of_lightning),
        cmocka_unit_test(cuts_change_no_bit_of_softmax),
        cmocka_unit_test(cuts_change_no_bit_of_softmax_past_a_span),
        cmocka_unit_test(neighbours_change_no_bit),
        cmocka_unit_test(infinities_and_nan_do_not_reach_earlier_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
