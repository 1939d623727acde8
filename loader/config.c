#include "loader/config.h"

#include "loader/file.h"
#include "loader/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    CONFIG_BYTES_MAX = 4 << 20,
    CONFIG_VALUES_MAX = 1 << 16,
};

static const char *const model_types[] = {"minimax_m1", "MiniMaxM1", "minimax_text_01"};

/* What the dialect of transformers' own tree calls things (model_type `minimax`). A file that uses one of these names
 * means something by it that we would miss. */
static const char *const in_tree_fields[] = {
    "layer_types",           "linear_attn_alpha_factor", "linear_attn_beta_factor", "full_attn_alpha_factor",
    "full_attn_beta_factor", "mlp_alpha_factor",         "mlp_beta_factor",         "rope_parameters",
    "partial_rotary_factor",
};

/* Fields that change what a model computes and that must be absent or null. */
static const char *const unsupported_fields[] = {"sliding_window", "rope_scaling", "quantization_config"};

static pk_err wrong(const pk_json *root, const char *field, const char *expected)
{
    char shown[PK_JSON_SHOW];
    return pk_fail(PK_CORRUPT, "%s is %s, expected %s", field, pk_json_show(shown, pk_json_member(root, field)),
                   expected);
}

static bool absent(const pk_json *root, const char *field)
{
    return !pk_json_member(root, field);
}

static bool absent_or_null(const pk_json *root, const char *field)
{
    return absent(root, field) || pk_json_kind_of(pk_json_member(root, field)) == PK_JSON_NULL;
}

static pk_err read_size(const pk_json *root, const char *field, size_t missing, size_t least, size_t most, size_t *out)
{
    int64_t value = (int64_t)missing;
    char expected[64];
    if ((!absent(root, field) && !pk_json_integer(pk_json_member(root, field), &value)) || value < (int64_t)least ||
        value > (int64_t)most) {
        snprintf(expected, sizeof expected, "an integer from %zu to %zu", least, most);
        return wrong(root, field, expected);
    }
    *out = (size_t)value;
    return PK_OK;
}

static pk_err read_real(const pk_json *root, const char *field, double missing, double least, double most, double *out)
{
    double value = missing;
    char expected[64];
    /* Written so that a NaN is refused. */
    if ((!absent(root, field) && !pk_json_number(pk_json_member(root, field), &value)) ||
        !(value >= least && value <= most)) {
        snprintf(expected, sizeof expected, "a number from %g to %g", least, most);
        return wrong(root, field, expected);
    }
    *out = value;
    return PK_OK;
}

static pk_err read_flag(const pk_json *root, const char *field, bool missing, bool *out)
{
    *out = missing;
    if (absent(root, field))
        return PK_OK;
    pk_json_kind kind = pk_json_kind_of(pk_json_member(root, field));
    if (kind != PK_JSON_TRUE && kind != PK_JSON_FALSE)
        return wrong(root, field, "true or false");
    *out = kind == PK_JSON_TRUE;
    return PK_OK;
}

static pk_err read_model_type(const pk_json *root, pk_model_config *config)
{
    const char *type = absent(root, "model_type") ? NULL : pk_json_string(pk_json_member(root, "model_type"));
    if (!type)
        return wrong(root, "model_type", "\"minimax_m1\" or \"minimax_text_01\"");
    for (size_t i = 0; i < sizeof model_types / sizeof *model_types; i++)
        if (!strcmp(type, model_types[i])) {
            snprintf(config->model_type, sizeof config->model_type, "%s", type);
            return PK_OK;
        }
    if (!strcmp(type, "minimax"))
        return pk_fail(PK_INVALID, "model_type is \"minimax\", the dialect of transformers' own tree: not in this "
                                   "version, expected \"minimax_m1\" or \"minimax_text_01\"");
    char shown[PK_JSON_SHOW];
    return pk_fail(PK_INVALID, "model_type is %s, expected \"minimax_m1\" or \"minimax_text_01\"",
                   pk_json_show(shown, pk_json_member(root, "model_type")));
}

static pk_err refuse_unsupported(const pk_json *root)
{
    char shown[PK_JSON_SHOW];
    for (size_t i = 0; i < sizeof in_tree_fields / sizeof *in_tree_fields; i++)
        if (!absent_or_null(root, in_tree_fields[i]))
            return pk_fail(PK_INVALID, "%s belongs to the dialect of transformers' own tree: not in this version",
                           in_tree_fields[i]);
    for (size_t i = 0; i < sizeof unsupported_fields / sizeof *unsupported_fields; i++)
        if (!absent_or_null(root, unsupported_fields[i]))
            return pk_fail(PK_INVALID, "%s is %s, expected null: not in this version", unsupported_fields[i],
                           pk_json_show(shown, pk_json_member(root, unsupported_fields[i])));
    return PK_OK;
}

