#include "ipc/buffer.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>

enum { ALIGNMENT = 64 };

static void *aligned(size_t bytes)
{
    return aligned_alloc(ALIGNMENT, (bytes + ALIGNMENT) / ALIGNMENT * ALIGNMENT);
}

static void release_own(pk_buffer *buffer)
{
    free(buffer->data);
    free(buffer);
}

pk_err pk_buffer_open(pk_buffer **out, size_t bytes)
{
    pk_buffer *buffer = calloc(1, sizeof *buffer);
    void *data = aligned(bytes);
    if (!buffer || !data) {
        free(buffer);
        free(data);
        return pk_fail(PK_NOMEM, "a buffer of %zu bytes", bytes);
    }
    *buffer = (pk_buffer){.data = data, .bytes = bytes, .release = release_own};
    *out = buffer;
    return PK_OK;
}

void pk_buffer_close(pk_buffer **buffer)
{
    if (*buffer)
        (*buffer)->release(*buffer);
    *buffer = NULL;
}

typedef struct pooled {
    pk_buffer base; /* first: a pk_buffer of the pool is a pooled */
    pk_buffer_pool *pool;
    struct pooled *next; /* in the free list */
} pooled;

struct pk_buffer_pool {
    pthread_mutex_t lock;
    size_t buffer_bytes, out;
    pooled *free_list;
    int closed;
};

static void free_pooled(pooled *item)
{
    free(item->base.data);
    free(item);
}

/* Frees the pool's memory once it is closed and everything has come back. */
static void destroy(pk_buffer_pool *pool)
{
    while (pool->free_list) {
        pooled *item = pool->free_list;
        pool->free_list = item->next;
        free_pooled(item);
    }
    pthread_mutex_destroy(&pool->lock);
    free(pool);
}

static void release_pooled(pk_buffer *buffer)
{
    pooled *item = (pooled *)buffer;
    pk_buffer_pool *pool = item->pool;
    pthread_mutex_lock(&pool->lock);
    item->next = pool->free_list;
    pool->free_list = item;
    int last = --pool->out == 0 && pool->closed;
    pthread_mutex_unlock(&pool->lock);
    if (last)
        destroy(pool);
}

pk_err pk_buffer_pool_open(pk_buffer_pool **out, size_t buffer_bytes)
{
    pk_buffer_pool *pool = calloc(1, sizeof *pool);
    if (!pool)
        return pk_fail(PK_NOMEM, "buffer pool");
    pthread_mutex_init(&pool->lock, NULL);
    pool->buffer_bytes = buffer_bytes;
    *out = pool;
    return PK_OK;
}

static pooled *make_pooled(pk_buffer_pool *pool)
{
    pooled *item = calloc(1, sizeof *item);
    if (!item)
        return NULL;
    item->pool = pool;
    item->base.release = release_pooled;
    if ((item->base.data = aligned(pool->buffer_bytes)))
        return item;
    free(item);
    return NULL;
}

pk_err pk_buffer_pool_take(pk_buffer_pool *pool, size_t bytes, pk_buffer **out)
{
    assert(bytes <= pool->buffer_bytes);
    pthread_mutex_lock(&pool->lock);
    pooled *item = pool->free_list;
    if (item)
        pool->free_list = item->next;
    else
        item = make_pooled(pool);
    pool->out += item != NULL;
    pthread_mutex_unlock(&pool->lock);
    if (!item)
        return pk_fail(PK_NOMEM, "a pool buffer of %zu bytes", pool->buffer_bytes);
    item->base.bytes = bytes;
    *out = &item->base;
    return PK_OK;
}

void pk_buffer_pool_close(pk_buffer_pool **pool)
{
    pk_buffer_pool *it = *pool;
    *pool = NULL;
    if (!it)
        return;
    pthread_mutex_lock(&it->lock);
    it->closed = 1;
    int last = it->out == 0;
    pthread_mutex_unlock(&it->lock);
    if (last)
        destroy(it);
}
