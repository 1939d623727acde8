/* results.h - where answers go, so that none is lost and none is written twice.
 *
 * The output directory holds one readable file for each request, results.jsonl, errors.jsonl and summary.json; the run
 * directory holds the journal and the lock. A request ends in this order: its readable file is in place; its line
 * stands in results.jsonl at the journaled length, synced; the journal commits "done" with the new length. A process
 * that dies in between leaves bytes that the journal does not count: the next open cuts them and the request is done
 * again.
 *
 * Without a directory (-o -) result lines go to standard output, lines of failed requests to standard error, and
 * nothing is remembered after the process.
 *
 * After PK_IO from queue, put, fail or summary, how much of it reached the disk is unknown: everything but close then
 * answers PK_IO, and the next open of the directory goes on from what did. One thread. */
#ifndef PK_PIPELINE_RESULTS_H
#define PK_PIPELINE_RESULTS_H

#include "ipc/error.h"
#include "pipeline/journal.h"
#include "pipeline/result_line.h"

#include <stdbool.h>
#include <stddef.h>

typedef struct pk_results pk_results;

/* Views, valid during the call; UTF-8 but for the paths. */
typedef struct {
    const char *dir;      /* output directory, made if missing; NULL: standard output */
    const char *run_dir;  /* NULL: {dir}/.penstock */
    const char *identity; /* what an answer depends on besides its document, a fact a line ("seed: 7"): model digest,
                             generation options, prompt, questions. A directory keeps that of its first open. */
    const char *model;    /* the name that stands in results */
} pk_results_options;

/* PK_AGAIN: in use by another coordinator; PK_INVALID: the directory cannot be made, belongs to a run of another
 * identity, or holds results without a journal; PK_CORRUPT: the journal is damaged, or a result file is shorter than
 * what was written; PK_IO; PK_NOMEM. */
pk_err pk_results_open(pk_results **out, pk_results_options options);
void pk_results_close(pk_results **results);

/* Requests that will come: rows for `jobs` and for the counts. Those that are known stay as they are. It is no fault to
 * put or fail a request that was not queued. PK_IO. */
pk_err pk_results_queue(pk_results *results, const char *const *custom_ids, size_t count);

/* What is left to do after an earlier run: a request that is DONE or FAILED is not run again. PK_IO, PK_CORRUPT. */
pk_err pk_results_state(pk_results *results, const char *custom_id, pk_request_state *out);
pk_err pk_results_count(pk_results *results, pk_request_counts *out); /* PK_IO */

/* What a request had read when it ended (pk_request_end). PK_IO, PK_CORRUPT. */
pk_err pk_results_input(pk_results *results, const char *custom_id, char out[PK_INPUT_BYTES]);

/* The epochs of the run, pk_journal_epoch and pk_journal_raise. */
uint32_t pk_results_epoch(const pk_results *results);
pk_err pk_results_raise(pk_results *results, uint32_t epoch);

/* The request's one terminal record: an answer, or a named failure. A request that has one already is a bug of the
 * caller's and stops the process. After PK_OK the record is on the disk (or written to the pipe). PK_IO, PK_NOMEM. */
pk_err pk_results_put(pk_results *results, const pk_result *result);
pk_err pk_results_fail(pk_results *results, const pk_failure *failure);

/* Takes the records of these requests back, each of which has one: their lines and readable files are gone, and they
 * are QUEUED. A process that dies in between leaves all of them, or none. PK_IO, PK_NOMEM. */
pk_err pk_results_withdraw(pk_results *results, const char *const *custom_ids, size_t count);

/* Removes what an earlier run left as its summary: it is not this run's. PK_IO. */
pk_err pk_results_begin(pk_results *results);

/* Whether there is a summary; true without a directory, which has none. */
bool pk_results_summarized(const pk_results *results);

/* Replaces summary.json atomically with this text. Without a directory does nothing. PK_IO. */
pk_err pk_results_summary(pk_results *results, const char *json_text);

#endif
