/* config.json. */
#include "fuzz.h"
#include "loader/config.h"

#include <math.h>
#include <string.h>

static void check_shape(const pk_model_config *c)
{
    MUST(c->hidden >= 1 && c->hidden <= PK_MODEL_HIDDEN_MAX && c->layers >= 1 && c->layers <= PK_MODEL_LAYERS_MAX);
    MUST(c->heads >= 1 && c->heads <= PK_MODEL_HEADS_MAX && c->head_dim >= 1 && c->head_dim <= PK_MODEL_HEAD_DIM_MAX);
    MUST(c->heads * c->head_dim <= PK_MODEL_ATTENTION_MAX);
    MUST(c->kv_heads >= 1 && c->heads % c->kv_heads == 0);
    MUST(c->rotary_dim >= 2 && c->rotary_dim % 2 == 0 && c->rotary_dim <= c->head_dim);
    MUST(c->inner >= 1 && c->inner <= PK_MODEL_INNER_MAX && c->experts >= 1 && c->experts <= PK_MODEL_EXPERTS_MAX);
    MUST(c->experts_per_token >= 1 && c->experts_per_token <= PK_MODEL_CHOSEN_MAX);
    MUST(c->experts_per_token <= c->experts);
    MUST(c->vocab >= 1 && c->vocab <= PK_MODEL_VOCAB_MAX && c->max_positions >= 1);
}

static void check_numbers(const pk_model_config *c)
{
    const pk_residual_scale scales[] = {c->lightning_scale, c->softmax_scale, c->mlp_scale};
    for (size_t i = 0; i < 3; i++)
        MUST(isfinite(scales[i].alpha) && isfinite(scales[i].beta));
    MUST(isfinite(c->rope_theta) && c->rope_theta > 0 && c->rms_norm_eps >= 0 && c->rms_norm_eps <= 1);
    for (size_t layer = 0; layer < c->layers; layer++)
        MUST(c->kind[layer] == PK_LAYER_LIGHTNING || c->kind[layer] == PK_LAYER_SOFTMAX);
    MUST(c->eos_count <= PK_MODEL_EOS_MAX);
    for (size_t i = 0; i < c->eos_count; i++)
        MUST(c->eos_ids[i] >= 0 && (size_t)c->eos_ids[i] < c->vocab);
    MUST(memchr(c->model_type, 0, sizeof c->model_type) != NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const pk_model_config zero;
    pk_model_config config;
    pk_err err = pk_config_parse(&config, "config.json", (const char *)data, size);
    if (err) {
        fuzz_refused(err);
        MUST(memcmp(&config, &zero, sizeof zero) == 0);
        return 0;
    }
    check_shape(&config);
    check_numbers(&config);
    return 0;
}
