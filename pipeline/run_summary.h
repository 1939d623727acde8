/* run_summary.h - summary.json: what a run did, how fast, and with what. Unlike results it holds times. */
#ifndef PK_PIPELINE_RUN_SUMMARY_H
#define PK_PIPELINE_RUN_SUMMARY_H

#include "pipeline/json_text.h"
#include "pipeline/run.h"

/* fleet: after it was drained, so that its counters are final; NULL where this run had nothing left to do. digest: of
 * the model, hexadecimal. */
void pk_run_summary(pk_json_text *out, const pk_run_options *options, const pk_run_report *report,
                    const pk_fleet *fleet, const char *digest);

#endif
