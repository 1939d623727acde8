/* console.h - the socket at which a live run is asked and told: what `penstock ps`, `top`, `jobs`, `drain` and `stop`
 * speak to.
 *
 * The coordinator serves it from its own loop, never waits for who asks, and answers a bounded number of questions a
 * turn. A question is one frame, the msgpack array [version, verb, argument]; its answer one frame, [version, code,
 * text]: code is a pk_err, text is JSON or, with a code, why not. Verbs are rows of a table that the run brings along.
 * What is no question is refused in words and counted; a frame over PK_CONSOLE_QUESTION_BYTES cuts its sender off.
 *
 * The socket lies in the run's private folder (socket_dir.h); the file `console` in the run directory says where. It
 * goes with the run; after a kill it stays and points at nobody, which pk_console_ask tells from a run that lives. */
#ifndef PK_PIPELINE_CONSOLE_H
#define PK_PIPELINE_CONSOLE_H

#include "ipc/socket.h"
#include "pipeline/json_text.h"

enum { PK_CONSOLE_QUESTION_BYTES = 256, PK_CONSOLE_ANSWER_BYTES = 1 << 20, PK_CONSOLE_PATIENCE_MS = 5000 };

typedef struct pk_console pk_console;

/* Writes its JSON to `answer`, or fails: the trail is told to who asked. Called from pk_console_serve. */
typedef struct {
    const char *name;
    pk_err (*answer)(void *context, uint64_t argument, pk_json_text *answer);
} pk_console_verb;

typedef struct {
    const char *run_dir;          /* gets the pointer; view, for the console's life */
    const pk_console_verb *verbs; /* ends with a row without a name; view, for the console's life */
    void *context;                /* of the verbs */
} pk_console_options;

typedef struct {
    uint64_t answered;
    uint64_t refused; /* what was no question, or asked for what there is not */
} pk_console_counters;

/* Binds in socket_dir and writes the pointer. PK_IO. */
pk_err pk_console_open(pk_console **out, pk_net *net, const char *socket_dir, pk_console_options options);

/* Answers what has come. Nothing that a stranger sends, and no stranger who is gone, is an error of the run's. */
void pk_console_serve(pk_console *console);

pk_socket *pk_console_socket(pk_console *console);
pk_console_counters pk_console_count(const pk_console *console);

/* Removes the pointer; accepts NULL. */
void pk_console_close(pk_console **console);

/* The other end: asks the run in this run directory and waits for its answer, at most timeout_ms. After PK_OK *json is
 * the caller's to free, *bytes long, with a NUL behind. PK_CLOSED: no run is live there; PK_PEER: it lives and does not
 * answer; PK_CORRUPT: what came is no answer; any other code is the run's own, in its words. */
pk_err pk_console_ask(const char *run_dir, const char *verb, uint64_t argument, int timeout_ms, char **json,
                      size_t *bytes);

/* Whether a run is live there: the listener exists. */
bool pk_console_is_live(const char *run_dir);

#endif
