/* scheduler.h - which rows go into the next batch. Free of I/O: requests and answers in, batches and outcomes out.
 *
 * A request becomes a sequence. It waits until a state slot and room for its peak (prompt + max_tokens positions of KV
 * cache) are free, first come first served; runs as chunks of its prompt and then token by token; and ends with exactly
 * one outcome. A batch takes decode rows first, then chunks of prompts in order of admission, up to batch_rows; the
 * next chunk of a prompt may be in the first stage while this one is in the second, so one document alone fills the
 * pipeline. At most `window` batches are inside the stages: that is all the flow control there is.
 *
 *     submit ──► waiting ──► running: chunks … decode … ──► outcome        END travels with the last span, or, when the
 *                (slots, KV tokens)                                       answer decided the end, in a span of no
 * tokens
 *
 * With several stages the rows of decoding sequences are spread over as many batches, so that all stages have work.
 *
 * After a reset the stages know no sequence: every one that runs is admitted once more and replayed from its first
 * token, those that were sampled before included, as if all were prompt. Nothing is asked twice but the last token: it
 * is sampled again and must be the same, for an answer does not depend on what happened. */
#ifndef PK_PIPELINE_SCHEDULER_H
#define PK_PIPELINE_SCHEDULER_H

#include "ipc/wire.h"

#include <stddef.h>

typedef struct pk_scheduler pk_scheduler;

typedef struct {
    uint32_t batch_rows, sequences, context, window;
    uint32_t stages;           /* that batches pass one behind the other; 0: 1 */
    uint64_t kv_tokens;        /* positions of KV cache that all sequences together may hold; at least context */
    const int32_t *end_tokens; /* sampling one of these ends a sequence; copied */
    size_t end_token_count;
} pk_scheduler_options;

typedef struct {
    const int32_t *ids; /* the prompt, at least one; copied */
    uint32_t count;
    uint32_t max_tokens; /* to sample; 0: none */
    float temperature;   /* 0: greedy */
    float top_p, min_p;  /* pk_sample */
    uint32_t top_k;
    uint64_t seed;
    uint32_t choice;
    uint8_t want;         /* logits of the prompt's rows: PK_WANT_… */
    uint32_t decode_from; /* from this position on the prompt is fed a token at a time; UINT32_MAX: nowhere */
    bool state;           /* send the lightning states after the prompt (PK_OP_STATE) */
} pk_request;

typedef enum {
    PK_FINISH_NONE,   /* nothing was to be sampled */
    PK_FINISH_STOP,   /* an end token */
    PK_FINISH_LENGTH, /* max_tokens */
    PK_FINISH_NAN,    /* the logits held a NaN: a failure of this request */
} pk_finish;

typedef struct {
    uint32_t sequence;
    pk_finish finish;
    uint32_t prompt_tokens;
    const int32_t *tokens; /* the sampled ones, an end token included; view, valid until the next outcome */
    uint32_t token_count;
} pk_outcome;

typedef struct {
    uint64_t prompt_tokens, sampled_tokens; /* done */
    uint32_t waiting, running, in_flight;
    uint64_t replayed_tokens; /* that went through the stages once more */
} pk_scheduler_counters;

pk_err pk_scheduler_open(pk_scheduler **out, pk_scheduler_options options);
void pk_scheduler_close(pk_scheduler **scheduler);

/* PK_INVALID: empty, or prompt + max_tokens exceed the context: the trail says by how much. */
pk_err pk_scheduler_submit(pk_scheduler *scheduler, const pk_request *request, uint32_t *sequence);

/* The next batch, if the window has room and there is something to do: false otherwise. Views in *head and *ids [rows]
 * are valid until the next call; the epoch is the sender's to fill. */
bool pk_scheduler_next(pk_scheduler *scheduler, pk_batch *head, const int32_t **ids);

/* One kind-ANSWERS batch came back: frees its place in the window. PK_PEER: it answers something that was not asked, or
 * otherwise than before a reset. */
pk_err pk_scheduler_answer(pk_scheduler *scheduler, const pk_batch *head, const pk_answer *answers);

/* The stages have forgotten everything, and nothing is in flight any more. */
void pk_scheduler_reset(pk_scheduler *scheduler);

/* The next sequence that has ended; false when there is none. Each submitted sequence is told exactly once. */
bool pk_scheduler_outcome(pk_scheduler *scheduler, pk_outcome *out);

/* Gives up what still waits and has not begun: those sequences have no outcome. Returns how many. */
uint32_t pk_scheduler_drop_waiting(pk_scheduler *scheduler);

/* How many rows of a sequence have been answered: what comes of rows below that comes once more, after a reset. */
uint32_t pk_scheduler_answered(const pk_scheduler *scheduler, uint32_t sequence);

pk_scheduler_counters pk_scheduler_count(const pk_scheduler *scheduler);

/* Nothing waits, runs or is in flight. */
bool pk_scheduler_idle(const pk_scheduler *scheduler);

#endif
