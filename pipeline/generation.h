/* generation.h - the arithmetic of long answers, beside DeepSeek-R1's: the table of `penstock plan --flops`.
 *
 * Counted is a whole answer of G tokens after an empty prompt, token by token: the sum of one decode step at each
 * position 0 … G-1, head included, a multiply-add as two. DeepSeek-R1's count depends on how its latent attention is
 * computed: with keys and values expanded for each head (naive), or absorbed, that is in the 512 + 64 latent
 * dimensions; both are given. The shape is the published one (docs/model.md, section 12). */
#ifndef PK_PIPELINE_GENERATION_H
#define PK_PIPELINE_GENERATION_H

#include "loader/census.h"
#include "loader/config.h"

#include <stdint.h>

typedef struct {
    uint32_t tokens;        /* of the answer */
    double flops;           /* this model */
    double naive, absorbed; /* DeepSeek-R1, by convention */
} pk_generation_cost;

enum { PK_GENERATION_LENGTHS = 4 };
extern const uint32_t pk_generation_lengths[PK_GENERATION_LENGTHS]; /* 32K, 64K, 100K, 128K */

pk_generation_cost pk_generation_cost_of(const pk_model_config *model, const pk_census *census, uint32_t tokens);

#endif
