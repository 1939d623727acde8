/* layer.h - one decoder layer: attention of either kind and the mixture of experts, over the rows of a batch.
 *
 * docs/model.md, sections 3 to 5, in the arithmetic of docs/numerics.md. Rows of many sequences stand side by side;
 * only attention looks at whose they are. A layer owns its decay table; its weights belong to the pk_weights. */
#ifndef PK_STAGES_LAYER_H
#define PK_STAGES_LAYER_H

#include "stages/experts.h"
#include "stages/sequences.h"
#include "stages/weights.h"
#include "stages/workspace.h"

typedef struct {
    size_t index; /* in the model */
    pk_layer_kind kind;
    const pk_model_config *model; /* view, of the weights */
    const float *input_norm, *post_attention_norm;
    /* lightning */
    pk_matrix qkv, output_gate, out;
    const float *attention_norm;
    float *decay; /* [heads][PK_LIGHTNING_BLOCK + 1] */
    size_t decay_bytes;
    /* softmax */
    pk_matrix q, k, v, o;
    /* both */
    pk_matrix router;
    pk_matrix shared_gate, shared_up, shared_down, coefficient; /* of a model with a shared expert */
    pk_device *device;
} pk_layer;

/* Tokens of one sequence in the batch: rows [first_row, first_row + rows) at positions position, position + 1, … */
typedef struct {
    size_t slot; /* pk_sequences */
    size_t first_row, rows;
    uint32_t position;
} pk_layer_span;

/* The rows of a batch. */
typedef struct {
    const pk_layer_span *spans; /* of distinct sequences, each with at least one row */
    size_t span_count;
    size_t rows;               /* at least 1 */
    const uint32_t *positions; /* [rows] */
} pk_layer_rows;

/* Wants the layer's weights but its experts. `layer` is zeroed; fini also after a failure. */
pk_err pk_layer_init(pk_layer *layer, pk_device *device, pk_weights *weights, size_t index);
void pk_layer_fini(pk_layer *layer);

/* Inner size of the shared expert, 0 without one. */
size_t pk_layer_shared_inner(const pk_layer *layer);

/* What a forward pass uses beside the layer. */
typedef struct {
    pk_workspace *workspace; /* afterwards: ids and weights of the router's choice */
    pk_sequences *sequences; /* states move on by the rows; positions are left to the caller */
    pk_experts *experts;
} pk_layer_context;

/* A forward pass in two halves. The residual stream goes from x to workspace->branch and back: x [rows, hidden] is read
 * by the first and written by the second. Between them each row is on its own: who needs fewer may move those to the
 * front of branch and mix only them. */
pk_err pk_layer_attend(const pk_layer *layer, const pk_layer_context *context, const pk_layer_rows *rows,
                       const float *x);
pk_err pk_layer_mix(const pk_layer *layer, const pk_layer_context *context, size_t rows, float *x);

#endif
