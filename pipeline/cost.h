/* cost.h - what a row costs in a layer: arithmetic and bytes as formulas of the model's shape (docs/model.md, section
 * 8), and seconds as these over the machine's speeds.
 *
 * A multiply-add counts as two. Lightning layers cost the same at every position; a row at position p of a softmax
 * layer costs p times its slope more. Predictions serve choices and plans; no result depends on them. */
#ifndef PK_PIPELINE_COST_H
#define PK_PIPELINE_COST_H

#include "loader/census.h"
#include "loader/config.h"
#include "pipeline/speeds.h"

#include <stdint.h>

/* Of one layer, for one row. */
typedef struct {
    double dense_flops;  /* projections and router; the shared expert, where its size is known */
    double expert_flops; /* of the K experts of the row */
    double mixing_flops; /* lightning attention, in blocks of 64 */
    double slope_flops;  /* softmax attention, for each position before the row */
    double slot_bytes;   /* of lightning state that one decoded row moves */
    double slope_bytes;  /* of key/value cache that one decoded row reads, for each position before it */
} pk_layer_cost;

/* census may be NULL: only the shared expert's size is taken from it. */
pk_layer_cost pk_layer_cost_of(const pk_model_config *model, const pk_census *census, size_t layer);

/* Arithmetic of the head, for one row. */
double pk_head_flops(const pk_model_config *model);

/* Of the E experts, how many `rows` rows meet when each draws K of them evenly. */
double pk_experts_met(const pk_model_config *model, double rows);

/* Some rows of one batch: `sequences` sequences of rows_each rows, from `position` on. */
typedef struct {
    double rows_each, sequences, position;
} pk_rows;

/* Seconds that a layer takes for them with so many threads. */
double pk_layer_seconds(const pk_layer_cost *cost, const pk_model_config *model, const pk_speeds *speeds,
                        uint32_t threads, pk_rows rows);
double pk_head_seconds(const pk_model_config *model, const pk_speeds *speeds, uint32_t threads, double rows);

/* Bytes that the whole model reads and writes for one batch: weights that its rows meet, states, caches. */
double pk_batch_bytes(const pk_model_config *model, const pk_census *census, pk_rows rows);

/* Arithmetic of the whole model but its head, for one row at `position`. */
double pk_row_flops(const pk_model_config *model, const pk_census *census, double position);

#endif
