#include "tests/unit/cmocka_all.h"
#include "ipc/buffer.h"

#include <pthread.h>
#include <string.h>

static void a_buffer_is_aligned_and_its_own(void **state)
{
    (void)state;
    for (size_t bytes = 0; bytes < 300; bytes += 37) {
        pk_buffer *buffer = NULL;
        assert_int_equal(pk_buffer_open(&buffer, bytes), PK_OK);
        assert_int_equal(buffer->bytes, bytes);
        assert_int_equal((uintptr_t)buffer->data % 64, 0);
        memset(buffer->data, 0xff, bytes);
        pk_buffer_close(&buffer);
        assert_null(buffer);
        pk_buffer_close(&buffer);
    }
}

static void a_pool_hands_out_again_what_came_back(void **state)
{
    pk_buffer_pool *pool = NULL;
    pk_buffer *a = NULL, *b = NULL, *again = NULL;
    (void)state;
    assert_int_equal(pk_buffer_pool_open(&pool, 1000), PK_OK);
    assert_int_equal(pk_buffer_pool_take(pool, 1000, &a), PK_OK);
    assert_int_equal(pk_buffer_pool_take(pool, 10, &b), PK_OK);
    assert_ptr_not_equal(a->data, b->data);
    assert_int_equal(b->bytes, 10);
    const void *place = a->data;
    a->bytes = 1; /* lowered by its owner */
    pk_buffer_close(&a);
    assert_int_equal(pk_buffer_pool_take(pool, 999, &again), PK_OK);
    assert_ptr_equal(again->data, place);
    assert_int_equal(again->bytes, 999);
    memset(again->data, 1, 1000);
    pk_buffer_close(&again);
    pk_buffer_close(&b);
    pk_buffer_pool_close(&pool);
    assert_null(pool);
    pk_buffer_pool_close(&pool);
}

static void a_pool_may_close_before_its_buffers_come_back(void **state)
{
    pk_buffer_pool *pool = NULL;
    pk_buffer *a = NULL, *b = NULL;
    (void)state;
    assert_int_equal(pk_buffer_pool_open(&pool, 64), PK_OK);
    assert_int_equal(pk_buffer_pool_take(pool, 64, &a), PK_OK);
    assert_int_equal(pk_buffer_pool_take(pool, 64, &b), PK_OK);
    pk_buffer_pool_close(&pool);
    memset(a->data, 1, 64);
    pk_buffer_close(&a);
    memset(b->data, 1, 64);
    pk_buffer_close(&b); /* frees the pool: the sanitizer would tell of a leak */
}

enum { HANDED = 500 };

static void *release_all(void *buffers)
{
    for (pk_buffer **at = buffers; at < (pk_buffer **)buffers + HANDED; at++)
        pk_buffer_close(at);
    return NULL;
}

static void buffers_come_back_from_any_thread(void **state)
{
    pk_buffer_pool *pool = NULL;
    static pk_buffer *buffers[2][HANDED];
    pthread_t threads[2];
    (void)state;
    assert_int_equal(pk_buffer_pool_open(&pool, 64), PK_OK);
    for (int round = 0; round < 3; round++) {
        for (int t = 0; t < 2; t++) {
            for (int i = 0; i < HANDED; i++)
                assert_int_equal(pk_buffer_pool_take(pool, 64, &buffers[t][i]), PK_OK);
            assert_int_equal(pthread_create(&threads[t], NULL, release_all, buffers[t]), 0);
        }
        for (int t = 0; t < 2; t++)
            assert_int_equal(pthread_join(threads[t], NULL), 0);
    }
    pk_buffer_pool_close(&pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_buffer_is_aligned_and_its_own),
        cmocka_unit_test(a_pool_hands_out_again_what_came_back),
        cmocka_unit_test(a_pool_may_close_before_its_buffers_come_back),
        cmocka_unit_test(buffers_come_back_from_any_thread),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
