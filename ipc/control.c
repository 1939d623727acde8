#include "ipc/control.h"
#include "ipc/pack.h"
#include "ipc/unpack.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

typedef enum { NUMBER, SIGNED, TEXT } field_type;

typedef struct {
    const char *key;
    field_type type;
    size_t offset, bytes;
    unsigned kinds; /* bit set of pk_control_kind */
} field;

#define ON(kind) (1u << PK_CONTROL_##kind)
#define FIELD(kinds, type, key, member)                                                                                \
    {                                                                                                                  \
        key, type, offsetof(pk_control, member), sizeof((pk_control *)0)->member, kinds                                \
    }

/* The protocol: who says what under which name. */
static const field fields[] = {
    FIELD(ON(HELLO), TEXT, "version", version),
    FIELD(ON(HELLO), NUMBER, "stage_kind", stage_kind),
    FIELD(ON(HELLO), NUMBER, "pid", pid),
    FIELD(ON(ASSIGN), TEXT, "model", assignment.model),
    FIELD(ON(ASSIGN), TEXT, "device", assignment.device),
    FIELD(ON(ASSIGN), TEXT, "io", assignment.io),
    FIELD(ON(ASSIGN), NUMBER, "first_layer", assignment.first_layer),
    FIELD(ON(ASSIGN), NUMBER, "last_layer", assignment.last_layer),
    FIELD(ON(ASSIGN), NUMBER, "threads", assignment.threads),
    FIELD(ON(ASSIGN), NUMBER, "batch_rows", assignment.batch_rows),
    FIELD(ON(ASSIGN), NUMBER, "sequences", assignment.sequences),
    FIELD(ON(ASSIGN), NUMBER, "context", assignment.context),
    FIELD(ON(ASSIGN), NUMBER, "window", assignment.window),
    FIELD(ON(ASSIGN) | ON(RESET) | ON(RESET_DONE), NUMBER, "epoch", assignment.epoch),
    FIELD(ON(ASSIGN) | ON(RESET), TEXT, "listen", assignment.listen),
    FIELD(ON(ASSIGN) | ON(RESET), TEXT, "next", assignment.next),
    FIELD(ON(ASSIGN) | ON(RESET), TEXT, "trace", assignment.trace),
    FIELD(ON(ASSIGN), NUMBER, "slices", assignment.slices),
    FIELD(ON(LOADING) | ON(READY), NUMBER, "bytes_done", bytes_done),
    FIELD(ON(LOADING) | ON(READY), NUMBER, "bytes_total", bytes_total),
    FIELD(ON(READY), NUMBER, "load_ns", load_ns),
    FIELD(ON(READY), NUMBER, "tensors", tensors),
    FIELD(ON(READY), TEXT, "note", note),
    FIELD(ON(READY), TEXT, "device_name", device_name),
    FIELD(ON(READY), NUMBER, "vocabulary", vocabulary),
    FIELD(ON(READY), SIGNED, "end_token", end_token),
    FIELD(ON(BEAT) | ON(BYE), NUMBER, "progress", counters.progress),
    FIELD(ON(BEAT) | ON(BYE), NUMBER, "waiting_on", counters.waiting_on),
    FIELD(ON(BEAT) | ON(BYE), NUMBER, "batches", counters.batches),
    FIELD(ON(BEAT) | ON(BYE), NUMBER, "rows", counters.rows),
    FIELD(ON(BEAT) | ON(BYE), NUMBER, "busy_ns", counters.busy_ns),
    FIELD(ON(BEAT) | ON(BYE), NUMBER, "wait_ns", counters.wait_ns),
    FIELD(ON(BEAT) | ON(BYE), NUMBER, "dropped", counters.dropped),
    FIELD(ON(BEAT) | ON(BYE), NUMBER, "epoch", counters.epoch),
    FIELD(ON(BEAT) | ON(BYE), NUMBER, "last_in", counters.last_in),
    FIELD(ON(BEAT) | ON(BYE), NUMBER, "last_out", counters.last_out),
    FIELD(ON(SLICE), NUMBER, "batch", batch),
    FIELD(ON(SLICE), NUMBER, "slice_rows", rows),
    FIELD(ON(SLICE), NUMBER, "start_ns", start_ns),
    FIELD(ON(SLICE), NUMBER, "end_ns", end_ns),
    FIELD(ON(ERROR), NUMBER, "code", code),
    FIELD(ON(ERROR), TEXT, "reason", reason),
};

enum { FIELD_COUNT = sizeof fields / sizeof *fields, KEY_BYTES = 32, SKIP_DEPTH = 8, MOST_PAIRS = 64 };

