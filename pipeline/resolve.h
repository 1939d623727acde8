/* resolve.h - a pipeline made complete: what nobody said becomes a decision for this model and this machine.
 *
 * A pure function of the pipeline, the model's shape, the machine and its speeds, so that a test can ask about any
 * machine. */
#ifndef PK_PIPELINE_RESOLVE_H
#define PK_PIPELINE_RESOLVE_H

#include "loader/config.h"
#include "pipeline/choose.h"
#include "pipeline/file.h"
#include "pipeline/machine.h"

/* What the pipeline is to be used for. */
typedef enum {
    PK_PURPOSE_TEXT, /* text to text: exactly one tokenize and one detokenize stage besides the model's */
    PK_PURPOSE_IDS,  /* ids to logits: tokenize and detokenize stages may be absent, and are not made */
} pk_purpose;

typedef struct {
    const pk_model_config *model; /* view, for the call */
    const pk_machine *machine;    /* view, for the call */
    const pk_speeds *speeds;      /* view, for the call; NULL: the built-in ones */
    uint64_t weight_bytes;        /* resident, of the whole model; 0: not known */
    pk_purpose purpose;
} pk_resolve_options;

/* Fills every open value and checks the whole. After PK_OK:
 *   - stages stand in the order tokenize, layers ascending, head, detokenize; names are unique; every layer of the
 * model belongs to exactly one `layers` stage;
 *   - context is the smallest of the model's, 262,144 and what fits beside the state slots into half of the memory, or
 *     into what the weights leave of it where that is less; sequences 16, window 2 x (layers stages + 1) + 1,
 * max_tokens 512;
 *   - without `stages:` the `layers` stages, each called layers-FIRST-LAST, their cuts and threads, and batch_rows are
 *     those that the usual workload takes the least predicted time with (choose.h); with `stages:` threads are
 *     max(1, cores / layers stages), and only batch_rows is chosen.
 * PK_INVALID: the stages do not make this model's pipeline (gaps and overlaps are named by range); PK_NOMEM: the
 * weights, or one sequence of the context that was asked for with the state slots beside them, exceed the memory. */
pk_err pk_pipeline_resolve(pk_pipeline *pipeline, pk_resolve_options options);

#endif
