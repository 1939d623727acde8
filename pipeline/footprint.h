/* footprint.h - the memory that a pipeline takes, as formulas of the model's shape. The one place where bytes are
 * counted: admission, limits, the plan and the memory tests all count with these.
 *
 * Of a sequence: key/value cache in softmax layers only, float32, it grows with the context; a state slot in lightning
 * layers only, one float32 d x d matrix a head at the last boundary, and the tail of keys and values since (at most
 * PK_BLOCK_TOKENS positions). Of a stage: its weights (loader/census.h) and room for batches, which the stages reserve
 * in stages/workspace.c, stages/experts.c and stages/head.c. */
#ifndef PK_PIPELINE_FOOTPRINT_H
#define PK_PIPELINE_FOOTPRINT_H

#include "loader/census.h"
#include "loader/config.h"
#include "pipeline/file.h"

#include <stdint.h>

enum { PK_BLOCK_TOKENS = 64 };

/* What one stage holds. */
typedef struct {
    uint64_t weight_bytes;   /* resident */
    uint64_t matrix_bytes;   /* boundary matrices of one sequence */
    uint64_t tail_bytes;     /* the tails of one sequence */
    uint64_t kv_token_bytes; /* of one token of one sequence */
    uint64_t buffer_bytes;   /* room for batches of limits.batch_rows, those on their way to it included */
} pk_footprint;

/* Of one stage of a resolved pipeline; zero for the text stages, whose vocabulary is not counted. */
pk_footprint pk_footprint_of_stage(const pk_pipeline *pipeline, const pk_stage_spec *stage,
                                   const pk_model_config *model, const pk_census *census);

/* What it takes with `slots` sequences that hold `tokens` together, the cache by whole blocks of one. Saturates. */
uint64_t pk_footprint_sum(const pk_footprint *footprint, uint32_t slots, uint64_t tokens);

/* Of the whole model, summed over its layers. */
uint64_t pk_footprint_kv_token_bytes(const pk_model_config *model);
uint64_t pk_footprint_slot_bytes(const pk_model_config *model);

/* One sequence of `context` tokens, with `sequences` state slots. Saturates. */
uint64_t pk_footprint_bytes(const pk_model_config *model, uint32_t context, uint32_t sequences);

/* What of the memory sequences may take: half, or what the weights leave where that is less. */
uint64_t pk_footprint_room(uint64_t memory_bytes, uint64_t weight_bytes);

/* Positions of KV cache that all sequences together may hold: what fits that room beside the state slots, and at least
 * one context. */
uint64_t pk_footprint_kv_tokens(const pk_model_config *model, uint64_t room_bytes, uint32_t context,
                                uint32_t sequences);

#endif
