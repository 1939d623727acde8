#include "ipc/socket.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

enum { LINGER_MS = 1000 };

struct pk_net {
    void *context;
};

struct pk_socket {
    void *zmq;
    char *endpoint;
    bool bound;
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

pk_err pk_net_open(pk_net **out)
{
    pk_net *net = calloc(1, sizeof *net);
    if (!net)
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

pk_err pk_socket_open(pk_socket **out, pk_net *net, pk_socket_options options)
{
    static const int types[] = {ZMQ_PUSH, ZMQ_PULL, ZMQ_DEALER, ZMQ_ROUTER};
    pk_err err = PK_OK;
    pk_socket *socket = calloc(1, sizeof *socket);
    if (!socket || !(socket->endpoint = strdup(options.endpoint))) {
        free(socket);
        return pk_fail(PK_NOMEM, "socket %s", options.endpoint);
    }
    socket->bound = options.bind;
    if (!(socket->zmq = zmq_socket(net->context, types[options.type])))
        err = fail_zmq(PK_IO, "socket for", options.endpoint);
    else if (set_options(socket->zmq, &options))
        err = fail_zmq(PK_IO, "options of", options.endpoint);
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
    if ((*socket)->zmq)
        zmq_close((*socket)->zmq);
    free((*socket)->endpoint);
    free(*socket);
    *socket = NULL;
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

pk_err pk_socket_recv(pk_socket *socket, pk_buffer **out, bool *more)
{
    received *frame = calloc(1, sizeof *frame);
    if (!frame)
        return pk_fail(PK_NOMEM, "frame");
    zmq_msg_init(&frame->message);
    int got;
    do
        got = zmq_msg_recv(&frame->message, socket->zmq, ZMQ_DONTWAIT);
    while (got < 0 && zmq_errno() == EINTR);
    if (got < 0) {
        pk_err err = zmq_errno() == EAGAIN ? PK_AGAIN : fail_zmq(PK_IO, "receive on", socket->endpoint);
        zmq_msg_close(&frame->message);
        free(frame);
        return err;
    }
    frame->base = (pk_buffer){
        .data = zmq_msg_data(&frame->message), .bytes = zmq_msg_size(&frame->message), .release = release_received};
    *more = zmq_msg_more(&frame->message);
    *out = &frame->base;
    pk_err err = align(frame);
    if (err)
        pk_buffer_close(out);
    return err;
}

pk_err pk_poll(pk_poll_item *items, size_t count, int timeout_ms)
{
    assert(count <= PK_POLL_MOST);
    zmq_pollitem_t polled[PK_POLL_MOST];
    for (size_t i = 0; i < count; i++)
        polled[i] = (zmq_pollitem_t){
            .socket = items[i].socket ? items[i].socket->zmq : NULL, .fd = items[i].fd, .events = ZMQ_POLLIN};
    int ready = zmq_poll(polled, (int)count, timeout_ms);
    for (size_t i = 0; i < count; i++)
        items[i].ready = ready > 0 && polled[i].revents != 0;
    if (ready < 0 && zmq_errno() != EINTR)
        return fail_zmq(PK_IO, "poll", "sockets");
    return PK_OK;
}
