/* run.h - documents and requests in, answers out: what `penstock run` does.
 *
 * Each question of a document, and each line of a request file, is one request with one or several answers. Their
 * prompts are read when their turn comes, tokenized, prefilled and decoded by the stages, rendered, and written by
 * results.h, which keeps the promise that every request ends in exactly one record. A request that cannot be processed
 * is one named failure; the others go on. */
#ifndef PK_PIPELINE_RUN_H
#define PK_PIPELINE_RUN_H

#include "loader/config.h"
#include "pipeline/exact_match.h"
#include "pipeline/file.h"
#include "pipeline/fleet.h"
#include "pipeline/results.h"
#include "pipeline/timeline.h"

#include <stdbool.h>

/* How far it is, for the eye. */
typedef struct {
    uint64_t requests, ended, failed;       /* in all, with a record, of these failures; an earlier run's included */
    uint64_t prompt_tokens, sampled_tokens; /* done in this run */
    uint64_t known_tokens;                  /* prompt tokens of the requests that were tokenized, for each answer */
    uint64_t bytes_read, bytes_total;       /* of the documents and request lines of this run */
    pk_exact_match match;                   /* of all requests that are answered, by an earlier run too */
    uint64_t answers, answer_tokens;        /* requests of this run that have ended with answers, and their tokens */
    uint64_t queued;                        /* requests that nobody has begun; counted when somebody looks */
    uint32_t waiting, running, in_flight;   /* sequences; batches inside the stages */
    uint32_t max_tokens;                    /* of an answer */
    bool draining;
} pk_run_progress;

/* What becomes of text inside <think>…</think>. */
typedef enum { PK_REASONING_SPLIT, PK_REASONING_INLINE, PK_REASONING_DROP } pk_reasoning_mode;

typedef struct {
    const pk_pipeline *pipeline; /* resolved for PK_PURPOSE_TEXT */
    const pk_model_config *model;
    const char *const *inputs;
    size_t input_count;
    const pk_questions *questions; /* NULL: request files only */
    const char *prompt;            /* text around document and question, pk_asks_options; NULL: the standard one */
    uint32_t choices;              /* answers to each question */
    pk_reasoning_mode reasoning;
    const char *out_dir;   /* NULL: standard output */
    const char *run_dir;   /* NULL: {out_dir}/.penstock */
    pk_timeline *timeline; /* or NULL */
    /* An earlier run of this directory answered this request when its document or line held something else: it is done
     * anew. */
    void (*changed)(void *context, const char *custom_id);
    void (*loading)(void *context, uint64_t bytes_done, uint64_t bytes_total);
    void (*loaded)(void *context, const pk_fleet *fleet); /* the pipeline stands; view of the fleet during the call */
    void (*progress)(void *context, const pk_run_progress *progress); /* often; may be NULL like the others */
    void *context;
} pk_run_options;

typedef struct {
    pk_run_progress progress;
    uint64_t load_ns, work_ns; /* until all stages were ready, and from there to the last record */
    bool drained;              /* interrupted once: what was running is done, the rest was not started */
    int last_signal;           /* with PK_CLOSED: what interrupted it for good */
} pk_run_report;

/* PK_OK also when requests failed: report->progress.failed. PK_AGAIN: the run directory is in use; PK_CLOSED:
 * interrupted twice; PK_INVALID: the output directory belongs to another run, or nothing is asked; PK_IO: results
 * could not be written, or a request file not read; PK_PEER: a stage died; PK_CORRUPT, PK_NOMEM: it could not load. */
pk_err pk_run(const pk_run_options *options, pk_run_report *report);

#endif
