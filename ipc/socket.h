/* socket.h - ZeroMQ, as far as Penstock uses it. The only place that knows it.
 *
 * A net is the process's ZeroMQ context; sockets belong to one thread each. Frames are pk_buffers. Links (link.h) and
 * channels (channel.h) give frames their meaning. */
#ifndef PK_IPC_SOCKET_H
#define PK_IPC_SOCKET_H

#include "ipc/buffer.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct pk_net pk_net;
typedef struct pk_socket pk_socket;

typedef enum { PK_SOCKET_PUSH, PK_SOCKET_PULL, PK_SOCKET_DEALER, PK_SOCKET_ROUTER } pk_socket_type;

typedef struct {
    pk_socket_type type;
    const char *endpoint;  /* ipc://PATH; view, valid during the call */
    bool bind;             /* else connect */
    int high_water;        /* messages queued on each side; 0: the default of 1000 */
    const char *identity;  /* DEALER: the routing id that the ROUTER sees; NULL elsewhere */
    int64_t message_bytes; /* a peer that sends a larger frame is disconnected; see pk_socket_recv */
} pk_socket_options;

/* Of a coordinator of 24 stages; a stage has 21. */
enum { PK_NET_DESCRIPTORS = 256 };

/* Also raises the process's limit of open files as far as it may go. PK_NOMEM: that is below PK_NET_DESCRIPTORS. */
pk_err pk_net_open(pk_net **out);
void pk_net_close(pk_net **net); /* after all of its sockets; what was sent last still gets up to a second */

pk_err pk_socket_open(pk_socket **out, pk_net *net, pk_socket_options options);
void pk_socket_close(pk_socket **socket);
/* Closes, and what was sent but is still here is thrown away: it would come too late. */
void pk_socket_drop(pk_socket **socket);

const char *pk_socket_endpoint(const pk_socket *socket); /* as it was opened; view */

/* Takes the frame, even on failure. `more`: another frame of the same message follows. Waits up to `timeout_ms` for
 * room; PK_PEER after that, or (ROUTER) when the addressee is not connected. */
pk_err pk_socket_send(pk_socket *socket, pk_buffer *frame, bool more, int timeout_ms);

/* PK_AGAIN: nothing there. The frame's bytes lie in libzmq's own message. PK_PEER, once (PULL, after a pk_poll over
 * this socket), before anything of the new connection: the sender's connection broke and it came back, so that messages
 * are lost; too large a frame does that. */
pk_err pk_socket_recv(pk_socket *socket, pk_buffer **frame, bool *more);

typedef struct {
    pk_socket *socket; /* or NULL: */
    int fd;
    bool room;  /* wait until a send would not wait, instead of for something to receive; sockets only */
    bool ready; /* out: that is so, or it is readable, or there is something to say about its connection, or (fd) hung up */
} pk_poll_item;

enum { PK_POLL_MOST = 1100 }; /* a trace link for each of 1,024 layers, and the rest */

/* Waits until an item is ready; timeout_ms 0: not at all, -1: for ever. EINTR counts as a timeout. */
pk_err pk_poll(pk_poll_item *items, size_t count, int timeout_ms);

#endif
