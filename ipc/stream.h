/* stream.h - the numbers of the batches that come on one link: the rule that finds out what a link has lost.
 *
 * In an epoch the batches of a link have the numbers 1, 2, 3 and so on. Its receiver keeps a stream: whatever is of
 * another epoch is dropped and counted, whatever is not the next one is a gap, and a gap ends something, for a link is
 * never trusted to lose nothing. Free of I/O: stages, coordinator and simulator share it. */
#ifndef PK_IPC_STREAM_H
#define PK_IPC_STREAM_H

#include "ipc/wire.h"

typedef struct {
    uint32_t epoch;
    uint64_t last;    /* the number of the last batch that was taken in this epoch; 0: none */
    uint64_t dropped; /* batches of other epochs, in all */
} pk_stream;

/* From here on another epoch. */
void pk_stream_begin(pk_stream *stream, uint32_t epoch);

/* PK_OK: take it. PK_AGAIN: of another epoch, drop it. PK_PEER: not the next one. Logits go before the answers of the
 * same number, and are no number of their own. */
pk_err pk_stream_take(pk_stream *stream, const pk_batch *head);

#endif
