/* The device as an object: which backends there are, its memory, its sign of life. */
#include "tests/unit/gpu/fixture.h"

#include <stdatomic.h>
#include <stdlib.h>

static void an_unknown_backend_is_refused_by_name(void **state)
{
    (void)state;
    pk_device *device = NULL;
    assert_int_equal(pk_device_open(&device, (pk_device_options){.backend = "cuda", .threads = 1}), PK_INVALID);
    assert_null(device);
    assert_string_equal(pk_error_text(), "backend 'cuda' is not one of cpu, cpu:plain, cpu:avx2, cpu:avx512");
}

static void cpu_takes_the_fastest_that_runs(void **state)
{
    (void)state;
    pk_device *device = device_of("cpu", 1);
    assert_string_equal(pk_device_ops(device)->name, backend_runs("cpu:avx512") ? "cpu:avx512"
                                                     : backend_runs("cpu:avx2") ? "cpu:avx2"
                                                                                : "cpu:plain");
    pk_device_close(&device);
    assert_null(device);
    pk_device_close(&device);
}

static void memory_is_zero_aligned_and_zero_again_when_forgotten(void **state)
{
    (void)state;
    enum { BYTES = 5 * 4096 };
    pk_device *device = device_of("cpu", 1);
    const pk_ops *ops = pk_device_ops(device);
    unsigned char *data = ops->alloc(device, BYTES);
    assert_non_null(data);
    assert_int_equal((uintptr_t)data % 64, 0);
    for (size_t i = 0; i < BYTES; i++) {
        assert_int_equal(data[i], 0);
        data[i] = 7;
    }
    ops->forget(device, data + 100, 3 * 4096);
    for (size_t i = 0; i < BYTES; i++)
        assert_int_equal(data[i], i >= 4096 && i < 3 * 4096 ? 0 : 7);
    ops->free(device, data, BYTES);
    pk_device_close(&device);
}

static void impossible_memory_is_null(void **state)
{
    (void)state;
    pk_device *device = device_of("cpu", 1);
    assert_null(pk_device_ops(device)->alloc(device, pk_matrix_bytes(PK_F32, SIZE_MAX / 8, SIZE_MAX / 8)));
    assert_null(pk_device_ops(device)->alloc(device, pk_kv_bytes(SIZE_MAX / 2, 8, 128)));
    pk_device_close(&device);
}

static void sizes_are_those_of_whole_panels_and_tiles(void **state)
{
    (void)state;
    assert_int_equal(pk_matrix_bytes(PK_BF16, 17, 10), 32 * 10 * 2);
    assert_int_equal(pk_matrix_bytes(PK_F32, 16, 3), 16 * 3 * 4);
    assert_int_equal(pk_matrix_bytes(PK_I8, 17, 65), 32 * (65 + 2 * 4));
    assert_int_equal(pk_matrix_bytes(PK_I4, 16, 65), 16 * (33 + 2 * 4));
    assert_int_equal(pk_kv_bytes(0, 2, 16), 0);
    assert_int_equal(pk_kv_bytes(1, 2, 16), 64 * 2 * 16 * 2 * 4);
    assert_int_equal(pk_kv_bytes(64, 2, 16), pk_kv_bytes(1, 2, 16));
}

static void work_of_any_thread_is_progress(void **state)
{
    (void)state;
    enum { COUNT = 1 << 20 };
    _Atomic uint64_t progress = 0;
    pk_device *device = NULL;
    float *x = floats(COUNT);
    assert_int_equal(
        pk_device_open(&device, (pk_device_options){.backend = "cpu", .threads = 3, .progress = &progress}), PK_OK);
    pk_device_ops(device)->silu(device, x, COUNT);
    assert_int_equal(atomic_load(&progress), COUNT / 4096);
    free(x);
    pk_device_close(&device);
}

static void empty_calls_do_nothing(void **state)
{
    (void)state;
    pk_device *device = device_of("cpu", 2);
    const pk_ops *ops = pk_device_ops(device);
    pk_matrix w = {.dtype = PK_F32, .outputs = 4, .inputs = 4};
    assert_int_equal(ops->matmul(device, NULL, NULL, 0, &w), PK_OK);
    assert_int_equal(ops->silu(device, NULL, 0), PK_OK);
    assert_int_equal(ops->rmsnorm(device, NULL, NULL, NULL, 0, 4, 0.0f), PK_OK);
    assert_int_equal(ops->combine(device, NULL, NULL, NULL, NULL, 0, 2, 4), PK_OK);
    assert_int_equal(ops->lightning(device, &(pk_lightning){.heads = 2, .dim = 4}), PK_OK);
    assert_int_equal(ops->softmax(device, &(pk_softmax){.heads = 2, .kv_heads = 1, .dim = 4}), PK_OK);
    pk_device_close(&device);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_unknown_backend_is_refused_by_name),
        cmocka_unit_test(cpu_takes_the_fastest_that_runs),
        cmocka_unit_test(memory_is_zero_aligned_and_zero_again_when_forgotten),
        cmocka_unit_test(impossible_memory_is_null),
        cmocka_unit_test(sizes_are_those_of_whole_panels_and_tiles),
        cmocka_unit_test(work_of_any_thread_is_progress),
        cmocka_unit_test(empty_calls_do_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
