/* The client's end of console.h. */
#include "pipeline/console.h"
#include "ipc/clock.h"
#include "ipc/pack.h"
#include "ipc/unpack.h"
#include "pipeline/console_pointer.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { VERSION = 1, FRAME_BYTES = PK_CONSOLE_ANSWER_BYTES + 4096 };

static pk_err send_question(pk_socket *socket, const char *verb, uint64_t argument, int timeout_ms)
{
    pk_buffer *frame = NULL;
    pk_err err = pk_buffer_open(&frame, PK_CONSOLE_QUESTION_BYTES);
    if (err)
        return err;
    pk_packer packer = {.bytes = frame->data, .capacity = frame->bytes};
    pk_pack_array(&packer, 3);
    pk_pack_uint(&packer, VERSION);
    pk_pack_text(&packer, verb);
    pk_pack_uint(&packer, argument);
    frame->bytes = packer.used;
    return pk_socket_send(socket, frame, false, timeout_ms);
}

/* A code of the run's own becomes ours, with its words. */
static pk_err read_answer(const pk_buffer *frame, char **json, size_t *bytes)
{
    pk_unpacker u = {.bytes = frame->data, .size = frame->bytes};
    uint32_t elements = 0, text_bytes = 0;
    uint64_t version = 0, code = 0;
    const char *text = NULL;
    pk_err err = pk_unpack_array(&u, "answer", &elements);
    if (!err && elements != 3)
        err = pk_fail(PK_CORRUPT, "%" PRIu32 " elements, [version, code, text] was expected", elements);
    if (!err)
        err = pk_unpack_uint(&u, "version", VERSION, &version);
    if (!err)
        err = pk_unpack_uint(&u, "code", PK_PEER, &code);
    if (!err)
        err = pk_unpack_text(&u, "text", &text, &text_bytes);
    if (err)
        return pk_pass(err, "answer");
    if (code)
        return pk_fail((pk_err)code, "%.*s", (int)text_bytes, text);
    if (!(*json = malloc((size_t)text_bytes + 1)))
        return pk_fail(PK_NOMEM, "an answer of %" PRIu32 " bytes", text_bytes);
    memcpy(*json, text, text_bytes);
    (*json)[text_bytes] = 0;
    *bytes = text_bytes;
    return PK_OK;
}

static pk_err await_answer(pk_socket *socket, const pk_console_pointer *pointer, int timeout_ms, pk_buffer **frame)
{
    pk_poll_item item = {.socket = socket};
    uint64_t deadline = pk_clock_ns() + (uint64_t)timeout_ms * 1000000;
    bool more = false;
    pk_err err;
    while ((err = pk_socket_recv(socket, frame, &more)) == PK_AGAIN) {
        uint64_t now = pk_clock_ns();
        if (now >= deadline)
            return pk_fail(PK_PEER, "the run (pid %d) does not answer within %.1f s: it may be stopped, or starting",
                           pointer->pid, timeout_ms / 1e3);
        if ((err = pk_poll(&item, 1, (int)((deadline - now) / 1000000) + 1)))
            return err;
    }
    return err;
}

static pk_err ask(pk_net *net, const pk_console_pointer *pointer, const char *verb, uint64_t argument, int timeout_ms,
                  char **json, size_t *bytes)
{
    char endpoint[sizeof pointer->socket + sizeof "ipc://"];
    pk_socket *socket = NULL;
    pk_buffer *frame = NULL;
    snprintf(endpoint, sizeof endpoint, "ipc://%s", pointer->socket);
    pk_err err = pk_socket_open(
        &socket, net,
        (pk_socket_options){.type = PK_SOCKET_DEALER, .endpoint = endpoint, .message_bytes = FRAME_BYTES});
    if (!err)
        err = send_question(socket, verb, argument, timeout_ms);
    if (!err)
        err = await_answer(socket, pointer, timeout_ms, &frame);
    if (!err)
        err = read_answer(frame, json, bytes);
    pk_buffer_close(&frame);
    pk_socket_close(&socket);
    return err;
}

pk_err pk_console_ask(const char *run_dir, const char *verb, uint64_t argument, int timeout_ms, char **json,
                      size_t *bytes)
{
    pk_console_pointer pointer;
    pk_net *net = NULL;
    pk_err err = pk_console_pointer_read(run_dir, &pointer);
    if (!err)
        err = pk_console_pointer_probe(&pointer);
    if (err)
        return err == PK_CLOSED ? pk_fail(err, "no run is live in %s", run_dir) : err;
    if (!(err = pk_net_open(&net)))
        err = ask(net, &pointer, verb, argument, timeout_ms, json, bytes);
    pk_net_close(&net);
    return err;
}

bool pk_console_is_live(const char *run_dir)
{
    pk_console_pointer pointer;
    return !pk_console_pointer_read(run_dir, &pointer) && !pk_console_pointer_probe(&pointer);
}
