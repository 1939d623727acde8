#include "pipeline/speeds.h"
#include "place.h"

#include <math.h>

static int cache_open(void **state)
{
    place_open(state);
    return setenv("XDG_CACHE_HOME", place, 1);
}

static pk_speeds measured(uint32_t threads)
{
    pk_speeds speeds = pk_speeds_builtin();
    speeds.measured = true;
    speeds.threads = threads;
    speeds.product_64 = (pk_speed){.one = 50.25, .all = 91.5};
    return speeds;
}

static void what_was_written_is_read_back(void **state)
{
    pk_speeds speeds = measured(2);
    (void)state;
    assert_int_equal(pk_speeds_write(&speeds), PK_OK);
    pk_speeds back = pk_speeds_read(2);
    assert_true(back.measured);
    assert_int_equal(back.threads, 2);
    assert_true(back.product_64.one == 50.25 && back.product_64.all == 91.5);
    assert_true(back.calls.one == speeds.calls.one);
    assert_non_null(strstr(back.source, "what penstock doctor measured, "));
    assert_non_null(strstr(back.source, "/penstock/doctor.json"));
}

static void without_a_file_the_builtin_speeds_are_used(void **state)
{
    (void)state;
    pk_speeds speeds = pk_speeds_read(2);
    assert_false(speeds.measured);
    assert_string_equal(speeds.source, "built-in ratios");
}

static void the_speeds_of_another_machine_are_not_used(void **state)
{
    pk_speeds speeds = measured(64);
    (void)state;
    assert_int_equal(pk_speeds_write(&speeds), PK_OK);
    pk_speeds back = pk_speeds_read(2);
    assert_false(back.measured);
    assert_non_null(strstr(back.source, "is of another machine"));
}

static void a_damaged_file_is_like_none_and_said(void **state)
{
    pk_speeds speeds = measured(2);
    (void)state;
    assert_int_equal(pk_speeds_write(&speeds), PK_OK);
    char *good = place_read("penstock/doctor.json");
    size_t bytes = strlen(good);
    for (size_t cut = 0; cut + 2 < bytes; cut += 7) {
        place_write_mode("penstock/doctor.json", "w", good, cut);
        pk_speeds back = pk_speeds_read(2);
        assert_false(back.measured);
        assert_non_null(strstr(back.source, "is damaged"));
    }
    char *figure = strstr(good, "50.25");
    assert_non_null(figure);
    for (const char *const *lie = (const char *const[]){"-1.25", "1e999", "\"no\" ", "null ", NULL}; *lie; lie++) {
        memcpy(figure, *lie, 5);
        place_write_mode("penstock/doctor.json", "w", good, bytes);
        assert_false(pk_speeds_read(2).measured);
    }
    free(good);
}

static void where_nothing_can_be_written_it_is_said(void **state)
{
    pk_speeds speeds = measured(2);
    (void)state;
    place_write("penstock", "a file where the folder should be");
    assert_int_equal(pk_speeds_write(&speeds), PK_IO);
}

static void more_threads_lose_what_the_measured_ones_lost(void **state)
{
    pk_speed speed = {.one = 10, .all = 18};
    (void)state;
    assert_true(pk_speed_at(speed, 2, 1) == 10);
    assert_true(fabs(pk_speed_at(speed, 2, 2) - 18) < 1e-9);
    assert_true(pk_speed_at(speed, 2, 4) > 18 && pk_speed_at(speed, 2, 4) < 40);
    assert_true(pk_speed_at(speed, 1, 4) == 10); /* of one core nothing is known about more */
}

static void products_of_more_rows_are_never_slower(void **state)
{
    pk_speeds speeds = pk_speeds_builtin();
    double before = 0;
    (void)state;
    for (double rows = 0.5; rows < 5000; rows *= 1.3) {
        double now = pk_speeds_product(&speeds, rows, 2);
        assert_true(now >= before);
        before = now;
    }
    assert_true(pk_speeds_product(&speeds, 1, 1) == speeds.product_1.one);
    assert_true(fabs(pk_speeds_product(&speeds, 64, 1) - speeds.product_64.one) < 1e-9);
    assert_true(pk_speeds_product(&speeds, 1e6, 1) == speeds.product_512.one);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_was_written_is_read_back, cache_open, place_close),
        cmocka_unit_test_setup_teardown(without_a_file_the_builtin_speeds_are_used, cache_open, place_close),
        cmocka_unit_test_setup_teardown(the_speeds_of_another_machine_are_not_used, cache_open, place_close),
        cmocka_unit_test_setup_teardown(a_damaged_file_is_like_none_and_said, cache_open, place_close),
        cmocka_unit_test_setup_teardown(where_nothing_can_be_written_it_is_said, cache_open, place_close),
        cmocka_unit_test(more_threads_lose_what_the_measured_ones_lost),
        cmocka_unit_test(products_of_more_rows_are_never_slower),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
