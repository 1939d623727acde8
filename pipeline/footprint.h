/* footprint.h - the memory that sequences take, as a formula of the model's shape.
 *
 * Key/value cache: softmax layers only, float32, it grows with the context. State slot: lightning layers only, one
 * float32 d x d matrix a head, and the tail of keys and values since the last boundary (at most PK_BLOCK_TOKENS
 * positions). Admission, limits and the memory tests all count with these. */
#ifndef PK_PIPELINE_FOOTPRINT_H
#define PK_PIPELINE_FOOTPRINT_H

#include "loader/config.h"

#include <stdint.h>

enum { PK_BLOCK_TOKENS = 64 };

/* Of the whole model, summed over its layers. */
uint64_t pk_footprint_kv_token_bytes(const pk_model_config *model);
uint64_t pk_footprint_slot_bytes(const pk_model_config *model);

/* One sequence of `context` tokens, with `sequences` state slots. Saturates. */
uint64_t pk_footprint_bytes(const pk_model_config *model, uint32_t context, uint32_t sequences);

/* Positions of KV cache that all sequences together may hold: what fits half of the memory beside the state slots, and
 * at least one context. */
uint64_t pk_footprint_kv_tokens(const pk_model_config *model, uint64_t memory_bytes, uint32_t context,
                                uint32_t sequences);

#endif
