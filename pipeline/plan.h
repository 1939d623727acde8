/* plan.h - what a resolved pipeline will take and how fast it could be, from metadata alone: nothing is started, no
 * weight is read.
 *
 * Bytes are those of footprint.h, seconds those of cost.h over the machine's speeds. A plan is made once and then only
 * looked at; it views what it was made of, all of which must outlive it. */
#ifndef PK_PIPELINE_PLAN_H
#define PK_PIPELINE_PLAN_H

#include "loader/census.h"
#include "pipeline/choose.h"
#include "pipeline/footprint.h"
#include "pipeline/json_text.h"
#include "pipeline/machine.h"

#include <stdio.h>

typedef struct {
    const pk_pipeline *pipeline; /* resolved */
    const pk_model_config *model;
    const pk_census *census;
    const pk_machine *machine;
    const pk_speeds *speeds;
    double price;          /* of this machine for an hour, in any currency; 0: not said */
    bool generation_table; /* --flops */
} pk_plan_options;

/* One kind of work, per row. */
typedef struct {
    const char *name;
    pk_rows rows;
    double flops, bytes;        /* of one row */
    double compute_s, memory_s; /* what these take at least, on all cores */
    double predicted_s;         /* what they are predicted to take */
} pk_plan_work;

enum { PK_PLAN_WORKS = 3, PK_PLAN_FITS = 8 };

/* The longest context that so many documents at a time may have. */
typedef struct {
    uint32_t documents;
    uint64_t context; /* 0: not even their states fit */
} pk_plan_fit;

typedef struct {
    pk_plan_options of;
    pk_footprint sum;      /* of all stages */
    uint64_t needed_bytes; /* with limits.sequences slots and the cache of one sequence of limits.context */
    uint64_t memory_bytes; /* what there is */
    pk_plan_fit fits[PK_PLAN_FITS];
    size_t fit_count;
    pk_plan_work works[PK_PLAN_WORKS]; /* prefill, decode of one document, decode of as many as run at once */
    pk_workload workload;
    pk_prediction predicted; /* of the workload */
} pk_plan;

void pk_plan_make(pk_plan *out, pk_plan_options options);

/* Whether everything fits; if not, the thread's trail says what does not, and by how much (PK_NOMEM). */
pk_err pk_plan_check(const pk_plan *plan);

/* For a person, and as one JSON object. PK_IO, PK_NOMEM. */
pk_err pk_plan_print(const pk_plan *plan, FILE *out);
void pk_plan_json(const pk_plan *plan, pk_json_text *out);

#endif
