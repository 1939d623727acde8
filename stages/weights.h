/* weights.h - where checkpoint and device meet: a stage's own tensors, and no others, in the device's memory.
 *
 * A stage first says which weights it wants and how: packed for products, as an expanded vector, or as stored rows.
 * Each is checked against the model's shape and gets its memory then. One load reads them all, in file order, and packs
 * the pieces as they arrive from the reader. The memory belongs to the pk_weights and lives until it is closed. One
 * thread. */
#ifndef PK_STAGES_WEIGHTS_H
#define PK_STAGES_WEIGHTS_H

#include "gpu/ops.h"
#include "loader/names.h"
#include "stages/runtime.h"

typedef struct pk_weights pk_weights;

/* A matrix as stored, for pk_ops.embed. */
typedef struct {
    pk_dtype dtype;
    size_t rows, width;
    const void *data;
} pk_table;

/* Reads config and headers of the model directory, no weights. The device outlives the weights. */
pk_err pk_weights_open(pk_weights **out, pk_device *device, const char *model);
void pk_weights_close(pk_weights **weights);

/* View, valid until close. */
const pk_model_config *pk_weights_model(const pk_weights *weights);

/* Each wants one weight, which must exist in the model, before the load. What *out points to is filled by the load.
 * PK_CORRUPT: missing, or of another shape or type; PK_NOMEM. */
pk_err pk_weights_matrix(pk_weights *weights, pk_weight weight, pk_matrix *out);
pk_err pk_weights_vector(pk_weights *weights, pk_weight weight, const float **out);
pk_err pk_weights_table(pk_weights *weights, pk_weight weight, pk_table *out);

/* Reads everything wanted, once. Reports to stage->loading and fills bytes, tensors and note of stage->ready.
 * PK_INVALID: the assignment's io is unknown; else as pk_reader_read. */
pk_err pk_weights_load(pk_weights *weights, pk_stage *stage);

#endif
