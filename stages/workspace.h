/* workspace.h - what the layers of a stage compute in: one set of arrays, made once for the largest batch, which every
 * layer uses in turn. Nothing in it outlives a layer but what the layer's functions say. */
#ifndef PK_STAGES_WORKSPACE_H
#define PK_STAGES_WORKSPACE_H

#include "gpu/ops.h"
#include "loader/config.h"

/* All of the device; sizes in rows of the batch. */
typedef struct {
    float *y;       /* [rows, hidden], normalised input */
    float *branch;  /* [rows, hidden], the residual stream between the two halves of a layer */
    float *wide;    /* [rows, heads × 3 dim] of a lightning layer; q, then k, then v of a softmax layer */
    float *mixed;   /* [rows, heads × dim], what attention gives */
    float *gate;    /* [rows, heads × dim] */
    float *logits;  /* [rows, experts], of the router */
    int32_t *ids;   /* [rows, chosen], the router's choice, */
    float *weights; /* and its weights: both stand until the next layer */
    float *shared_gate, *shared_up; /* [rows, shared inner] */
    float *mlp;                     /* [rows, hidden], the shared expert's output */
    float *coefficient;             /* [rows] */
    float *rope_inverse;            /* [rotary_dim / 2] */
    pk_lightning_span *lightning;   /* [rows]: a span has at least one */
    pk_softmax_span *softmax;
    pk_device *device;
    void *data; /* all of the above */
    size_t bytes;
} pk_workspace;

/* shared_inner: the largest of any layer, 0 without a shared expert. PK_NOMEM. */
pk_err pk_workspace_init(pk_workspace *workspace, pk_device *device, const pk_model_config *model, size_t rows,
                         size_t shared_inner);

/* Accepts zeroed memory. */
void pk_workspace_fini(pk_workspace *workspace);

#endif
