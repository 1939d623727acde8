/* protocol.h - the coordinator's side of the protocol: events in, actions out. Free of I/O and of clocks: whoever calls
 * says what happened and when (fleet.c with processes and sockets, tests/simulate with neither).
 *
 * Its model of the world is a list of members, the stages, each of which sends its batches to another one or to the
 * coordinator. What a member is in is decided by the table of supervisor.h; here is what concerns all of them:
 *
 * The barrier. Batches flow only while every member stands in the current epoch. At first, when all have loaded; later,
 * after a reset: the epoch is raised (RAISE: persisted before anybody hears of it), every member is told (RESET), and
 * when the last one has answered batches may go again (FLOW). A process that is started meanwhile is assigned the new
 * epoch, and its ready counts as its answer.
 *
 * Stalls. A member is silent after silent_ns without a beat. It hangs when its progress stands still for hung_ns (ten
 * times that while it loads) and it does not wait for a batch; where it waits for room at another member, the blame
 * follows to that one, to the end. Batches are lost where a member waits for one though its sender has sent more than
 * it took, for longer than it may be silent.
 *
 * The answer to a stage that died or stalled, and to lost batches, is a recovery: kill what is left of it, start it
 * again, and reset; as often as options.recoveries allows. After that it is the end: FAIL, once, and nothing more. */
#ifndef PK_PIPELINE_PROTOCOL_H
#define PK_PIPELINE_PROTOCOL_H

#include "ipc/control.h"
#include "ipc/stream.h"
#include "pipeline/supervisor.h"

#include <stdbool.h>

typedef struct pk_protocol pk_protocol;

enum { PK_COORDINATOR = -1 };

typedef struct {
    const int *next; /* [count], copied: whom each member sends its batches to; whom nobody sends to is fed by us */
    size_t count;
    uint32_t epoch;      /* the first one */
    uint32_t recoveries; /* how often the run goes on after a fault; 0: a fault is its end */
    uint64_t silent_ns, hung_ns;
    uint64_t now; /* any clock in nanoseconds, as in every call */
} pk_protocol_options;

/* Where seconds follow, the text ends with "for". */
#define PK_FAULTS(X)                                                                                                   \
    X(DIED, "died")                                                                                                    \
    X(SILENT, "is silent: no beat for")                                                                                \
    X(HUNG, "hangs: no progress for")                                                                                  \
    X(STUCK, "hangs: no progress of its loading for")                                                                  \
    X(MUTE, "does not answer a reset for")                                                                             \
    X(LOST, "waits for batches that were sent to it: they were lost")                                                  \
    X(UNHEARD, "has sent batches that did not come: they were lost")                                                   \
    X(BREACH, "breaks the protocol")

typedef enum {
#define X(name, text) PK_FAULT_##name,
    PK_FAULTS(X)
#undef X
} pk_fault;

typedef enum {
    PK_ACT_START,  /* start the member's process; an earlier one is reaped */
    PK_ACT_ASSIGN, /* send assign with this epoch */
    PK_ACT_RAISE,  /* persist the epoch; then let go of all data links and of all that is in flight, bind new ones */
    PK_ACT_RESET,  /* send reset with this epoch */
    PK_ACT_FLOW,   /* connect to the members: from here on batches go */
    PK_ACT_DRAIN,  /* send drain */
    PK_ACT_KILL,   /* kill the member; its end comes as pk_protocol_exited */
    PK_ACT_FAIL,   /* the run ends: `fault` of the member */
} pk_action_kind;

typedef struct {
    pk_action_kind kind;
    size_t member; /* not in RAISE, FLOW */
    uint32_t epoch;
    pk_fault fault;        /* FAIL, KILL */
    uint32_t seconds;      /* of a fault that took time; else 0 */
    pk_member_state state; /* BREACH: it was in this state */
    pk_member_event event; /* BREACH: and said this */
} pk_action;

/* Begins with START for every member. PK_NOMEM. */
pk_err pk_protocol_open(pk_protocol **out, pk_protocol_options options);
void pk_protocol_close(pk_protocol **protocol);

/* The next thing to be done; false when there is none. To be asked after every event. */
bool pk_protocol_next(pk_protocol *protocol, pk_action *out);

/* A control message of a member came. Its contents are checked by then, but not whether it belongs there. */
void pk_protocol_message(pk_protocol *protocol, size_t member, const pk_control *message, uint64_t now);

/* A member's process has ended and is reaped. */
void pk_protocol_exited(pk_protocol *protocol, size_t member, uint64_t now);

/* Time passed: to be called about every second, or more often. A caller that was away for 5 s has heard nobody, which
 * is nobody's fault. */
void pk_protocol_tick(pk_protocol *protocol, uint64_t now);

/* Raise the epoch though nothing is wrong. While the run drains: nothing. */
void pk_protocol_reset(pk_protocol *protocol, uint64_t now);

/* The end: every member is told. */
void pk_protocol_drain(pk_protocol *protocol);

/* A batch went to a member. */
void pk_protocol_sent(pk_protocol *protocol, size_t member, const pk_batch *head);

/* A batch of a member came: PK_OK: take it. PK_AGAIN: drop it: it is of another epoch, or was not the next one, from
 * which the run recovers. PK_PEER: it was not the next one, and that is the end. */
pk_err pk_protocol_arrived(pk_protocol *protocol, size_t member, const pk_batch *head, uint64_t now);

uint32_t pk_protocol_epoch(const pk_protocol *protocol);
bool pk_protocol_flowing(const pk_protocol *protocol);
pk_member_state pk_protocol_state(const pk_protocol *protocol, size_t member);
const pk_stage_counters *pk_protocol_counters(const pk_protocol *protocol, size_t member);

/* Batches of other epochs that came to the coordinator and were dropped. */
uint64_t pk_protocol_dropped(const pk_protocol *protocol);

const char *pk_fault_text(pk_fault fault);

#endif
