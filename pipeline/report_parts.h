/* report_parts.h - the parts of a report's page. Only report*.c include this.
 *
 * Each writes HTML to a stream; whether writing failed is for the caller to ask. */
#ifndef PK_PIPELINE_REPORT_PARTS_H
#define PK_PIPELINE_REPORT_PARTS_H

#include "loader/json.h"
#include "pipeline/report.h"
#include "pipeline/timeline_read.h"

#include <inttypes.h>
#include <stdio.h>

typedef struct {
    const pk_report_options *options;
    FILE *out;
    pk_json *summary; /* NULL: there is none */
    char run_dir[4096];
} pk_report;

/* Members of an object, with an empty value where they are not or are something else. */
const char *pk_report_word(const pk_json *object, const char *name);
double pk_report_number(const pk_json *object, const char *name);
uint64_t pk_report_count(const pk_json *object, const char *name); /* rounded; whatever stands there, 0 to 10^15 */

/* 64,439 */
void pk_report_whole(FILE *out, uint64_t value);

pk_err pk_report_figures(pk_report *report);
pk_err pk_report_stages(pk_report *report);
pk_err pk_report_facts(pk_report *report);
pk_err pk_report_requests(pk_report *report);
pk_err pk_report_timeline(pk_report *report); /* a script element of type application/json, for the page's script */

#endif
