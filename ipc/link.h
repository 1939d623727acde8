/* link.h - one end of a data link between two processes: batches, first in first out, in one direction.
 *
 * The receiver binds, the one sender connects. The coordinator's window bounds what is in flight on the links of the
 * model side, and it has one text at a time at the tokenize stage, so a send never waits for long; if it would wait
 * past the deadline the peer is gone and the answer is PK_PEER. One thread per link. Payloads are not copied. A batch
 * that does not read is a fault of the peer's (PK_PEER, with the endpoint), the link stays usable. */
#ifndef PK_IPC_LINK_H
#define PK_IPC_LINK_H

#include "ipc/socket.h"
#include "ipc/wire.h"

typedef struct pk_link pk_link;

typedef struct {
    const char *endpoint; /* ipc://PATH; view, valid during the call */
    bool receive;         /* bind and receive, else connect and send */
    pk_batch_limits limits;
    uint32_t window; /* most batches in flight */
} pk_link_options;

pk_err pk_link_open(pk_link **out, pk_net *net, pk_link_options options);
void pk_link_close(pk_link **link);
/* Closes, and what is still on its way from here is thrown away. */
void pk_link_drop(pk_link **link);

/* Takes the payload, even on failure; NULL for an empty one. payload->bytes must be what the header says (assert). */
pk_err pk_link_send(pk_link *link, const pk_batch *head, pk_buffer *payload);

/* PK_AGAIN: nothing there. PK_PEER: what came is no batch, or messages are lost (pk_socket_recv). The arrays of *head
 * are views, valid until the next call; the payload is the caller's. */
pk_err pk_link_recv(pk_link *link, pk_batch *head, pk_buffer **payload);

/* For pk_poll. */
pk_socket *pk_link_socket(pk_link *link);

#endif
