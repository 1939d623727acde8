/* experts.h - the expert provider: what a layer asks for the output of its experts, wherever they are.
 *
 * A layer has routed its rows and hands over the normalised input with each row's chosen experts; back comes their
 * weighted sum, combined in the order of rank. Whether the experts lie in this process is the provider's affair. */
#ifndef PK_STAGES_EXPERTS_H
#define PK_STAGES_EXPERTS_H

#include "stages/weights.h"

typedef struct {
    size_t layer;         /* of the model */
    size_t rows;          /* at least 1 */
    const float *y;       /* [rows, hidden] */
    const int32_t *ids;   /* [rows, chosen], best first */
    const float *weights; /* [rows, chosen] */
    float *out;           /* [rows, hidden] */
} pk_expert_call;

typedef struct pk_experts pk_experts;
struct pk_experts {
    pk_err (*run)(pk_experts *experts, const pk_expert_call *call);
    void (*close)(pk_experts *experts);
};

typedef struct {
    pk_device *device;              /* outlives the provider */
    pk_weights *weights;            /* not loaded yet; outlives the provider */
    size_t first_layer, last_layer; /* inclusive */
    size_t batch_rows;              /* most rows of a call */
} pk_local_experts_options;

/* A provider whose experts are weights of this process. Wants them now; runs after the load. */
pk_err pk_local_experts_open(pk_experts **out, pk_local_experts_options options);

/* Closes any provider; accepts NULL. */
void pk_experts_close(pk_experts **experts);

#endif
