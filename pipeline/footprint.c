#include "pipeline/footprint.h"

static size_t count_layers(const pk_model_config *model, pk_layer_kind kind)
{
    size_t count = 0;
    for (size_t layer = 0; layer < model->layers; ++layer)
        count += model->kind[layer] == kind;
    return count;
}

uint64_t pk_footprint_kv_token_bytes(const pk_model_config *model)
{
    return (uint64_t)count_layers(model, PK_LAYER_SOFTMAX) * 2 * model->kv_heads * model->head_dim * sizeof(float);
}

uint64_t pk_footprint_slot_bytes(const pk_model_config *model)
{
    uint64_t head = (uint64_t)model->head_dim * (model->head_dim + 2 * PK_BLOCK_TOKENS) * sizeof(float);
    return (uint64_t)count_layers(model, PK_LAYER_LIGHTNING) * model->heads * head;
}

uint64_t pk_footprint_bytes(const pk_model_config *model, uint32_t context, uint32_t sequences)
{
    uint64_t cache = 0, slots = 0, sum = 0;
    /* The cache grows by whole blocks. */
    uint64_t tokens = ((uint64_t)context + PK_BLOCK_TOKENS - 1) / PK_BLOCK_TOKENS * PK_BLOCK_TOKENS;
    if (__builtin_mul_overflow(pk_footprint_kv_token_bytes(model), tokens, &cache) ||
        __builtin_mul_overflow(pk_footprint_slot_bytes(model), (uint64_t)sequences, &slots) ||
        __builtin_add_overflow(cache, slots, &sum))
        return UINT64_MAX;
    return sum;
}

uint64_t pk_footprint_kv_tokens(const pk_model_config *model, uint64_t memory_bytes, uint32_t context,
                                uint32_t sequences)
{
    uint64_t token = pk_footprint_kv_token_bytes(model), slots = pk_footprint_bytes(model, 0, sequences);
    uint64_t half = memory_bytes / 2, all = (uint64_t)context * sequences;
    uint64_t fits = slots >= half ? 0 : token ? (half - slots) / token : all;
    return fits < context ? context : fits;
}
