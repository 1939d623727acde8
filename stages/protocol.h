/* protocol.h - a stage's side of the protocol: what comes in, what is to be done about it. Free of I/O.
 *
 *     control message ──┐                      ┌──► open, step, drop, reset, answer, leave: the duty of whoever
 *     batch ────────────┼──► pk_stage_protocol ┤    asked (runtime.c, or the simulator under tests/simulate)
 *     batch sent on ────┘                      └──► epoch, last_in, last_out, dropped: for the beats
 *
 * A stage is assigned once, which begins its first epoch. A reset to a later one makes it forget all that it has taken;
 * a reset that it has obeyed already is answered again, an older one means nothing. Batches of its epoch are taken
 * strictly in order, those of any other are dropped. Where a sequence stands is the business of slots.h. */
#ifndef PK_STAGES_PROTOCOL_H
#define PK_STAGES_PROTOCOL_H

#include "ipc/control.h"
#include "ipc/stream.h"

#include <stdbool.h>

typedef enum {
    PK_DUTY_NONE,
    PK_DUTY_OPEN,   /* prepare for the assignment, bind, say ready */
    PK_DUTY_STEP,   /* work on the batch */
    PK_DUTY_DROP,   /* let go of it */
    PK_DUTY_RESET,  /* close the data links, forget every sequence, bind those of the message; then as ANSWER */
    PK_DUTY_ANSWER, /* say reset-done with the epoch */
    PK_DUTY_LEAVE,  /* work off what has come, say bye */
} pk_duty;

/* Zeroed before its first event. */
typedef struct {
    bool assigned, leaving;
    pk_stream in;      /* its epoch is the stage's */
    uint64_t last_out; /* the number of the last batch sent on in this epoch */
} pk_stage_protocol;

/* PK_PEER: the message does not belong here. */
pk_err pk_stage_protocol_control(pk_stage_protocol *protocol, const pk_control *message, pk_duty *duty);

/* PK_PEER: batches were lost. */
pk_err pk_stage_protocol_batch(pk_stage_protocol *protocol, const pk_batch *head, pk_duty *duty);

/* A batch has gone to the next stage. */
void pk_stage_protocol_sent(pk_stage_protocol *protocol, const pk_batch *head);

/* Fills the part of the counters that is the protocol's. */
void pk_stage_protocol_count(const pk_stage_protocol *protocol, pk_stage_counters *counters);

#endif
