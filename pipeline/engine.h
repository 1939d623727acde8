/* engine.h - the coordinator's loop: the scheduler's batches into the fleet, the fleet's answers into the scheduler,
 * and text through the tokenize and detokenize stages.
 *
 * Whoever has work (run.c, logits.c, tokenize.c) submits it, calls pk_engine_step until it has what it wants, and is
 * told of results through handlers, which are called from within step and may submit more. One thread.
 *
 * What comes of a batch is handed out as one: its traces, its logits and its answers, when all of them are there. So a
 * reset in between (pk_fleet_reset) takes back nothing that was told and tells nothing twice: what is not handed out is
 * done again, sequences by the scheduler's replay, texts by sending them once more. */
#ifndef PK_PIPELINE_ENGINE_H
#define PK_PIPELINE_ENGINE_H

#include "pipeline/fleet.h"
#include "pipeline/scheduler.h"

typedef struct pk_engine pk_engine;

/* Any handler may be NULL when its kind of work is never submitted. An error ends the step with that error. All data
 * are views, valid during the call. */
typedef struct {
    void *context;
    /* The ids of a text, complete. too_many: the text has this many tokens, above what was allowed; ids are absent. */
    pk_err (*encoded)(void *context, uint32_t text_id, const int32_t *ids, size_t count, uint32_t too_many);
    pk_err (*decoded)(void *context, uint32_t text_id, const char *text, size_t bytes);
    pk_err (*finished)(void *context, const pk_outcome *outcome);
    /* Logits of rows [position, position + count) of a sequence: [count, width]. */
    pk_err (*logits)(void *context, const pk_span *span, const float *logits, uint32_t width);
    /* Rows of one span of a trace message; head's own spans are others. NULL: the fleet sends no internals. */
    pk_err (*traced)(void *context, const pk_batch *head, const pk_span *span, const void *rows);
} pk_engine_handlers;

typedef struct {
    pk_fleet *fleet;              /* view, for the engine's life */
    const pk_pipeline *pipeline;  /* resolved; view */
    const pk_model_config *model; /* view; NULL when only text is to be encoded */
    uint64_t kv_tokens;           /* pk_scheduler_options */
    bool endless;                 /* no token ends an answer */
    pk_engine_handlers handlers;
} pk_engine_options;

pk_err pk_engine_open(pk_engine **out, pk_engine_options options);
void pk_engine_close(pk_engine **engine);

/* Takes the text (malloc'd), even on failure. `most`: more tokens than this are an error of the text's (encoded's
 * too_many). */
pk_err pk_engine_encode(pk_engine *engine, uint32_t text_id, char *text, size_t bytes, uint32_t most, bool markup);
/* Copies the ids. */
pk_err pk_engine_decode(pk_engine *engine, uint32_t text_id, const int32_t *ids, size_t count);
pk_err pk_engine_submit(pk_engine *engine, const pk_request *request, uint32_t *sequence);

/* Fills the window, waits at most timeout_ms for something to happen, and hands out what came. */
pk_err pk_engine_step(pk_engine *engine, int timeout_ms);

/* For drop_waiting and counters. */
pk_scheduler *pk_engine_scheduler(pk_engine *engine);

#endif
