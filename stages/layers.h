/* layers.h - the stage that runs a contiguous group of layers; the group with layer 0 also embeds.
 *
 *     token ids or activations ──► [embed] ──► layer, layer, … ──► activations, on the same buffer
 *
 * Ops take effect here when their batch comes, in their order: START before tokens, STATE and END after those of their
 * span. Activations are changed in place and sent on in the buffer that they came in. The last group sends on only the
 * rows that somebody wants, in spans of the same indices, so that the head computes nothing in vain; nor does the
 * model's last mixture: behind the last attention the other rows are let go. With a trace link every layer's output and
 * routing is sent there too, of all rows. */
#ifndef PK_STAGES_LAYERS_H
#define PK_STAGES_LAYERS_H

#include "ipc/buffer.h"
#include "stages/layer.h"
#include "stages/runtime.h"

/* The stage's own memory; zeroed before open. */
typedef struct {
    pk_stage *stage;
    pk_device *device;
    pk_weights *weights;
    const pk_model_config *model; /* view, of the weights */
    bool embeds, last;            /* the group has the model's first, last layer */
    pk_table embedding;
    pk_layer *layers;
    size_t layer_count;
    pk_workspace workspace;
    pk_sequences *sequences;
    pk_experts *experts;
    pk_buffer_pool *activations; /* made by embedding */
    /* of the batch at hand */
    pk_layer_span *spans;
    uint32_t *positions;
    pk_layer_rows rows;
    uint64_t *seen, batches; /* [slots]: the last batch, by our own count, with tokens of the slot */
    pk_span *shrunk;         /* spans of what the last group sends on */
    pk_span *traced;
} pk_layers;

extern const pk_stage_ops pk_layers_ops;

#endif
