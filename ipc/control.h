/* control.h - what coordinator and stages say to each other beside the data: rare, readable, extensible.
 *
 * A control message is a msgpack map with string keys; "type" names its kind. One struct holds every field of every
 * kind, and one table in control.c says which field belongs to which kind, under which key: that table is the protocol.
 * Unknown keys are passed over; a missing or mistyped one is refused.
 *
 *     stage                         coordinator
 *       hello     ───────────────►                     who I am
 *                 ◄───────────────  assign             your part, your links
 *       loading   ───────────────►                     progress of the weights
 *       ready     ───────────────►                     links are bound, batches may come
 *       beat, slice ─────────────►                     every second; for each batch if asked
 *                 ◄───────────────  reset              forget all sequences, new links, another epoch
 *       reset-done ──────────────►                     forgotten, the new links are bound
 *                 ◄───────────────  drain              nothing more will come
 *       bye       ───────────────►                     last figures, then exit 0
 *       error     ───────────────►                     why I exit now
 */
#ifndef PK_IPC_CONTROL_H
#define PK_IPC_CONTROL_H

#include "ipc/socket.h"
#include "ipc/stage_kind.h"

#define PK_CONTROL_KINDS(X)                                                                                            \
    X(HELLO, "hello")                                                                                                  \
    X(ASSIGN, "assign")                                                                                                \
    X(LOADING, "loading")                                                                                              \
    X(READY, "ready")                                                                                                  \
    X(BEAT, "beat")                                                                                                    \
    X(SLICE, "slice")                                                                                                  \
    X(RESET, "reset")                                                                                                  \
    X(RESET_DONE, "reset-done")                                                                                        \
    X(DRAIN, "drain")                                                                                                  \
    X(BYE, "bye")                                                                                                      \
    X(ERROR, "error")

typedef enum {
#define X(name, word) PK_CONTROL_##name,
    PK_CONTROL_KINDS(X)
#undef X
        PK_CONTROL_KIND_COUNT
} pk_control_kind;

enum { PK_NAME_BYTES = 64, PK_PATH_BYTES = 1024, PK_ENDPOINT_BYTES = 256, PK_REASON_BYTES = 2048 };

/* What a stage is to do. */
typedef struct {
    char model[PK_PATH_BYTES];
    char device[PK_NAME_BYTES];       /* pk_device_options.backend */
    char io[PK_NAME_BYTES];           /* "auto", "uring", "pread" */
    uint64_t first_layer, last_layer; /* inclusive; layers only */
    uint64_t threads, batch_rows, sequences, context, window, epoch;
    char listen[PK_ENDPOINT_BYTES]; /* bind here for batches */
    char next[PK_ENDPOINT_BYTES];   /* send them on to here */
    char trace[PK_ENDPOINT_BYTES];  /* internals go here; "" for none */
    uint64_t slices;                /* 1: report a slice for each batch */
} pk_assignment;

/* What the main thread of a stage waits for. */
typedef enum {
    PK_WAIT_NONE,  /* it works */
    PK_WAIT_BATCH, /* for something to do */
    PK_WAIT_NEXT,  /* for room at whom it sends its batches to */
    PK_WAIT_TRACE, /* for room on its trace link */
} pk_wait;

/* What a stage has done since its start; from last_in on: since the last reset. */
typedef struct {
    uint64_t progress;      /* bumped for every piece of work */
    uint64_t waiting_on;    /* a pk_wait */
    uint64_t batches, rows; /* done */
    uint64_t busy_ns, wait_ns;
    uint64_t dropped;           /* batches of other epochs */
    uint64_t epoch;             /* that it stands in; 0: none yet */
    uint64_t last_in, last_out; /* numbers of the last batch taken and sent on; 0: none */
} pk_stage_counters;

typedef struct {
    pk_control_kind kind;
    /* hello */
    char version[PK_NAME_BYTES];
    uint64_t stage_kind, pid;
    /* assign; reset, reset-done: of it only epoch and (reset) listen, next, trace */
    pk_assignment assignment;
    /* loading, ready */
    uint64_t bytes_done, bytes_total, load_ns;
    uint64_t tensors;         /* read from the checkpoint */
    char note[PK_PATH_BYTES]; /* a warning for the user, "" for none */
    char device_name[PK_NAME_BYTES];
    uint64_t vocabulary; /* tokenize: entries */
    int64_t end_token;   /* tokenize: id that ends a generation, -1 for none */
    /* beat, bye */
    pk_stage_counters counters;
    /* slice; CLOCK_MONOTONIC of the host */
    uint64_t batch, rows, start_ns, end_ns;
    /* error */
    uint64_t code; /* a pk_err */
    char reason[PK_REASON_BYTES];
} pk_control;

enum { PK_CONTROL_MESSAGE_BYTES = 16 * 1024 };

/* PK_NOMEM never happens for a struct whose texts are terminated. */
pk_err pk_control_write(const pk_control *message, uint8_t *bytes, size_t capacity, size_t *used);
pk_err pk_control_read(pk_control *message, const void *bytes, size_t size);

/* The word that stands for the kind in "type". */
const char *pk_control_word(pk_control_kind kind);

/* One end of the control connection. The coordinator's end serves all stages; a stage's end is one thread's. */
typedef struct pk_channel pk_channel;

/* identity NULL: the serving end, which binds. */
pk_err pk_channel_open(pk_channel **out, pk_net *net, const char *endpoint, const char *identity);
void pk_channel_close(pk_channel **channel);

/* to: the addressee's identity, for the serving end only. PK_PEER: it is not there. */
pk_err pk_channel_send(pk_channel *channel, const char *to, const pk_control *message);
/* PK_AGAIN: nothing there. PK_PEER: what came is no control message, and from whom; `from` is set nevertheless (serving
 * end). */
pk_err pk_channel_recv(pk_channel *channel, char from[PK_NAME_BYTES], pk_control *message);
pk_socket *pk_channel_socket(pk_channel *channel);

#endif