static const char *const kind_names[] = {
#define X(name, word) word,
    PK_CONTROL_KINDS(X)
#undef X
};

const char *pk_control_word(pk_control_kind kind)
{
    return kind_names[kind];
}

static void write_field(pk_packer *packer, const pk_control *message, const field *f)
{
    const char *at = (const char *)message + f->offset;
    pk_pack_text(packer, f->key);
    if (f->type == TEXT)
        pk_pack_text(packer, at);
    else if (f->type == NUMBER)
        pk_pack_uint(packer, *(const uint64_t *)(const void *)at);
    else
        pk_pack_int(packer, *(const int64_t *)(const void *)at);
}

pk_err pk_control_write(const pk_control *message, uint8_t *bytes, size_t capacity, size_t *used)
{
    pk_packer packer = {.bytes = bytes, .capacity = capacity};
    size_t pairs = 1;
    for (size_t i = 0; i < FIELD_COUNT; i++)
        pairs += fields[i].kinds >> message->kind & 1;
    pk_pack_map(&packer, pairs);
    pk_pack_text(&packer, "type");
    pk_pack_text(&packer, kind_names[message->kind]);
    for (size_t i = 0; i < FIELD_COUNT; i++)
        if (fields[i].kinds >> message->kind & 1)
            write_field(&packer, message, &fields[i]);
    if (packer.overflow)
        return pk_fail(PK_NOMEM, "control message %s does not fit into %zu bytes", kind_names[message->kind], capacity);
    *used = packer.used;
    return PK_OK;
}

/* Copies a text of the message into a terminated field. */
static pk_err read_text(pk_unpacker *u, const char *what, char *out, size_t capacity)
{
    const char *text = NULL;
    uint32_t bytes = 0;
    pk_err err = pk_unpack_text(u, what, &text, &bytes);
    if (err)
        return err;
    if (bytes >= capacity || memchr(text, 0, bytes))
        return pk_fail(PK_CORRUPT, "%s: a text of %u bytes, at most %zu and none of them zero were expected", what,
                       bytes, capacity - 1);
    memcpy(out, text, bytes);
    out[bytes] = 0;
    return PK_OK;
}

static pk_err read_kind(pk_unpacker *u, pk_control *message)
{
    char key[KEY_BYTES], word[KEY_BYTES];
    pk_err err = read_text(u, "first key", key, sizeof key);
    if (err)
        return err;
    if (strcmp(key, "type") != 0)
        return pk_fail(PK_CORRUPT, "first key is \"%s\", \"type\" was expected", key);
    if ((err = read_text(u, "type", word, sizeof word)))
        return err;
    for (unsigned kind = 0; kind < PK_CONTROL_KIND_COUNT; kind++)
        if (strcmp(word, kind_names[kind]) == 0) {
            message->kind = kind;
            return PK_OK;
        }
    return pk_fail(PK_CORRUPT, "unknown type \"%s\"", word);
}

static int find_field(const char *key, pk_control_kind kind)
{
    for (int i = 0; i < FIELD_COUNT; i++)
        if ((fields[i].kinds >> kind & 1) && strcmp(fields[i].key, key) == 0)
            return i;
    return -1;
}

static pk_err read_pair(pk_unpacker *u, pk_control *message, uint64_t *seen)
{
    char key[KEY_BYTES];
    pk_err err = read_text(u, "key", key, sizeof key);
    if (err)
        return err;
    int index = find_field(key, message->kind);
    if (index < 0)
        return pk_unpack_skip(u, SKIP_DEPTH);
    if (*seen >> index & 1)
        return pk_fail(PK_CORRUPT, "key \"%s\" stands twice", key);
    *seen |= (uint64_t)1 << index;
    char *at = (char *)message + fields[index].offset;
    if (fields[index].type == TEXT)
        return read_text(u, key, at, fields[index].bytes);
    if (fields[index].type == NUMBER)
        return pk_unpack_uint(u, key, UINT64_MAX, (uint64_t *)(void *)at);
    return pk_unpack_int(u, key, (int64_t *)(void *)at);
}

static pk_err check_complete(const pk_control *message, uint64_t seen)
{
    for (size_t i = 0; i < FIELD_COUNT; i++)
        if ((fields[i].kinds >> message->kind & 1) && !(seen >> i & 1))
            return pk_fail(PK_CORRUPT, "\"%s\" without \"%s\"", kind_names[message->kind], fields[i].key);
    return PK_OK;
}

