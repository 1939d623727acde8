/* head.h - the stage behind the last layer: final norm, LM head, sampling.
 *
 *     activations, the wanted rows ──► norm ──► logits ──► answers, and the logits that somebody asked for
 *
 * A row that is sampled is answered by a token; it is answered by its logits too when its sample says so, and any other
 * row by its logits alone. Each batch gives at most one batch of logits and then exactly one of answers, however empty:
 * the answers acknowledge it. Logits are made in blocks, so that sampled rows need no memory for them. */
#ifndef PK_STAGES_HEAD_H
#define PK_STAGES_HEAD_H

#include "ipc/buffer.h"
#include "stages/runtime.h"
#include "stages/sample.h"
#include "stages/weights.h"

/* The stage's own memory; zeroed before open. */
typedef struct {
    pk_stage *stage;
    pk_device *device;
    pk_weights *weights;
    const pk_model_config *model; /* view, of the weights */
    const float *norm;
    pk_matrix matrix;
    pk_sampler *sampler;
    float *normed, *logits; /* [a block, hidden], [a block, vocabulary] */
    size_t normed_bytes, logits_bytes;
    /* of the batch at hand */
    uint32_t *last_rows;   /* [spans]: row behind the last of each span */
    bool *sampled, *shown; /* [spans]: its last row has a sample; one that wants the logits */
    pk_span *logits_spans, *answer_spans;
} pk_head;

extern const pk_stage_ops pk_head_ops;

#endif
