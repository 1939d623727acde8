/* run.h - documents in, answers out: what `penstock run` does.
 *
 * Each document makes one request, document + question. Documents are read when their turn comes, tokenized, prefilled
 * and decoded by the stages, rendered, and written by results.h, which keeps the promise that every request ends in
 * exactly one record. A document that cannot be processed is one named failure; the others go on. */
#ifndef PK_PIPELINE_RUN_H
#define PK_PIPELINE_RUN_H

#include "loader/config.h"
#include "pipeline/file.h"
#include "pipeline/fleet.h"
#include "pipeline/results.h"
#include "pipeline/timeline.h"

#include <stdbool.h>

/* How far it is, for the eye. */
typedef struct {
    uint64_t documents, ended,
        failed; /* requests: in all, with a record, of these failures; an earlier run's included */
    uint64_t prompt_tokens, sampled_tokens; /* done in this run */
    uint64_t known_tokens;                  /* prompt tokens of the documents that have been tokenized */
    uint64_t bytes_read, bytes_total;       /* of the documents of this run */
    uint32_t running;
    bool draining;
} pk_run_progress;

typedef struct {
    const pk_pipeline *pipeline; /* resolved for PK_PURPOSE_TEXT */
    const pk_model_config *model;
    const char *const *inputs;
    size_t input_count;
    const char *question;
    const char *out_dir;   /* NULL: standard output */
    const char *run_dir;   /* NULL: {out_dir}/.penstock */
    pk_timeline *timeline; /* or NULL */
    uint64_t kv_tokens;    /* room for KV cache, pk_scheduler_options */
    /* An earlier run of this directory answered this document when it held something else: it is done anew. */
    void (*changed)(void *context, const char *document);
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
 * interrupted twice; PK_INVALID: the output directory belongs to another run, or no document was named; PK_IO: results
 * could not be written; PK_PEER: a stage died; PK_CORRUPT, PK_NOMEM: it could not load. */
pk_err pk_run(const pk_run_options *options, pk_run_report *report);

#endif
