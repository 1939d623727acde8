/* fleet.h - the processes of a running pipeline, and the coordinator's links to them.
 *
 * Opening starts every stage, assigns each its part, and returns when all are ready. After that the caller alternates
 * between pk_fleet_poll, which sleeps until something happens and looks after the processes (control messages, logs,
 * deaths, silences, signals), and sending and receiving batches. The first stage that dies ends the run: poll answers
 * PK_PEER with a trail that names it. Closing kills what still runs and removes every socket.
 *
 * What is to be done about a message, a death or a silence is decided in protocol.h; here it is done. A reset may
 * happen in any poll: then the epoch is another one, whatever was sent or on its way is gone, and nothing is to be sent
 * until the stages stand again (pk_fleet_flowing).
 *
 *          TOKENIZE ──► tokenize ──► TOKENIZE          a port is a pair of links: batches are sent into it and
 *          MODEL ──► layers ──► layers ──► head ──► MODEL     their answers received from it
 *          DETOKENIZE ──► detokenize ──► DETOKENIZE
 */
#ifndef PK_PIPELINE_FLEET_H
#define PK_PIPELINE_FLEET_H

#include "ipc/control.h"
#include "ipc/wire.h"
#include "loader/config.h"
#include "pipeline/console.h"
#include "pipeline/file.h"
#include "pipeline/timeline.h"

typedef struct pk_fleet pk_fleet;

typedef enum { PK_PORT_TOKENIZE, PK_PORT_MODEL, PK_PORT_DETOKENIZE, PK_PORT_KINDS } pk_fleet_port;

typedef struct {
    const pk_pipeline *pipeline;  /* resolved; view, for the fleet's life */
    const pk_model_config *model; /* view, for the fleet's life; NULL when only tokenize runs */
    unsigned kinds;               /* bit 1 << pk_stage_kind: which of the pipeline's stages to start; 0: all */
    bool internals;               /* `layers` stages send their internals: pk_fleet_recv_trace */
    const char *log_dir;          /* a file for each stage; NULL: none */
    pk_timeline *timeline;        /* a slice for each batch of each stage; NULL: none */
    /* Called while weights are read, with the sums over all stages; may be NULL. */
    void (*loading)(void *context, uint64_t bytes_done, uint64_t bytes_total);
    void *loading_context;
    const pk_console_options *console; /* served from before the first stage starts; NULL: none */
    uint32_t first_epoch;              /* 0: 1 */
    /* Remembers an epoch before anybody is told of it, the first one included; may be NULL. An error ends the call that
     * raised it. */
    pk_err (*persist)(void *context, uint32_t epoch);
    void *persist_context;
    int *interrupted_by; /* set to the signal with PK_CLOSED; may be NULL */
} pk_fleet_options;

/* What one stage process is and did, for tables and the summary. */
typedef struct {
    const pk_stage_spec *spec; /* view */
    pid_t pid;
    pk_control ready; /* bytes, tensors, load_ns, device_name, vocabulary, end_token */
    pk_stage_counters counters;
    const char *state;                /* pk_member_state_word */
    uint64_t bytes_done, bytes_total; /* of its weights */
    uint64_t log_bytes_cut;           /* pk_stage_log.bytes_cut */
} pk_fleet_stage;

/* PK_PEER: a stage died or misbehaved; PK_CORRUPT, PK_NOMEM: it could not load its part of the model, in its own words;
 * PK_IO; PK_CLOSED: interrupted while starting. */
pk_err pk_fleet_open(pk_fleet **out, pk_fleet_options options);

/* Waits at most timeout_ms for anything, and attends to it. */
pk_err pk_fleet_poll(pk_fleet *fleet, int timeout_ms);

/* All stages forget all sequences, on new links: in the poll that follows, or that this is called from. */
void pk_fleet_reset(pk_fleet *fleet);

/* Another number after every reset. */
uint32_t pk_fleet_epoch(const pk_fleet *fleet);

/* The stages stand: batches may be sent. */
bool pk_fleet_flowing(const pk_fleet *fleet);

/* Whether a batch could be sent without waiting; if not, the next poll ends when one can. */
bool pk_fleet_room(pk_fleet *fleet, pk_fleet_port port);

/* Batches of another epoch that came here. */
uint64_t pk_fleet_dropped(const pk_fleet *fleet);

/* Sends a batch, whose number follows the last one's, in the epoch of now. Takes the payload, even on failure. Only
 * while the stages stand. */
pk_err pk_fleet_send(pk_fleet *fleet, pk_fleet_port port, pk_batch *head, pk_buffer *payload);

/* PK_AGAIN: nothing there. Views and ownership as pk_link_recv. */
pk_err pk_fleet_recv(pk_fleet *fleet, pk_fleet_port port, pk_batch *head, pk_buffer **payload);
pk_err pk_fleet_recv_trace(pk_fleet *fleet, pk_batch *head, pk_buffer **payload);

/* SIGINT and SIGTERM that came since the start, and the last of them. */
unsigned pk_fleet_interrupts(const pk_fleet *fleet, int *last_signal);

/* As if so many signals had come, when fewer have: 1 drains, 2 stop. */
void pk_fleet_interrupt(pk_fleet *fleet, unsigned interrupts);

/* Of the console; zeros where there is none. */
pk_console_counters pk_fleet_console_count(const pk_fleet *fleet);

size_t pk_fleet_count(const pk_fleet *fleet);
pk_fleet_stage pk_fleet_at(const pk_fleet *fleet, size_t index);

/* Orderly end: every stage is drained, says bye and exits 0. PK_PEER names one that did otherwise, or not within 10 s.
 */
pk_err pk_fleet_drain(pk_fleet *fleet);

/* Ends whatever still runs. Accepts NULL. */
void pk_fleet_close(pk_fleet **fleet);

#endif
