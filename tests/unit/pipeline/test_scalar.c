#include "check.h"

#include "pipeline/scalar.h"

static void assert_whole(const char *word, uint64_t expected)
{
    uint64_t value = 0;
    assert_true(pk_scalar_whole(word, &value));
    assert_true(value == expected);
}

static void whole_numbers_are_digits_and_nothing_else(void **state)
{
    static const char *const refused[] = {"",
                                          " 1",
                                          "1 ",
                                          "+1",
                                          "-1",
                                          "01",
                                          "1_000",
                                          "0x10",
                                          "1.0",
                                          "1e3",
                                          "18446744073709551616",
                                          "99999999999999999999999",
                                          NULL};
    uint64_t value;
    (void)state;
    assert_whole("0", 0);
    assert_whole("7", 7);
    assert_whole("18446744073709551615", UINT64_MAX);
    for (size_t i = 0; refused[i]; ++i)
        assert_false(pk_scalar_whole(refused[i], &value));
}

static void real_numbers_are_decimal_and_finite(void **state)
{
    static const char *const refused[] = {"",      ".",    "-",  "e5",  "1e",    "1e+",  "nan", "inf",
                                          "0x1p3", "1.5 ", " 1", "1,5", "1e999", "1..2", NULL};
    double value;
    (void)state;
    assert_true(pk_scalar_real("1", &value) && value == 1);
    assert_true(pk_scalar_real("-0.25", &value) && value == -0.25);
    assert_true(pk_scalar_real(".5", &value) && value == 0.5);
    assert_true(pk_scalar_real("5.", &value) && value == 5);
    assert_true(pk_scalar_real("1e-3", &value) && value == 1e-3);
    for (size_t i = 0; refused[i]; ++i)
        assert_false(pk_scalar_real(refused[i], &value));
}

static void assert_bytes(const char *word, uint64_t expected)
{
    uint64_t value = 0;
    assert_true(pk_scalar_bytes(word, &value));
    assert_true(value == expected);
}

static void sizes_take_both_families_of_units(void **state)
{
    static const char *const refused[] = {
        "",           "B", "GiB", "1 GiB", "1gb", "1G", "1.GB", ".5GB", "-1GB", "1GiBs", "9223372036854775808",
        "8388608TiB", NULL};
    uint64_t value;
    (void)state;
    assert_bytes("0", 0);
    assert_bytes("512", 512);
    assert_bytes("512B", 512);
    assert_bytes("230GiB", 230ull << 30);
    assert_bytes("5GB", 5000000000);
    assert_bytes("1.5KiB", 1536);
    assert_bytes("0.3333333333333333333333333333kB", 333);
    assert_bytes("9223372036854775807", INT64_MAX);
    for (size_t i = 0; refused[i]; ++i)
        assert_false(pk_scalar_bytes(refused[i], &value));
}

static void a_slip_finds_the_word_that_was_meant(void **state)
{
    static const char *const words[] = {"context", "batch_rows", "sequences", "window", NULL};
    (void)state;
    assert_string_equal(pk_scalar_nearest("contxt", words), "context");
    assert_string_equal(pk_scalar_nearest("batchrows", words), "batch_rows");
    assert_string_equal(pk_scalar_nearest("widnow", words), "window");
    assert_string_equal(pk_scalar_nearest("sequence", words), "sequences");
}

static void an_unrelated_word_finds_nothing(void **state)
{
    static const char *const words[] = {"context", "window", NULL};
    char endless[256];
    (void)state;
    memset(endless, 'w', sizeof endless);
    endless[sizeof endless - 1] = 0;
    assert_null(pk_scalar_nearest("temperature", words));
    assert_null(pk_scalar_nearest("", words));
    assert_null(pk_scalar_nearest(endless, words));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_numbers_are_digits_and_nothing_else),
        cmocka_unit_test(real_numbers_are_decimal_and_finite),
        cmocka_unit_test(sizes_take_both_families_of_units),
        cmocka_unit_test(a_slip_finds_the_word_that_was_meant),
        cmocka_unit_test(an_unrelated_word_finds_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
