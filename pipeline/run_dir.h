/* run_dir.h - a run's directory: where it is, and what those who look at a run from outside find in it.
 *
 *     console        where the live run listens (console_pointer.h)
 *     status.json    how far it was, every few seconds and at its end
 *     metrics.prom   the same for Prometheus
 *     logs/          a file for each stage (stage_log.h)
 *     journal.sqlite, lock */
#ifndef PK_PIPELINE_RUN_DIR_H
#define PK_PIPELINE_RUN_DIR_H

#include "ipc/error.h"

#include <limits.h>

#define PK_RUN_DIR_STATUS  "status.json"
#define PK_RUN_DIR_METRICS "metrics.prom"
#define PK_RUN_DIR_LOGS    "logs"
#define PK_RUN_DIR_JOURNAL "journal.sqlite"

/* The run directory that a person means: an output directory's .penstock, or the run directory itself. PK_INVALID:
 * neither is there. */
pk_err pk_run_dir_find(char out[PATH_MAX], const char *given);

#endif
