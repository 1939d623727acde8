/* pool.h - the threads of a CPU device.
 *
 * A job is a function and a number of pieces; the caller and the workers take pieces until none is left, so the order
 * and the assignment of pieces are left to chance and must not matter. The caller works too: a pool of one has no
 * threads, and a job too small to be worth waking anyone is done by the caller alone. Used by one thread at a time. */
#ifndef PK_GPU_CPU_POOL_H
#define PK_GPU_CPU_POOL_H

#include "ipc/error.h"

#include <stddef.h>
#include <stdint.h>

typedef struct pk_pool pk_pool;

/* Does piece `piece` of the job; worker, below the pool's thread count, says whose scratch to use. */
typedef void pk_pool_work(void *job, size_t piece, unsigned worker);

/* `progress`, if any, is bumped after each piece. PK_NOMEM, or PK_IO when the system gives no more threads. */
pk_err pk_pool_open(pk_pool **out, unsigned threads, _Atomic uint64_t *progress);

/* Returns when all pieces are done. cost_ns: a guess of the whole job's time in one thread. */
void pk_pool_run(pk_pool *pool, pk_pool_work *work, void *job, size_t pieces, uint64_t cost_ns);

unsigned pk_pool_threads(const pk_pool *pool);
void pk_pool_close(pk_pool **pool);

#endif
