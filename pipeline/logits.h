/* logits.h - token ids in, logits out: the model side of a pipeline on its own, for tests and for looking inside.
 *
 * The very stages of `run` do the work. The output is a safetensors file: for sequence i of n tokens logits.{i} [n, V]
 * F32; with internals hidden.{i} [layers, n, hidden], router_ids.{i} I32 and router_weights.{i} [layers, n, K], and
 * state.{i}.{layer} [heads, dim, dim] of the lightning layers after the last token; with greedy greedy.{i} [N] I32. */
#ifndef PK_PIPELINE_LOGITS_H
#define PK_PIPELINE_LOGITS_H

#include "loader/config.h"
#include "pipeline/file.h"
#include "pipeline/ids_file.h"
#include "pipeline/timeline.h"

#include <stdbool.h>

typedef struct {
    const pk_pipeline *pipeline; /* resolved for PK_PURPOSE_IDS */
    const pk_model_config *model;
    const pk_id_lists *ids;
    const char *out;           /* path of the safetensors file */
    pk_timeline *timeline;     /* or NULL */
    bool internals, last_only; /* last_only: logits of the last row only, [1, V] */
    uint32_t greedy;           /* tokens of the arg-max continuation; 0: none */
    uint32_t decode_from;      /* a token at a time from this position on; UINT32_MAX: nowhere */
} pk_logits_options;

/* PK_CLOSED: interrupted; PK_INVALID: a batch's logits would not fit a message; otherwise as pk_fleet_open and
 * pk_engine_step, and PK_IO of the output. No output on failure.
 */
pk_err pk_logits(const pk_logits_options *options);

#endif
