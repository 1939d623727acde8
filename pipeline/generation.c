#include "pipeline/generation.h"

#include "pipeline/cost.h"

const uint32_t pk_generation_lengths[PK_GENERATION_LENGTHS] = {32768, 65536, 102400, 131072};

/* DeepSeek-R1. */
enum {
    LAYERS = 61,
    DENSE_LAYERS = 3,
    HIDDEN = 7168,
    HEADS = 128,
    QUERY_RANK = 1536,
    LATENT = 512, /* of keys and values */
    PLAIN = 128,  /* of a head: without position, */
    ROTARY = 64,  /* with, */
    VALUE = 128,  /* and of its values */
    DENSE_INNER = 18432,
    EXPERT_INNER = 2048,
    EXPERTS = 256,
    CHOSEN = 8 + 1, /* one is shared */
    VOCABULARY = 129280,
};

/* Of one token, whatever its position. Expanding the new token's keys and values (naive) and taking a query into the
 * latent space and a sum out of it (absorbed) multiply by the same matrix. */
static double other_linear_flops(void)
{
    double attention = (double)HIDDEN * QUERY_RANK + (double)QUERY_RANK * HEADS * (PLAIN + ROTARY) +
                       (double)HIDDEN * (LATENT + ROTARY) + (double)LATENT * HEADS * (PLAIN + VALUE) +
                       (double)HEADS * VALUE * HIDDEN;
    double dense = 3.0 * HIDDEN * DENSE_INNER,
           mixture = (double)HIDDEN * EXPERTS + CHOSEN * 3.0 * HIDDEN * EXPERT_INNER;
    return 2 * (LAYERS * attention + DENSE_LAYERS * dense + (LAYERS - DENSE_LAYERS) * mixture +
                (double)VOCABULARY * HIDDEN);
}

pk_generation_cost pk_generation_cost_of(const pk_model_config *model, const pk_census *census, uint32_t tokens)
{
    double count = tokens, positions = count * (count - 1) / 2, linear = count * other_linear_flops();
    double start = pk_row_flops(model, census, 0), slope = pk_row_flops(model, census, 1) - start;
    return (pk_generation_cost){
        .tokens = tokens,
        .flops = count * (start + pk_head_flops(model)) + positions * slope,
        .naive = linear + positions * LAYERS * 2.0 * HEADS * (PLAIN + ROTARY + VALUE),
        .absorbed = linear + positions * LAYERS * 2.0 * HEADS * (LATENT + ROTARY + LATENT),
    };
}
