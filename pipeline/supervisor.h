/* supervisor.h - the supervisor's brain: what a stage's process is in, what happens to it, what follows. A pure table
 * of states and events with an answer in every cell; no clocks, no counters, no I/O.
 *
 *     GONE ─start─► STARTING ─hello─► LOADING ─ready─► READY ─drain─► DRAINING ─bye─► LEFT ─exit─► GONE
 *                                                      │  ▲
 *                                                reset ▼  │ reset-done
 *                                                    RESETTING
 *
 * Whoever breaks the protocol, is silent or hangs becomes CONDEMNED: from there only its exit leads on. protocol.h
 * feeds the table and does the counting. */
#ifndef PK_PIPELINE_SUPERVISOR_H
#define PK_PIPELINE_SUPERVISOR_H

#define PK_MEMBER_STATES(X)                                                                                            \
    X(GONE, "ended")                                                                                                   \
    X(STARTING, "starting")                                                                                            \
    X(LOADING, "loading")                                                                                              \
    X(READY, "ready")                                                                                                  \
    X(RESETTING, "resetting")                                                                                          \
    X(DRAINING, "draining")                                                                                            \
    X(LEFT, "left")                                                                                                    \
    X(CONDEMNED, "condemned")

/* Ours first, then what it says, then what is found out about it. */
#define PK_MEMBER_EVENTS(X)                                                                                            \
    X(START, "start")                                                                                                  \
    X(RESET, "reset")                                                                                                  \
    X(DRAIN, "drain")                                                                                                  \
    X(HELLO, "hello")                                                                                                  \
    X(PROGRESS, "loading")                                                                                             \
    X(READY, "ready")                                                                                                  \
    X(RESET_DONE, "reset-done")                                                                                        \
    X(BEAT, "beat")                                                                                                    \
    X(BYE, "bye")                                                                                                      \
    X(ERROR, "error")                                                                                                  \
    X(OTHER, "a message that a stage does not send")                                                                   \
    X(STALL, "stall")                                                                                                  \
    X(EXIT, "exit")

typedef enum {
#define X(name, word) PK_MEMBER_##name,
    PK_MEMBER_STATES(X)
#undef X
        PK_MEMBER_STATE_COUNT
} pk_member_state;

typedef enum {
#define X(name, word) PK_EVENT_##name,
    PK_MEMBER_EVENTS(X)
#undef X
        PK_MEMBER_EVENT_COUNT
} pk_member_event;

typedef enum {
    PK_REACT_NOT,
    PK_REACT_START,   /* start its process */
    PK_REACT_ASSIGN,  /* tell it its part */
    PK_REACT_JOIN,    /* it stands: count it in */
    PK_REACT_RESET,   /* send reset */
    PK_REACT_DRAIN,   /* send drain */
    PK_REACT_NOTE,    /* a sign of life, or figures */
    PK_REACT_CONDEMN, /* it is of no use any more */
    PK_REACT_MOURN,   /* it has ended though nobody told it to */
    PK_REACT_BURY,    /* it has ended as it was told to */
} pk_reaction;

typedef struct {
    pk_member_state next;
    pk_reaction reaction;
} pk_transition;

pk_transition pk_supervisor_decide(pk_member_state state, pk_member_event event);

const char *pk_member_state_word(pk_member_state state);
const char *pk_member_event_word(pk_member_event event);

#endif