pk_err pk_control_read(pk_control *message, const void *bytes, size_t size)
{
    static_assert(FIELD_COUNT <= 64, "the set of seen fields is one word");
    pk_unpacker u = {.bytes = bytes, .size = size};
    uint64_t seen = 0;
    uint32_t pairs = 0;
    *message = (pk_control){0};
    pk_err err = pk_unpack_map(&u, "the message", &pairs);
    if (!err && (pairs == 0 || pairs > MOST_PAIRS))
        err = pk_fail(PK_CORRUPT, "%u keys, 1 to %d were expected", pairs, MOST_PAIRS);
    if (!err)
        err = read_kind(&u, message);
    for (uint32_t i = 1; !err && i < pairs; i++)
        err = read_pair(&u, message, &seen);
    if (!err && u.at != u.size)
        err = pk_fail(PK_CORRUPT, "%zu bytes stand behind the message", u.size - u.at);
    if (!err)
        err = check_complete(message, seen);
    return pk_pass(err, "control message");
}

struct pk_channel {
    pk_socket *socket;
    bool serving;
};

enum { SEND_DEADLINE_MS = 5000 };

pk_err pk_channel_open(pk_channel **out, pk_net *net, const char *endpoint, const char *identity)
{
    pk_channel *channel = calloc(1, sizeof *channel);
    if (!channel)
        return pk_fail(PK_NOMEM, "channel");
    channel->serving = identity == NULL;
    pk_err err = pk_socket_open(&channel->socket, net,
                                (pk_socket_options){.type = identity ? PK_SOCKET_DEALER : PK_SOCKET_ROUTER,
                                                    .endpoint = endpoint,
                                                    .bind = !identity,
                                                    .identity = identity,
                                                    .message_bytes = PK_CONTROL_MESSAGE_BYTES});
    if (err)
        pk_channel_close(&channel);
    *out = channel;
    return err;
}

void pk_channel_close(pk_channel **channel)
{
    if (*channel)
        pk_socket_close(&(*channel)->socket);
    free(*channel);
    *channel = NULL;
}

pk_socket *pk_channel_socket(pk_channel *channel)
{
    return channel->socket;
}

static pk_err send_text(pk_channel *channel, const char *text)
{
    pk_buffer *frame = NULL;
    pk_err err = pk_buffer_open(&frame, strlen(text));
    if (err)
        return err;
    memcpy(frame->data, text, frame->bytes);
    return pk_socket_send(channel->socket, frame, true, SEND_DEADLINE_MS);
}

pk_err pk_channel_send(pk_channel *channel, const char *to, const pk_control *message)
{
    pk_buffer *frame = NULL;
    assert(channel->serving == (to != NULL));
    pk_err err = pk_buffer_open(&frame, PK_CONTROL_MESSAGE_BYTES);
    if (!err)
        err = pk_control_write(message, frame->data, PK_CONTROL_MESSAGE_BYTES, &frame->bytes);
    if (!err && to)
        err = send_text(channel, to);
    if (!err)
        return pk_socket_send(channel->socket, frame, false, SEND_DEADLINE_MS);
    pk_buffer_close(&frame);
    return err;
}

static pk_err read_sender(pk_channel *channel, char from[PK_NAME_BYTES])
{
    pk_buffer *frame = NULL;
    bool more = false;
    pk_err err = pk_socket_recv(channel->socket, &frame, &more);
    if (err)
        return err;
    size_t bytes = frame->bytes < PK_NAME_BYTES ? frame->bytes : PK_NAME_BYTES - 1;
    memcpy(from, frame->data, bytes);
    from[bytes] = 0;
    pk_buffer_close(&frame);
    return more ? PK_OK : pk_fail(PK_CORRUPT, "control message: empty");
}

static pk_err recv_message(pk_channel *channel, pk_control *message)
{
    pk_buffer *frame = NULL;
    bool more = false;
    pk_err err = pk_socket_recv(channel->socket, &frame, &more);
    if (err)
        return err;
    if (more) { /* not ours: read the rest away, keep the words of the refusal */
        while (more && !err) {
            pk_buffer_close(&frame);
            err = pk_socket_recv(channel->socket, &frame, &more);
        }
        err = pk_fail(PK_CORRUPT, "control message of more than one frame");
    } else
        err = pk_control_read(message, frame->data, frame->bytes);
    pk_buffer_close(&frame);
    return err;
}

pk_err pk_channel_recv(pk_channel *channel, char from[PK_NAME_BYTES], pk_control *message)
{
    pk_err err = channel->serving ? read_sender(channel, from) : PK_OK;
    if (!err)
        err = recv_message(channel, message);
    /* Not a file that lies but a process: the caller's reaction is another. */
    return err == PK_CORRUPT ? pk_pass(PK_PEER, "from %s", channel->serving ? from : "the coordinator") : err;
}
