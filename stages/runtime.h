/* runtime.h - what every stage program is built on: one loop, no knowledge of its neighbours.
 *
 * A stage program is a main() that names three functions. The runtime does the rest: it says hello to the coordinator,
 * waits for its assignment, calls open, binds and connects the links, says ready, beats, hands every batch to step and
 * sends on what step emits, and on drain calls close and exits 0. On reset it calls reset, closes the links and binds
 * others: a step that waits for room at a stage that is no more is given up for it. An error from open or step is told
 * to the coordinator in words, logged, and ends the process with exit 1.
 *
 *     coordinator ──control──► main thread: assign, reset, drain     helper thread: beats every second, and ends the
 *     previous ─────batches──► step() ──batches──► next, trace       process when the lifeline pipe closes
 *
 * What is done about a message is decided in protocol.h: a batch of another epoch is dropped and counted, a batch whose
 * number is not the last plus one ends the stage (a link is never trusted to lose nothing). Beyond that, step sees
 * checked headers whose payload has exactly the size they say. */
#ifndef PK_STAGES_RUNTIME_H
#define PK_STAGES_RUNTIME_H

#include "ipc/control.h"
#include "ipc/wire.h"

#include <stdatomic.h>

typedef enum { PK_PORT_NEXT, PK_PORT_TRACE, PK_PORT_COUNT } pk_port;

/* Where step puts what it makes; in a test, a plain function. send takes the payload, even on failure; NULL for none.
 * PK_CLOSED: the work is in vain, for all of it is about to be forgotten; step returns it like any other error. */
typedef struct pk_outbox {
    pk_err (*send)(struct pk_outbox *outbox, pk_port port, const pk_batch *head, pk_buffer *payload);
} pk_outbox;

/* The stage as open may see and fill it. */
typedef struct pk_stage {
    pk_assignment assignment;
    pk_batch_limits in, out, trace; /* set by open: the largest batches of its links */
    pk_control ready;               /* set by open: bytes, tensors, note, device_name, vocabulary, end_token */
    _Atomic uint64_t progress;      /* bumped for every piece of work: the sign of life in the beats */
    void (*loading)(struct pk_stage *stage, uint64_t bytes_done, uint64_t bytes_total); /* open calls it as it reads */
} pk_stage;

typedef struct {
    pk_stage_kind kind;
    /* Prepares for stage->assignment: everything that the steady state needs is allocated here. */
    pk_err (*open)(void *self, pk_stage *stage);
    /* One batch. Takes the payload (NULL only for 0 bytes). The arrays of `in` are valid during the call. */
    pk_err (*step)(void *self, const pk_batch *in, pk_buffer *payload, pk_outbox *outbox);
    /* Forgets every sequence, as if none had ever come; NULL: nothing is remembered from one batch to the next. */
    void (*reset)(void *self);
    /* After open succeeded or failed; accepts a self that is still zero. */
    void (*close)(void *self);
} pk_stage_ops;

/* The whole life of the process; returns its exit status. self: zeroed memory of the stage's own type. */
int pk_stage_main(int argc, char **argv, const pk_stage_ops *ops, void *self);

#endif
