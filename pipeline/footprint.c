#include "pipeline/footprint.h"

enum {
    HEAD_ROWS = 64,            /* rows whose logits are made at once: stages/head.c */
    SAMPLER_BYTES = 24,        /* of a token of the vocabulary: stages/sample.c */
    SPAN_BYTES = 80 + 32 + 24, /* a row's entries in lists of spans: stages/workspace.h, stages/layers.c */
};

/* The state of layers [first, last]. */
static pk_footprint state_of(const pk_model_config *model, size_t first, size_t last)
{
    pk_footprint sum = {0};
    uint64_t head = (uint64_t)model->head_dim * sizeof(float);
    for (size_t layer = first; layer <= last && layer < model->layers; ++layer) {
        if (model->kind[layer] == PK_LAYER_LIGHTNING) {
            sum.matrix_bytes += model->heads * head * model->head_dim;
            sum.tail_bytes += model->heads * head * 2 * PK_BLOCK_TOKENS;
        } else {
            sum.kv_token_bytes += 2 * model->kv_heads * head;
        }
    }
    return sum;
}

/* Floats of one row while a layer is computed, and of what its experts gather. */
static uint64_t row_floats(const pk_model_config *model, const pk_census *census)
{
    uint64_t attention = model->heads * model->head_dim, chosen = model->experts_per_token;
    uint64_t shared = census->shared_inner ? 2 * census->shared_inner + model->hidden + 1 : 0;
    return 2 * model->hidden + 5 * attention + model->experts + 2 * chosen + shared +
           chosen * (model->hidden + 2 * model->inner + 2);
}

static pk_footprint of_layers(const pk_pipeline *pipeline, const pk_stage_spec *stage, const pk_model_config *model,
                              const pk_census *census)
{
    pk_footprint sum = state_of(model, stage->first_layer, stage->last_layer);
    uint64_t rows = pipeline->limits.batch_rows;
    for (size_t layer = stage->first_layer; layer <= stage->last_layer; ++layer)
        sum.weight_bytes += census->layer[layer].resident_bytes;
    if (stage->first_layer == 0)
        sum.weight_bytes += census->embedding.resident_bytes;
    /* A batch that is worked on, and one that has come meanwhile. */
    sum.buffer_bytes =
        rows * (row_floats(model, census) * sizeof(float) + SPAN_BYTES) + 2 * rows * model->hidden * sizeof(float);
    return sum;
}

static pk_footprint of_head(const pk_model_config *model, const pk_census *census)
{
    return (pk_footprint){.weight_bytes = census->head.resident_bytes,
                          .buffer_bytes = HEAD_ROWS * (model->hidden + model->vocab) * sizeof(float) +
                                          SAMPLER_BYTES * model->vocab};
}

pk_footprint pk_footprint_of_stage(const pk_pipeline *pipeline, const pk_stage_spec *stage,
                                   const pk_model_config *model, const pk_census *census)
{
    switch (stage->kind) {
    case PK_STAGE_LAYERS:
        return of_layers(pipeline, stage, model, census);
    case PK_STAGE_HEAD:
        return of_head(model, census);
    default:
        return (pk_footprint){0};
    }
}

/* a + b * c, or UINT64_MAX. */
static uint64_t add_product(uint64_t a, uint64_t b, uint64_t c)
{
    uint64_t product, sum;
    return __builtin_mul_overflow(b, c, &product) || __builtin_add_overflow(a, product, &sum) ? UINT64_MAX : sum;
}

uint64_t pk_footprint_sum(const pk_footprint *footprint, uint32_t slots, uint64_t tokens)
{
    uint64_t blocks = tokens / PK_BLOCK_TOKENS + (tokens % PK_BLOCK_TOKENS != 0);
    uint64_t fixed = footprint->weight_bytes + footprint->buffer_bytes;
    uint64_t state = add_product(fixed, footprint->matrix_bytes + footprint->tail_bytes, slots);
    return add_product(state, footprint->kv_token_bytes * PK_BLOCK_TOKENS, blocks);
}

uint64_t pk_footprint_kv_token_bytes(const pk_model_config *model)
{
    return state_of(model, 0, model->layers).kv_token_bytes;
}

uint64_t pk_footprint_slot_bytes(const pk_model_config *model)
{
    pk_footprint state = state_of(model, 0, model->layers);
    return state.matrix_bytes + state.tail_bytes;
}

uint64_t pk_footprint_bytes(const pk_model_config *model, uint32_t context, uint32_t sequences)
{
    pk_footprint state = state_of(model, 0, model->layers);
    return pk_footprint_sum(&state, sequences, context);
}

uint64_t pk_footprint_room(uint64_t memory_bytes, uint64_t weight_bytes)
{
    uint64_t left = weight_bytes < memory_bytes ? memory_bytes - weight_bytes : 0;
    return left < memory_bytes / 2 ? left : memory_bytes / 2;
}

uint64_t pk_footprint_kv_tokens(const pk_model_config *model, uint64_t room_bytes, uint32_t context, uint32_t sequences)
{
    uint64_t token = pk_footprint_kv_token_bytes(model), slots = pk_footprint_bytes(model, 0, sequences);
    uint64_t all = (uint64_t)context * sequences;
    uint64_t fits = slots >= room_bytes ? 0 : token ? (room_bytes - slots) / token : all;
    return fits < context ? context : fits;
}
