#include "pipeline/console.h"
#include "ipc/pack.h"
#include "ipc/unpack.h"
#include "pipeline/console_pointer.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { VERSION = 1, TURN = 16, QUEUED = 64, VERB_BYTES = 32, OVERHEAD_BYTES = 32 };

struct pk_console {
    pk_console_options options;
    pk_socket *socket;
    pk_json_text text; /* the answer being written */
    pk_console_counters counters;
};

pk_err pk_console_open(pk_console **out, pk_net *net, const char *socket_dir, pk_console_options options)
{
    pk_console_pointer pointer;
    pk_console *console = calloc(1, sizeof *console);
    if (!console)
        return pk_fail(PK_NOMEM, "console");
    console->options = options;
    snprintf(pointer.socket, sizeof pointer.socket, "%s/console", socket_dir);
    char endpoint[sizeof pointer.socket + sizeof "ipc://"];
    snprintf(endpoint, sizeof endpoint, "ipc://%s", pointer.socket);
    pk_err err = pk_socket_open(&console->socket, net,
                                (pk_socket_options){.type = PK_SOCKET_ROUTER,
                                                    .endpoint = endpoint,
                                                    .bind = true,
                                                    .high_water = QUEUED,
                                                    .message_bytes = PK_CONSOLE_QUESTION_BYTES});
    if (!err)
        err = pk_console_pointer_write(options.run_dir, &pointer);
    if (err)
        pk_console_close(&console);
    *out = console;
    return err;
}

void pk_console_close(pk_console **console)
{
    pk_console *held = *console;
    if (!held)
        return;
    pk_console_pointer_remove(held->options.run_dir);
    pk_socket_close(&held->socket);
    pk_json_text_fini(&held->text);
    free(held);
    *console = NULL;
}

pk_socket *pk_console_socket(pk_console *console)
{
    return console->socket;
}

pk_console_counters pk_console_count(const pk_console *console)
{
    return console->counters;
}

typedef struct {
    char verb[VERB_BYTES];
    uint64_t argument;
} question;

static pk_err read_verb(pk_unpacker *u, char out[VERB_BYTES])
{
    const char *text = NULL;
    uint32_t bytes = 0;
    pk_err err = pk_unpack_text(u, "verb", &text, &bytes);
    if (err)
        return err;
    if (bytes >= VERB_BYTES)
        return pk_fail(PK_CORRUPT, "verb: %" PRIu32 " bytes, at most %d were expected", bytes, VERB_BYTES - 1);
    for (uint32_t i = 0; i < bytes; i++)
        if (text[i] < 'a' || text[i] > 'z')
            return pk_fail(PK_CORRUPT, "verb: letters a to z were expected");
    memcpy(out, text, bytes);
    out[bytes] = 0;
    return PK_OK;
}

static pk_err read_question(const pk_buffer *frame, question *out)
{
    pk_unpacker u = {.bytes = frame->data, .size = frame->bytes};
    uint32_t elements = 0;
    uint64_t version = 0;
    pk_err err = pk_unpack_array(&u, "question", &elements);
    if (!err && elements != 3)
        err = pk_fail(PK_CORRUPT, "%" PRIu32 " elements, [version, verb, argument] was expected", elements);
    if (!err)
        err = pk_unpack_uint(&u, "version", UINT64_MAX, &version);
    if (!err && version != VERSION)
        err = pk_fail(PK_INVALID, "version %" PRIu64 " where %d was expected: is the command of another release?",
                      version, VERSION);
    if (!err)
        err = read_verb(&u, out->verb);
    if (!err)
        err = pk_unpack_uint(&u, "argument", UINT64_MAX, &out->argument);
    if (!err && u.at != u.size)
        err = pk_fail(PK_CORRUPT, "%zu bytes stand behind the question", u.size - u.at);
    return pk_pass(err, "question");
}

/* The answer's JSON into console->text. */
static pk_err answer(pk_console *console, const pk_buffer *frame)
{
    question asked;
    pk_err err = read_question(frame, &asked);
    if (err)
        return err;
    for (const pk_console_verb *verb = console->options.verbs; verb->name; verb++)
        if (strcmp(verb->name, asked.verb) == 0) {
            err = verb->answer(console->options.context, asked.argument, &console->text);
            if (!err)
                err = pk_json_text_check(&console->text);
            if (!err && console->text.used > PK_CONSOLE_ANSWER_BYTES)
                err = pk_fail(PK_NOMEM, "the answer has %zu bytes, at most %d travel", console->text.used,
                              PK_CONSOLE_ANSWER_BYTES);
            return err;
        }
    return pk_fail(PK_INVALID, "a run knows no verb \"%s\"", asked.verb);
}

static pk_err write_answer(pk_buffer **out, pk_err code, const char *text, size_t bytes)
{
    pk_err err = pk_buffer_open(out, bytes + OVERHEAD_BYTES);
    if (err)
        return err;
    pk_packer packer = {.bytes = (*out)->data, .capacity = (*out)->bytes};
    pk_pack_array(&packer, 3);
    pk_pack_uint(&packer, VERSION);
    pk_pack_uint(&packer, code);
    pk_pack_text_bytes(&packer, text, bytes);
    assert(!packer.overflow);
    (*out)->bytes = packer.used;
    return PK_OK;
}

/* Takes `who`. An addressee who has left, or does not read, loses the answer: the run does not wait for him. */
static void send_answer(pk_console *console, pk_buffer *who, pk_err code)
{
    pk_buffer *frame = NULL;
    const char *text = code ? pk_error_text() : console->text.bytes;
    if (write_answer(&frame, code, text ? text : "", code ? strlen(text) : console->text.used)) {
        pk_buffer_close(&who);
        return;
    }
    if (pk_socket_send(console->socket, who, true, 0))
        pk_buffer_close(&frame);
    else
        pk_socket_send(console->socket, frame, false, 0);
}

/* The rest of a message, whose last frame so far had `more` behind it, is read away; true when there was any. */
static bool read_away(pk_console *console, bool more)
{
    bool any = more;
    pk_buffer *frame = NULL;
    while (more && !pk_socket_recv(console->socket, &frame, &more))
        pk_buffer_close(&frame);
    return any;
}

/* One message: who, and the question. PK_AGAIN: there is none. */
static pk_err serve_one(pk_console *console)
{
    pk_buffer *who = NULL, *frame = NULL;
    bool more = false;
    pk_err err = pk_socket_recv(console->socket, &who, &more);
    if (err)
        return err;
    err = more ? pk_socket_recv(console->socket, &frame, &more) : pk_fail(PK_CORRUPT, "an empty message");
    pk_json_text_clear(&console->text);
    if (read_away(console, more))
        err = pk_fail(PK_CORRUPT, "a question of more than one frame");
    if (!err)
        err = answer(console, frame);
    pk_buffer_close(&frame);
    console->counters.answered += !err;
    console->counters.refused += err != PK_OK;
    send_answer(console, who, err);
    return PK_OK;
}

void pk_console_serve(pk_console *console)
{
    for (int i = 0; i < TURN; i++)
        if (serve_one(console))
            return;
}
