/* run_status.h - how far a run is and what each of its processes does: one sample of it, in two forms.
 *
 * The coordinator takes a sample when somebody asks (console.h) and every few seconds for the run directory. */
#ifndef PK_PIPELINE_RUN_STATUS_H
#define PK_PIPELINE_RUN_STATUS_H

#include "pipeline/console.h"
#include "pipeline/run.h"

typedef struct {
    const char *state; /* "loading", "running", "draining", "ending"; and when it is over: "done", "drained", "stopped",
                          "failed" */
    const pk_run_progress *progress; /* view */
    const pk_fleet *fleet;           /* view; NULL: no processes */
    const pk_limits *limits;         /* view */
    uint64_t uptime_ns;              /* since the processes were started */
    uint64_t work_ns;                /* since they were ready; 0: not yet */
    pk_console_counters console;
} pk_run_status;

/* Seconds until the last answer, judged by the time that prompt and answer tokens took so far; negative while that says
 * nothing. */
double pk_run_status_eta(const pk_run_progress *progress, uint64_t work_ns);

/* The part of the documents' bytes that has been prefilled, from 0 to 1. */
double pk_run_status_prefilled(const pk_run_progress *progress);

/* One JSON object on one line, ended by a newline. */
void pk_run_status_json(pk_json_text *out, const pk_run_status *status);

/* Prometheus' text format. */
void pk_run_status_metrics(pk_json_text *out, const pk_run_status *status);

#endif
