/* buffer.h - the bytes of a payload, handed from owner to owner without a copy.
 *
 * A buffer has one owner. Sending takes it; receiving gives a fresh one whose bytes lie where libzmq put them. The
 * owner may write into it, and may send on what it received: so activations pass through a stage in place. Releasing
 * may happen on any thread (libzmq's sends from its own). */
#ifndef PK_IPC_BUFFER_H
#define PK_IPC_BUFFER_H

#include "ipc/error.h"

#include <stddef.h>

typedef struct pk_buffer {
    void *data;   /* aligned to at least 4 bytes; NULL only when bytes == 0 */
    size_t bytes; /* may be lowered by the owner, never raised */
    void (*release)(struct pk_buffer *buffer);
} pk_buffer;

/* Memory of its own, content undefined, 64-byte aligned. */
pk_err pk_buffer_open(pk_buffer **out, size_t bytes);

/* Releases and nulls; accepts NULL. */
void pk_buffer_close(pk_buffer **buffer);

/* A pool keeps released buffers of one size for the next taker, so that the steady state does not grow and does not
 * fault fresh pages in. Closing it while buffers are out is allowed: the last one to come back frees it. */
typedef struct pk_buffer_pool pk_buffer_pool;

pk_err pk_buffer_pool_open(pk_buffer_pool **out, size_t buffer_bytes);
/* A buffer whose `bytes` is set to `bytes` (at most the pool's). */
pk_err pk_buffer_pool_take(pk_buffer_pool *pool, size_t bytes, pk_buffer **out);
void pk_buffer_pool_close(pk_buffer_pool **pool);

#endif
