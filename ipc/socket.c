#include "ipc/socket.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <zmq.h>

enum { LINGER_MS = 1000 };

struct pk_net {
    void *context;
};

struct pk_socket {
    void *zmq;
    char *endpoint;
    int64_t message_bytes;
    void *monitor;     /* PULL: what libzmq says about connections; else NULL */
    bool lost, broken; /* a connection has ended; and was made again */
    bool inside;       /* more frames of a message are to come */
};

/* A frame as it came: the buffer's bytes are the message's. */
typedef struct {
    pk_buffer base; /* first: released through it */
    zmq_msg_t message;
} received;

static pk_err fail_zmq(pk_err err, const char *what, const char *endpoint)
{
    return pk_fail(err, "%s %s: %s", what, endpoint, zmq_strerror(zmq_errno()));
}

/* libzmq aborts its process when it gets no descriptor: so they are made sure of before it begins. */
static pk_err reserve_descriptors(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit))
        return pk_fail_errno(PK_IO, "limit of open files");
    if (limit.rlim_max < PK_NET_DESCRIPTORS)
        return pk_fail(PK_NOMEM, "at most %ju files may be open (ulimit -Hn), %d are needed", (uintmax_t)limit.rlim_max,
                       PK_NET_DESCRIPTORS);
    limit.rlim_cur = limit.rlim_max;
    return setrlimit(RLIMIT_NOFILE, &limit) ? pk_fail_errno(PK_IO, "limit of open files") : PK_OK;
}

pk_err pk_net_open(pk_net **out)
{
    pk_net *net = NULL;
    pk_err err = reserve_descriptors();
    if (err)
        return err;
    if (!(net = calloc(1, sizeof *net)))
        return pk_fail(PK_NOMEM, "net");
    if (!(net->context = zmq_ctx_new())) {
        free(net);
        return fail_zmq(PK_IO, "zmq", "context");
    }
    zmq_ctx_set(net->context, ZMQ_BLOCKY, 0);
    *out = net;
    return PK_OK;
}

void pk_net_close(pk_net **net)
{
    if (!*net)
        return;
    while (zmq_ctx_term((*net)->context) && zmq_errno() == EINTR)
        ;
    free(*net);
    *net = NULL;
}

static int set_int(void *zmq, int option, int value)
{
    return zmq_setsockopt(zmq, option, &value, sizeof value);
}

static int set_options(void *zmq, const pk_socket_options *o)
{
    int failed = set_int(zmq, ZMQ_LINGER, LINGER_MS);
    if (o->high_water)
        failed |= set_int(zmq, ZMQ_SNDHWM, o->high_water) | set_int(zmq, ZMQ_RCVHWM, o->high_water);
    if (o->type == PK_SOCKET_ROUTER) /* an addressee that is gone is an error, not a silent loss */
        failed |= set_int(zmq, ZMQ_ROUTER_MANDATORY, 1);
    if (o->identity)
        failed |= zmq_setsockopt(zmq, ZMQ_ROUTING_ID, o->identity, strlen(o->identity));
    failed |= zmq_setsockopt(zmq, ZMQ_MAXMSGSIZE, &o->message_bytes, sizeof o->message_bytes);
    return failed;
}

/* libzmq drops the connection of a peer that sends too large a frame, with all that was in flight, and says nothing to
 * either side: only the connection's end, and that the peer is back, tell it from a peer that has ended. */
static pk_err open_monitor(pk_socket *socket, pk_net *net)
{
    static atomic_uint opened; /* a name that was used once is free again only after a while */
    char place[64];
    snprintf(place, sizeof place, "inproc://monitor-%u", atomic_fetch_add(&opened, 1));
    if (zmq_socket_monitor(socket->zmq, place, ZMQ_EVENT_ACCEPTED | ZMQ_EVENT_DISCONNECTED) ||
        !(socket->monitor = zmq_socket(net->context, ZMQ_PAIR)) || set_int(socket->monitor, ZMQ_LINGER, 0) ||
        zmq_connect(socket->monitor, place))
        return fail_zmq(PK_IO, "monitor of", socket->endpoint);
    return PK_OK;
}

