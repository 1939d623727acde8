/* stage.h - a simulated stage process: the stage's protocol core and its slots, around the toy model.
 *
 * It has a main thread, which does one thing at a time and takes control before data, and a helper, which beats. Beside
 * what the product's code believes of the states there is a ghost of each sequence, which only watches: it knows which
 * rows really went in, and in which epoch. */
#ifndef PK_TESTS_SIMULATE_STAGE_H
#define PK_TESTS_SIMULATE_STAGE_H

#include "stages/protocol.h"
#include "stages/slots.h"
#include "tests/simulate/queue.h"

enum { INBOX_MOST = 512, SLOTS_MOST = 8, GHOSTS_MOST = 64 };

typedef struct {
    bool alive;
    uint32_t epoch; /* in which it started */
    uint32_t rows;  /* that went in since */
} ghost;

typedef struct {
    int index;
    bool head;    /* samples, and remembers nothing; else layers */
    bool running; /* the process lives */
    uint32_t incarnation;
    uint64_t stopped_until;    /* SIGSTOP */
    uint64_t hang_next;        /* its next work takes so much longer */
    bool busy, loading, ready; /* main thread: in a step or in loading; has said ready */
    uint64_t progress;
    pk_stage_protocol protocol;
    pk_slots *slots;
    uint64_t states[SLOTS_MOST];
    post *at_work; /* the batch of the step; owned */
    post *inbox[INBOX_MOST];
    size_t inbox_count;
    event controls[16];
    size_t control_count;
    ghost ghosts[GHOSTS_MOST]; /* by sequence */
    uint64_t ghost_number;     /* of the last batch that went in, in ghost_epoch */
    uint32_t ghost_epoch;
} sim_stage;

/* A fresh process. */
void stage_start(sim_stage *s, size_t slots);
/* Whatever it held is gone. */
void stage_kill(sim_stage *s);

/* Puts the batch that it worked on into the states, and makes what it sends on in place. An error of the product's
 * guards ends the stage. What the ghosts find goes to `violation` ("" when all is well). */
pk_err stage_apply(sim_stage *s, char *violation, size_t capacity);

/* Forgets all sequences. */
void stage_reset(sim_stage *s);

pk_stage_counters stage_counters(const sim_stage *s);

#endif
