#include "ipc/link.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { SEND_DEADLINE_MS = 60 * 1000 };

struct pk_link {
    pk_socket *socket;
    pk_batch_store *store;   /* receiving end */
    pk_buffer_pool *headers; /* sending end */
    size_t header_bytes;
};

pk_err pk_link_open(pk_link **out, pk_net *net, pk_link_options options)
{
    pk_err err = PK_OK;
    pk_link *link = calloc(1, sizeof *link);
    if (!link)
        return pk_fail(PK_NOMEM, "link %s", options.endpoint);
    link->header_bytes = pk_batch_header_limit(options.limits.spans);
    uint64_t largest =
        options.limits.payload_bytes > link->header_bytes ? options.limits.payload_bytes : link->header_bytes;
    err = pk_socket_open(&link->socket, net,
                         (pk_socket_options){.type = options.receive ? PK_SOCKET_PULL : PK_SOCKET_PUSH,
                                             .endpoint = options.endpoint,
                                             .bind = options.receive,
                                             .high_water = (int)options.window + 1,
                                             .message_bytes = (int64_t)largest});
    if (!err && options.receive)
        err = pk_batch_store_open(&link->store, options.limits);
    if (!err && !options.receive)
        err = pk_buffer_pool_open(&link->headers, link->header_bytes);
    if (err)
        pk_link_close(&link);
    *out = link;
    return err;
}

void pk_link_close(pk_link **link)
{
    if (!*link)
        return;
    pk_socket_close(&(*link)->socket);
    pk_batch_store_close(&(*link)->store);
    pk_buffer_pool_close(&(*link)->headers);
    free(*link);
    *link = NULL;
}

void pk_link_drop(pk_link **link)
{
    if (*link)
        pk_socket_drop(&(*link)->socket);
    pk_link_close(link);
}

pk_socket *pk_link_socket(pk_link *link)
{
    return link->socket;
}

pk_err pk_link_send(pk_link *link, const pk_batch *head, pk_buffer *payload)
{
    pk_buffer *frame = NULL;
    pk_err err = PK_OK;
    assert((payload ? payload->bytes : 0) == pk_batch_payload_bytes(head));
    if (!payload && (err = pk_buffer_open(&payload, 0)))
        return err;
    if (!(err = pk_buffer_pool_take(link->headers, link->header_bytes, &frame)))
        err = pk_batch_write(head, frame->data, link->header_bytes, &frame->bytes);
    if (!err) {
        err = pk_socket_send(link->socket, frame, true, SEND_DEADLINE_MS);
        frame = NULL;
    }
    if (!err) {
        err = pk_socket_send(link->socket, payload, false, SEND_DEADLINE_MS);
        payload = NULL;
    }
    pk_buffer_close(&frame);
    pk_buffer_close(&payload);
    return err;
}

/* Reads away what is left of a message with the wrong number of frames. */
static pk_err drop_rest(pk_link *link)
{
    bool more = true;
    pk_err err = PK_OK;
    while (more && !err) {
        pk_buffer *frame = NULL;
        err = pk_socket_recv(link->socket, &frame, &more);
        pk_buffer_close(&frame);
    }
    return err ? err : pk_fail(PK_CORRUPT, "a message of more than two frames");
}

pk_err pk_link_recv(pk_link *link, pk_batch *head, pk_buffer **payload)
{
    pk_buffer *frame = NULL, *body = NULL;
    bool more = false;
    pk_err err = pk_socket_recv(link->socket, &frame, &more);
    if (err)
        return err;
    if (!more)
        err = pk_fail(PK_CORRUPT, "a message of one frame, two were expected");
    else if (!(err = pk_socket_recv(link->socket, &body, &more)) && more)
        err = drop_rest(link);
    if (!err)
        err = pk_batch_read(link->store, head, frame->data, frame->bytes, body->bytes);
    pk_buffer_close(&frame);
    if (err)
        pk_buffer_close(&body);
    *payload = body;
    /* Not a file that lies but a process: the caller's reaction is another. */
    return err == PK_CORRUPT ? pk_pass(PK_PEER, "%s", pk_socket_endpoint(link->socket)) : err;
}
