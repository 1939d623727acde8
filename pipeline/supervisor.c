#include "pipeline/supervisor.h"

#define TO(state, reaction)                                                                                            \
    {                                                                                                                  \
        PK_MEMBER_##state, PK_REACT_##reaction                                                                         \
    }
#define CONDEMN TO(CONDEMNED, CONDEMN)

/* Rows are events, columns states. A stage that is loading does not listen: an epoch that is raised meanwhile meets it
 * when it is ready. What comes from one that is leaving or condemned was on its way before it knew. */
static const pk_transition table[PK_MEMBER_EVENT_COUNT][PK_MEMBER_STATE_COUNT] = {
    /* clang-format off */
    /*                      GONE                 STARTING              LOADING              READY                 RESETTING             DRAINING             LEFT             CONDEMNED */
    [PK_EVENT_START] =      {TO(STARTING, START), TO(STARTING, NOT),   TO(LOADING, NOT),    TO(READY, NOT),       TO(RESETTING, NOT),   TO(DRAINING, NOT),   TO(LEFT, NOT),   TO(CONDEMNED, NOT)},
    [PK_EVENT_RESET] =      {TO(GONE, NOT),      TO(STARTING, NOT),    TO(LOADING, NOT),    TO(RESETTING, RESET), TO(RESETTING, RESET), TO(DRAINING, NOT),   TO(LEFT, NOT),   TO(CONDEMNED, NOT)},
    [PK_EVENT_DRAIN] =      {TO(GONE, NOT),      TO(DRAINING, NOT),    TO(DRAINING, DRAIN), TO(DRAINING, DRAIN),  TO(DRAINING, DRAIN),  TO(DRAINING, NOT),   TO(LEFT, NOT),   TO(CONDEMNED, NOT)},
    [PK_EVENT_HELLO] =      {TO(GONE, NOT),      TO(LOADING, ASSIGN),  CONDEMN,             CONDEMN,              CONDEMN,              TO(DRAINING, DRAIN),  CONDEMN,         TO(CONDEMNED, NOT)},
    [PK_EVENT_PROGRESS] =   {TO(GONE, NOT),      CONDEMN,              TO(LOADING, NOTE),   CONDEMN,              CONDEMN,              TO(DRAINING, NOTE),  CONDEMN,         TO(CONDEMNED, NOT)},
    [PK_EVENT_READY] =      {TO(GONE, NOT),      CONDEMN,              TO(READY, JOIN),     CONDEMN,              CONDEMN,              TO(DRAINING, NOTE),  CONDEMN,         TO(CONDEMNED, NOT)},
    [PK_EVENT_RESET_DONE] = {TO(GONE, NOT),      CONDEMN,              CONDEMN,             TO(READY, NOTE),      TO(READY, JOIN),      TO(DRAINING, NOTE),  CONDEMN,         TO(CONDEMNED, NOT)},
    [PK_EVENT_BEAT] =       {TO(GONE, NOT),      TO(STARTING, NOTE),   TO(LOADING, NOTE),   TO(READY, NOTE),      TO(RESETTING, NOTE),  TO(DRAINING, NOTE),  TO(LEFT, NOTE),  TO(CONDEMNED, NOT)},
    [PK_EVENT_BYE] =        {TO(GONE, NOT),      CONDEMN,              CONDEMN,             CONDEMN,              CONDEMN,              TO(LEFT, NOTE),      CONDEMN,         TO(CONDEMNED, NOT)},
    [PK_EVENT_ERROR] =      {TO(GONE, NOT),      TO(STARTING, NOTE),   TO(LOADING, NOTE),   TO(READY, NOTE),      TO(RESETTING, NOTE),  TO(DRAINING, NOTE),  TO(LEFT, NOTE),  TO(CONDEMNED, NOT)},
    [PK_EVENT_OTHER] =      {TO(GONE, NOT),      CONDEMN,              CONDEMN,             CONDEMN,              CONDEMN,              CONDEMN,             CONDEMN,         TO(CONDEMNED, NOT)},
    [PK_EVENT_STALL] =      {TO(GONE, NOT),      CONDEMN,              CONDEMN,             CONDEMN,              CONDEMN,              CONDEMN,             TO(LEFT, NOT),   TO(CONDEMNED, NOT)},
    [PK_EVENT_EXIT] =       {TO(GONE, NOT),      TO(GONE, MOURN),      TO(GONE, MOURN),     TO(GONE, MOURN),      TO(GONE, MOURN),      TO(GONE, BURY),      TO(GONE, BURY),  TO(GONE, MOURN)},
    /* clang-format on */
};

pk_transition pk_supervisor_decide(pk_member_state state, pk_member_event event)
{
    return table[event][state];
}

const char *pk_member_state_word(pk_member_state state)
{
    static const char *const words[] = {
#define X(name, word) word,
        PK_MEMBER_STATES(X)
#undef X
    };
    return words[state];
}

const char *pk_member_event_word(pk_member_event event)
{
    static const char *const words[] = {
#define X(name, word) word,
        PK_MEMBER_EVENTS(X)
#undef X
    };
    return words[event];
}