/* An event is two frames: its number (u16, of this machine) with a value, and the address. */
static void take_events(pk_socket *socket)
{
    struct {
        uint16_t event;
        uint8_t value[4];
    } first;
    char address[256];
    while (zmq_recv(socket->monitor, &first, sizeof first, ZMQ_DONTWAIT) > 0) {
        zmq_recv(socket->monitor, address, sizeof address, ZMQ_DONTWAIT);
        if (first.event == ZMQ_EVENT_DISCONNECTED)
            socket->lost = true;
        else if (first.event == ZMQ_EVENT_ACCEPTED && socket->lost)
            socket->broken = true;
    }
}

pk_err pk_socket_open(pk_socket **out, pk_net *net, pk_socket_options options)
{
    static const int types[] = {ZMQ_PUSH, ZMQ_PULL, ZMQ_DEALER, ZMQ_ROUTER};
    pk_err err = PK_OK;
    pk_socket *socket = calloc(1, sizeof *socket);
    if (!socket || !(socket->endpoint = strdup(options.endpoint))) {
        free(socket);
        return pk_fail(PK_NOMEM, "socket %s", options.endpoint);
    }
    socket->message_bytes = options.message_bytes;
    if (!(socket->zmq = zmq_socket(net->context, types[options.type])))
        err = fail_zmq(PK_IO, "socket for", options.endpoint);
    else if (set_options(socket->zmq, &options))
        err = fail_zmq(PK_IO, "options of", options.endpoint);
    else if (options.type == PK_SOCKET_PULL && (err = open_monitor(socket, net)))
        ;
    else if ((options.bind ? zmq_bind : zmq_connect)(socket->zmq, options.endpoint))
        err = fail_zmq(PK_IO, options.bind ? "bind" : "connect", options.endpoint);
    if (err)
        pk_socket_close(&socket);
    *out = socket;
    return err;
}

void pk_socket_close(pk_socket **socket)
{
    if (!*socket)
        return;
    /* While somebody is there to hear it: libzmq waits for ever to tell an event to a monitor that has gone. */
    if ((*socket)->monitor)
        zmq_socket_monitor((*socket)->zmq, NULL, 0);
    if ((*socket)->zmq)
        zmq_close((*socket)->zmq);
    if ((*socket)->monitor)
        zmq_close((*socket)->monitor);
    free((*socket)->endpoint);
    free(*socket);
    *socket = NULL;
}

const char *pk_socket_endpoint(const pk_socket *socket)
{
    return socket->endpoint;
}

void pk_socket_drop(pk_socket **socket)
{
    if (*socket && (*socket)->zmq)
        set_int((*socket)->zmq, ZMQ_LINGER, 0);
    pk_socket_close(socket);
}

static void release_received(pk_buffer *buffer)
{
    received *frame = (received *)buffer;
    zmq_msg_close(&frame->message);
    free(frame);
}

static void release_sent(void *data, void *hint)
{
    (void)data;
    pk_buffer *buffer = hint;
    pk_buffer_close(&buffer);
}

static int send_message(pk_socket *socket, zmq_msg_t *message, bool more, int timeout_ms)
{
    set_int(socket->zmq, ZMQ_SNDTIMEO, timeout_ms);
    int sent;
    do
        sent = zmq_msg_send(message, socket->zmq, more ? ZMQ_SNDMORE : 0);
    while (sent < 0 && zmq_errno() == EINTR);
    return sent;
}

pk_err pk_socket_send(pk_socket *socket, pk_buffer *frame, bool more, int timeout_ms)
{
    zmq_msg_t message;
    /* A frame that came whole goes on whole: libzmq moves its own message. */
    if (frame->release == release_received && zmq_msg_size(&((received *)frame)->message) == frame->bytes) {
        zmq_msg_init(&message);
        zmq_msg_move(&message, &((received *)frame)->message);
        pk_buffer_close(&frame);
    } else if (zmq_msg_init_data(&message, frame->data, frame->bytes, release_sent, frame)) {
        pk_buffer_close(&frame);
        return fail_zmq(PK_NOMEM, "message for", socket->endpoint);
    }
    if (send_message(socket, &message, more, timeout_ms) >= 0)
        return PK_OK;
    pk_err err = fail_zmq(PK_PEER, "send to", socket->endpoint);
    zmq_msg_close(&message);
    return err;
}