/* A field that must be this word, or absent. */
static pk_err require_word(const pk_json *root, const char *field, const char *word)
{
    char shown[PK_JSON_SHOW];
    if (absent(root, field))
        return PK_OK;
    const char *found = pk_json_string(pk_json_member(root, field));
    if (found && !strcmp(found, word))
        return PK_OK;
    return pk_fail(PK_INVALID, "%s is %s, expected \"%s\": nothing else is in this version", field,
                   pk_json_show(shown, pk_json_member(root, field)), word);
}

static pk_err read_heads(const pk_json *root, pk_model_config *config)
{
    pk_err err;
    if ((err = read_size(root, "hidden_size", 4096, 1, PK_MODEL_HIDDEN_MAX, &config->hidden)) ||
        (err = read_size(root, "num_attention_heads", 32, 1, PK_MODEL_HEADS_MAX, &config->heads)))
        return err;
    if (absent_or_null(root, "head_dim")) {
        if (config->hidden % config->heads)
            return pk_fail(PK_CORRUPT,
                           "head_dim is missing and hidden_size %zu is not a multiple of num_attention_heads %zu",
                           config->hidden, config->heads);
        config->head_dim = config->hidden / config->heads;
        if (config->head_dim > PK_MODEL_HEAD_DIM_MAX)
            return pk_fail(PK_CORRUPT, "head_dim would be %zu (hidden_size / num_attention_heads), expected at most %d",
                           config->head_dim, PK_MODEL_HEAD_DIM_MAX);
    } else if ((err = read_size(root, "head_dim", 0, 1, PK_MODEL_HEAD_DIM_MAX, &config->head_dim)))
        return err;
    if (config->heads * config->head_dim > PK_MODEL_ATTENTION_MAX)
        return pk_fail(PK_CORRUPT, "num_attention_heads × head_dim is %zu, expected at most %d",
                       config->heads * config->head_dim, PK_MODEL_ATTENTION_MAX);

    const pk_json *kv = pk_json_member(root, "num_key_value_heads");
    if (kv && pk_json_kind_of(kv) == PK_JSON_NULL)
        config->kv_heads = config->heads;
    else if ((err = read_size(root, "num_key_value_heads", 8, 1, PK_MODEL_HEADS_MAX, &config->kv_heads)))
        return err;
    if (config->heads % config->kv_heads)
        return pk_fail(PK_CORRUPT, "num_key_value_heads is %zu%s, expected a divisor of num_attention_heads %zu",
                       config->kv_heads, kv ? "" : " (the default)", config->heads);
    return PK_OK;
}

static pk_err read_rope(const pk_json *root, pk_model_config *config)
{
    pk_err err;
    if ((err = read_real(root, "rope_theta", 1e6, 1.0, 1e15, &config->rope_theta)))
        return err;
    config->rotary_dim = config->head_dim;
    if (!absent_or_null(root, "rotary_dim") &&
        (err = read_size(root, "rotary_dim", 0, 2, config->head_dim, &config->rotary_dim)))
        return pk_pass(err, "head_dim is %zu", config->head_dim);
    if (config->rotary_dim % 2)
        return pk_fail(PK_CORRUPT, "rotary_dim is %zu%s, expected an even number", config->rotary_dim,
                       absent_or_null(root, "rotary_dim") ? " (head_dim, the default)" : "");
    return PK_OK;
}

static pk_err read_layers(const pk_json *root, pk_model_config *config)
{
    pk_err err;
    char expected[96], shown[PK_JSON_SHOW];
    const pk_json *list = pk_json_member(root, "attn_type_list");
    if ((err = read_size(root, "num_hidden_layers", 32, 1, PK_MODEL_LAYERS_MAX, &config->layers)))
        return err;
    snprintf(expected, sizeof expected, "an array of num_hidden_layers (%zu) zeros and ones", config->layers);
    if (!list || pk_json_kind_of(list) != PK_JSON_ARRAY)
        return wrong(root, "attn_type_list", expected);
    if (pk_json_count(list) != config->layers)
        return pk_fail(PK_CORRUPT, "attn_type_list has %zu items, expected %s", pk_json_count(list), expected);
    for (size_t layer = 0; layer < config->layers; layer++) {
        int64_t kind;
        if (!pk_json_integer(pk_json_item(list, layer), &kind) || kind < 0 || kind > 1)
            return pk_fail(PK_CORRUPT, "attn_type_list[%zu] is %s, expected 0 (lightning) or 1 (softmax)", layer,
                           pk_json_show(shown, pk_json_item(list, layer)));
        config->kind[layer] = (uint8_t)kind;
    }
    return PK_OK;
}

static pk_err read_mlp(const pk_json *root, pk_model_config *config)
{
    pk_err err;
    size_t shared_inner;
    if ((err = read_size(root, "intermediate_size", 14336, 1, PK_MODEL_INNER_MAX, &config->inner)) ||
        (err = read_size(root, "num_local_experts", 8, 1, PK_MODEL_EXPERTS_MAX, &config->experts)) ||
        (err = read_size(root, "num_experts_per_tok", 2, 1, PK_MODEL_CHOSEN_MAX, &config->experts_per_token)) ||
        (err = read_size(root, "shared_intermediate_size", 0, 0, PK_MODEL_INNER_MAX, &shared_inner)) ||
        (err = require_word(root, "shared_moe_mode", "sigmoid")) || (err = require_word(root, "hidden_act", "silu")))
        return err;
    if (config->experts_per_token > config->experts)
        return pk_fail(PK_CORRUPT, "num_experts_per_tok is %zu, expected at most num_local_experts (%zu)",
                       config->experts_per_token, config->experts);
    config->shared_expert = shared_inner > 0;
    return PK_OK;
}

