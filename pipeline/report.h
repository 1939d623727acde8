/* report.h - a run as one page: its graph, its timeline, tables of its stages and requests.
 *
 * Everything is read from what the run left: summary.json, results.jsonl, errors.jsonl, the resolved pipeline in the
 * run directory, the timeline's file. So a page can be made of a run that ended yesterday, or badly; what is not there
 * is said to be missing. The page loads nothing from anywhere. Its frame, with style and script, is report.html, which
 * is compiled in; whatever a person or a model wrote stands in it escaped. */
#ifndef PK_PIPELINE_REPORT_H
#define PK_PIPELINE_REPORT_H

#include "ipc/error.h"

#include <stdbool.h>

enum {
    PK_REPORT_REQUESTS = 2000, /* rows of requests in the page; failures first */
    PK_REPORT_SLICES = 20000,  /* more batches than this are drawn as sums */
    PK_REPORT_BINS = 1600,
};

typedef struct {
    const char *out_dir; /* of the run */
    const char *run_dir; /* NULL: {out_dir}/.penstock */
    const char *trace;   /* the timeline's file; NULL: none was kept */
    bool unended;        /* the run did not come to its end: its summary.json is an older run's */
    const char *path;    /* of the page; replaced atomically */
} pk_report_options;

/* PK_INVALID: out_dir holds no run, or `trace` is no timeline; PK_IO: one of the run's files is damaged or cannot be
 * read, or the page cannot be written; PK_NOMEM. */
pk_err pk_report_write(const pk_report_options *options);

#endif