/* Small frames lie inside libzmq's receive buffer at any address; numbers are read in place, so those are moved. */
static pk_err align(received *frame)
{
    if ((uintptr_t)frame->base.data % sizeof(uint32_t) == 0)
        return PK_OK;
    zmq_msg_t copy;
    if (zmq_msg_init_size(&copy, frame->base.bytes))
        return pk_fail(PK_NOMEM, "a frame of %zu bytes", frame->base.bytes);
    memcpy(zmq_msg_data(&copy), frame->base.data, frame->base.bytes);
    zmq_msg_move(&frame->message, &copy);
    frame->base.data = zmq_msg_data(&frame->message);
    return PK_OK;
}

/* Told before what came on the new connection: there it would only be seen that something is missing. */
static pk_err tell_broken(pk_socket *socket)
{
    if (!socket->broken || socket->inside)
        return PK_OK;
    socket->broken = false;
    return pk_fail(PK_PEER,
                   "the sender's connection to %s broke and was made again, and what was in flight is lost: a frame of "
                   "more than %" PRId64 " bytes does that",
                   socket->endpoint, socket->message_bytes);
}

pk_err pk_socket_recv(pk_socket *socket, pk_buffer **out, bool *more)
{
    pk_err err = tell_broken(socket);
    if (err)
        return err;
    received *frame = calloc(1, sizeof *frame);
    if (!frame)
        return pk_fail(PK_NOMEM, "frame");
    zmq_msg_init(&frame->message);
    int got;
    do
        got = zmq_msg_recv(&frame->message, socket->zmq, ZMQ_DONTWAIT);
    while (got < 0 && zmq_errno() == EINTR);
    if (got < 0) {
        err = zmq_errno() == EAGAIN ? PK_AGAIN : fail_zmq(PK_IO, "receive on", socket->endpoint);
        zmq_msg_close(&frame->message);
        free(frame);
        return err;
    }
    frame->base = (pk_buffer){
        .data = zmq_msg_data(&frame->message), .bytes = zmq_msg_size(&frame->message), .release = release_received};
    *more = socket->inside = zmq_msg_more(&frame->message);
    *out = &frame->base;
    err = align(frame);
    if (err)
        pk_buffer_close(out);
    return err;
}

/* The sockets' monitors, which nobody outside knows: an event on one wakes its socket's owner. */
static size_t add_monitors(zmq_pollitem_t *polled, const pk_poll_item *items, size_t count)
{
    size_t used = count;
    for (size_t i = 0; i < count; i++)
        if (items[i].socket && items[i].socket->monitor)
            polled[used++] = (zmq_pollitem_t){.socket = items[i].socket->monitor, .events = ZMQ_POLLIN};
    return used;
}

/* True when some item is ready. */
static bool take_ready(const zmq_pollitem_t *polled, pk_poll_item *items, size_t count)
{
    const zmq_pollitem_t *monitor = polled + count;
    bool any = false;
    for (size_t i = 0; i < count; i++) {
        pk_socket *socket = items[i].socket;
        items[i].ready = polled[i].revents != 0;
        if (socket && socket->monitor && (monitor++)->revents)
            take_events(socket);
        items[i].ready |= socket && socket->broken; /* until it is told: whoever polls may not have asked last time */
        any |= items[i].ready;
    }
    return any;
}

pk_err pk_poll(pk_poll_item *items, size_t count, int timeout_ms)
{
    assert(count <= PK_POLL_MOST);
    zmq_pollitem_t polled[2 * PK_POLL_MOST];
    for (size_t i = 0; i < count; i++) {
        polled[i] = (zmq_pollitem_t){.socket = items[i].socket ? items[i].socket->zmq : NULL,
                                     .fd = items[i].fd,
                                     .events = items[i].room ? ZMQ_POLLOUT : ZMQ_POLLIN};
        items[i].ready = false;
    }
    size_t used = add_monitors(polled, items, count);
    for (size_t i = 0; i < count; i++)
        if (items[i].socket && items[i].socket->broken)
            timeout_ms = 0;
    int ready;
    do /* that a connection was made, or ended, is no news yet, and comes once or twice in a socket's life */
        ready = zmq_poll(polled, (int)used, timeout_ms);
    while (ready >= 0 && !take_ready(polled, items, count) && ready > 0);
    if (ready < 0 && zmq_errno() != EINTR)
        return fail_zmq(PK_IO, "poll", "sockets");
    return PK_OK;
}
