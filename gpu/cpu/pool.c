#include "gpu/cpu/pool.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

/* Waking a sleeper and waiting for it costs 5 to 50 microseconds on a busy machine: below this a job stays alone. */
enum { WORTH_WAKING_NS = 40000 };

typedef struct {
    pk_pool *pool;
    pthread_t thread;
    unsigned index;
} worker;

struct pk_pool {
    unsigned threads; /* the caller included */
    _Atomic uint64_t *progress;
    _Atomic size_t next; /* piece */
    pk_pool_work *work;
    void *job;
    size_t pieces;

    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t wake, idle;
    uint64_t generation; /* counts jobs */
    bool open;           /* a worker may still join the current job */
    unsigned joined;     /* workers inside the current job */
    bool ending;
    worker *workers; /* threads - 1 */
    unsigned started;
};

static void take_pieces(pk_pool *pool, unsigned index)
{
    size_t piece;
    while ((piece = atomic_fetch_add_explicit(&pool->next, 1, memory_order_relaxed)) < pool->pieces) {
        pool->work(pool->job, piece, index);
        if (pool->progress)
            atomic_fetch_add_explicit(pool->progress, 1, memory_order_relaxed);
    }
}

static void *worker_main(void *argument)
{
    worker *self = argument;
    pk_pool *pool = self->pool;
    uint64_t seen = 0;
    pthread_mutex_lock(&pool->lock);
    while (!pool->ending) {
        if (pool->generation == seen || !pool->open) {
            pthread_cond_wait(&pool->wake, &pool->lock);
            continue;
        }
        seen = pool->generation;
        pool->joined++;
        pthread_mutex_unlock(&pool->lock);
        take_pieces(pool, self->index);
        pthread_mutex_lock(&pool->lock);
        if (--pool->joined == 0)
            pthread_cond_signal(&pool->idle);
    }
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

/* Signals are for the thread that runs the program: workers start with all of them blocked. */
static pk_err start_workers(pk_pool *pool)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (; pool->started < pool->threads - 1; pool->started++) {
        worker *next = &pool->workers[pool->started];
        *next = (worker){.pool = pool, .index = pool->started + 1};
        if ((errno = pthread_create(&next->thread, NULL, worker_main, next)))
            break;
    }
    int error = errno;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    errno = error;
    if (pool->started < pool->threads - 1)
        return pk_fail_errno(PK_IO, "start compute thread %u of %u", pool->started + 2, pool->threads);
    return PK_OK;
}

pk_err pk_pool_open(pk_pool **out, unsigned threads, _Atomic uint64_t *progress)
{
    pk_err err;
    pk_pool *pool = calloc(1, sizeof *pool);
    worker *workers = calloc(threads, sizeof *workers);
    if (!pool || !workers) {
        free(pool);
        free(workers);
        return pk_fail(PK_NOMEM, "a pool of %u threads", threads);
    }
    pool->threads = threads;
    pool->progress = progress;
    pool->workers = workers;
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->wake, NULL);
    pthread_cond_init(&pool->idle, NULL);
    if ((err = start_workers(pool)))
        pk_pool_close(&pool);
    *out = pool;
    return err;
}

void pk_pool_run(pk_pool *pool, pk_pool_work *work, void *job, size_t pieces, uint64_t cost_ns)
{
    pool->work = work;
    pool->job = job;
    pool->pieces = pieces;
    atomic_store_explicit(&pool->next, 0, memory_order_relaxed);
    if (pool->threads == 1 || pieces <= 1 || cost_ns < WORTH_WAKING_NS) {
        take_pieces(pool, 0);
        return;
    }
    pthread_mutex_lock(&pool->lock);
    pool->generation++;
    pool->open = true;
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->lock);
    take_pieces(pool, 0);
    /* A worker that wakes only now would find no piece left: it is not waited for, and must not join, as the next job
     * rewrites what it would read. */
    pthread_mutex_lock(&pool->lock);
    pool->open = false;
    while (pool->joined)
        pthread_cond_wait(&pool->idle, &pool->lock);
    pthread_mutex_unlock(&pool->lock);
}

unsigned pk_pool_threads(const pk_pool *pool)
{
    return pool->threads;
}

void pk_pool_close(pk_pool **pool)
{
    pk_pool *self = *pool;
    if (!self)
        return;
    pthread_mutex_lock(&self->lock);
    self->ending = true;
    pthread_cond_broadcast(&self->wake);
    pthread_mutex_unlock(&self->lock);
    for (unsigned i = 0; i < self->started; i++)
        pthread_join(self->workers[i].thread, NULL);
    pthread_cond_destroy(&self->idle);
    pthread_cond_destroy(&self->wake);
    pthread_mutex_destroy(&self->lock);
    free(self->workers);
    free(self);
    *pool = NULL;
}