static pk_err read_scale(const pk_json *root, const char *alpha, const char *beta, pk_residual_scale *out)
{
    pk_err err = read_real(root, alpha, 1.0, -1e6, 1e6, &out->alpha);
    return err ? err : read_real(root, beta, 1.0, -1e6, 1e6, &out->beta);
}

static pk_err read_residuals(const pk_json *root, pk_model_config *config)
{
    pk_err err;
    if ((err = read_flag(root, "postnorm", false, &config->postnorm)) ||
        (err = read_real(root, "rms_norm_eps", 1e-5, 0.0, 1.0, &config->rms_norm_eps)) ||
        (err = read_scale(root, "layernorm_linear_attention_alpha", "layernorm_linear_attention_beta",
                          &config->lightning_scale)) ||
        (err = read_scale(root, "layernorm_full_attention_alpha", "layernorm_full_attention_beta",
                          &config->softmax_scale)))
        return err;
    return read_scale(root, "layernorm_mlp_alpha", "layernorm_mlp_beta", &config->mlp_scale);
}

static pk_err add_eos(const pk_json *id, pk_model_config *config)
{
    char shown[PK_JSON_SHOW];
    int64_t value;
    if (!pk_json_integer(id, &value) || value < 0 || value >= (int64_t)config->vocab)
        return pk_fail(PK_CORRUPT, "eos_token_id is %s, expected an id below vocab_size (%zu), a list of ids, or null",
                       pk_json_show(shown, id), config->vocab);
    if (config->eos_count == PK_MODEL_EOS_MAX)
        return pk_fail(PK_CORRUPT, "eos_token_id has more than %d ids", PK_MODEL_EOS_MAX);
    config->eos_ids[config->eos_count++] = (int32_t)value;
    return PK_OK;
}

static pk_err read_eos(const pk_json *root, pk_model_config *config)
{
    pk_err err = PK_OK;
    const pk_json *ids = pk_json_member(root, "eos_token_id");
    if (absent_or_null(root, "eos_token_id"))
        return PK_OK;
    if (pk_json_kind_of(ids) != PK_JSON_ARRAY)
        return add_eos(ids, config);
    for (size_t i = 0; i < pk_json_count(ids) && !err; i++)
        err = add_eos(pk_json_item(ids, i), config);
    return err;
}

static pk_err read_vocabulary(const pk_json *root, pk_model_config *config)
{
    pk_err err;
    if ((err = read_size(root, "vocab_size", 32000, 1, PK_MODEL_VOCAB_MAX, &config->vocab)) ||
        (err = read_size(root, "max_position_embeddings", 131072, 1, INT32_MAX, &config->max_positions)) ||
        (err = read_flag(root, "tie_word_embeddings", false, &config->tie_word_embeddings)))
        return err;
    return read_eos(root, config);
}

static pk_err read_all(const pk_json *root, pk_model_config *config)
{
    pk_err err;
    char shown[PK_JSON_SHOW];
    if (pk_json_kind_of(root) != PK_JSON_OBJECT)
        return pk_fail(PK_CORRUPT, "holds %s, expected an object", pk_json_show(shown, root));
    if ((err = read_model_type(root, config)) || (err = refuse_unsupported(root)) || (err = read_heads(root, config)) ||
        (err = read_rope(root, config)) || (err = read_layers(root, config)) || (err = read_mlp(root, config)) ||
        (err = read_residuals(root, config)))
        return err;
    return read_vocabulary(root, config);
}

pk_err pk_config_parse(pk_model_config *out, const char *path, const char *text, size_t bytes)
{
    pk_json *root = NULL;
    memset(out, 0, sizeof *out);
    pk_err err = pk_json_open(&root, text, bytes, CONFIG_VALUES_MAX);
    if (!err)
        err = read_all(root, out);
    if (err)
        memset(out, 0, sizeof *out);
    pk_json_close(&root);
    return pk_pass(err, "%s", path);
}

pk_err pk_config_read(pk_model_config *out, const char *dir)
{
    pk_err err = PK_OK;
    char *path = NULL, *text = NULL;
    size_t bytes = 0;

    memset(out, 0, sizeof *out);
    if (asprintf(&path, "%s/config.json", dir) < 0) {
        path = NULL;
        err = pk_fail(PK_NOMEM, "no memory for a path");
        goto out;
    }
    if (!(err = pk_file_read_all(&text, &bytes, path, CONFIG_BYTES_MAX)))
        err = pk_config_parse(out, path, text, bytes);
out:
    free(text);
    free(path);
    return err;
}
