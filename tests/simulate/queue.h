/* queue.h - what will happen in the simulated world, in order of virtual time; and the dice, which decide everything
 * that chance decides. Equal times happen in the order in which they were put in: a seed is one history. */
#ifndef PK_TESTS_SIMULATE_QUEUE_H
#define PK_TESTS_SIMULATE_QUEUE_H

#include "ipc/control.h"
#include "ipc/wire.h"

#include <stdbool.h>

enum { SPANS_MOST = 32, OPS_MOST = 4 * SPANS_MOST, ROWS_MOST = 16 };

/* A batch on its way, with what the toy model carries: one number for each row, or an answer for each sample. */
typedef struct {
    uint32_t link_epoch; /* of the endpoint that it was sent to */
    pk_batch head;       /* its arrays are those below: see pack_post */
    pk_span spans[SPANS_MOST];
    pk_op ops[OPS_MOST];
    pk_sample samples[SPANS_MOST];
    uint64_t values[ROWS_MOST];
    pk_answer answers[SPANS_MOST];
} post;

#define EVENT_KINDS(X)                                                                                                 \
    X(DATA, "data")         /* a batch arrives at `stage`, or at the coordinator */                                    \
    X(TELL, "tell")         /* a control message of the coordinator's arrives at `stage` */                            \
    X(HEAR, "hear")         /* one of `stage` arrives at the coordinator */                                            \
    X(LOADED, "loaded")     /* `stage` has loaded */                                                                   \
    X(STEP_DONE, "step")    /* `stage` has worked on its batch */                                                      \
    X(BEAT, "beat")         /* `stage` beats */                                                                        \
    X(WAKE, "wake")         /* `stage` was stopped and goes on */                                                      \
    X(EXIT, "exit")         /* the coordinator sees that `stage` has ended */                                          \
    X(TICK, "tick")         /* the coordinator looks around */                                                         \
    X(FAULT, "fault")       /* number `argument` of the plan */                                                        \
    X(DEADLINE, "deadline") /* of the drain */

typedef enum {
#define X(name, word) EVENT_##name,
    EVENT_KINDS(X)
#undef X
} event_kind;

typedef struct {
    uint64_t at, order; /* virtual nanoseconds; among equals */
    event_kind kind;
    int stage; /* PK_COORDINATOR: the coordinator */
    uint32_t incarnation;
    uint64_t argument;
    post *mail;                 /* DATA; owned */
    pk_control_kind said;       /* TELL, HEAR */
    uint32_t epoch;             /* TELL, HEAR */
    pk_stage_counters counters; /* HEAR */
} event;

typedef struct {
    uint64_t dice;
    event *heap;
    size_t count, room;
    uint64_t order;
} queue;

void queue_init(queue *q, uint64_t seed);
void queue_fini(queue *q);
/* Takes e.mail. */
void queue_put(queue *q, event e);
/* The next one, which there is. */
event queue_take(queue *q);

uint64_t dice_u64(queue *q);
/* 0 to most. */
uint64_t dice_to(queue *q, uint64_t most);
/* In so many of 1,000 cases. */
bool dice_permille(queue *q, unsigned permille);

/* A copy whose head points to its own arrays. */
post *post_copy(const post *mail);
/* Points the head to the arrays. */
void post_tie(post *mail);

const char *event_word(event_kind kind);

#endif
