/* run_progress.h - what a person sees of a run on stderr: the loading of the weights, the processes of the pipeline,
 * and how far the documents are. On a terminal one line that is rewritten, elsewhere a plain line every few seconds. */
#ifndef PK_CLI_RUN_PROGRESS_H
#define PK_CLI_RUN_PROGRESS_H

#include "cli/progress.h"
#include "pipeline/run.h"

typedef struct {
    pk_progress loading;
    uint64_t begun_ns, said_ns; /* of the work */
    bool terminal, loaded, line_open;
} pk_run_view;

void pk_run_view_begin(pk_run_view *view);

/* Fit as pk_run_options' callbacks with the view as context. */
void pk_run_view_changed(void *view, const char *custom_id);
void pk_run_view_loading(void *view, uint64_t bytes_done, uint64_t bytes_total);
void pk_run_view_loaded(void *view, const pk_fleet *fleet);
void pk_run_view_progress(void *view, const pk_run_progress *progress);

/* Leaves the line. */
void pk_run_view_end(pk_run_view *view);

#endif
