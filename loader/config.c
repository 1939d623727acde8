#include "loader/config.h"

#include "loader/file.h"
#include "loader/json.h"
#include "loader/quantization.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    CONFIG_BYTES_MAX = 4 << 20,
    CONFIG_VALUES_MAX = 1 << 16,
};

static const char *const model_types[] = {"minimax_m1", "MiniMaxM1", "minimax_text_01", "minimax"};
#define MODEL_TYPES "\"minimax_m1\", \"minimax_text_01\" or \"minimax\""

/* One field: what the published files call it, and what transformers' own tree does. */
struct names {
    const char *official, *in_tree;
};

/* Fields that change what a model computes and that must be absent or null. */
static const char *const unsupported_fields[] = {"sliding_window", "rope_scaling"};

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

/* A number under either name; under both it must be the same. */
static pk_err read_either(const pk_json *root, struct names names, double least, double most, double *out)
{
    double other;
    const char *found = absent(root, names.official) ? names.in_tree : names.official;
    pk_err err = read_real(root, found, 1.0, least, most, out);
    if (err || found == names.in_tree || absent(root, names.in_tree))
        return err;
    if ((err = read_real(root, names.in_tree, 1.0, least, most, &other)))
        return err;
    return other == *out
               ? PK_OK
               : pk_fail(PK_CORRUPT, "%s is %.17g and %s is %.17g: two names of one thing, expected one of them",
                         names.official, *out, names.in_tree, other);
}

static pk_err read_model_type(const pk_json *root, pk_model_config *config)
{
    const char *type = absent(root, "model_type") ? NULL : pk_json_string(pk_json_member(root, "model_type"));
    if (!type)
        return wrong(root, "model_type", MODEL_TYPES);
    for (size_t i = 0; i < sizeof model_types / sizeof *model_types; i++)
        if (!strcmp(type, model_types[i])) {
            snprintf(config->model_type, sizeof config->model_type, "%s", type);
            config->dialect = strcmp(type, "minimax") ? PK_DIALECT_OFFICIAL : PK_DIALECT_IN_TREE;
            return PK_OK;
        }
    char shown[PK_JSON_SHOW];
    return pk_fail(PK_INVALID, "model_type is %s, expected " MODEL_TYPES,
                   pk_json_show(shown, pk_json_member(root, "model_type")));
}

static pk_err refuse_unsupported(const pk_json *root)
{
    char shown[PK_JSON_SHOW];
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

/* Newer files of transformers' own tree keep what concerns positions in an object of its own. */
static pk_err check_rope_parameters(const pk_json *parameters)
{
    static const char *const known[] = {"rope_theta", "partial_rotary_factor", "rope_type"};
    void *at = NULL;
    const char *name;
    const pk_json *value;
    char shown[PK_JSON_SHOW];
    if (pk_json_kind_of(parameters) != PK_JSON_OBJECT)
        return pk_fail(PK_CORRUPT, "is %s, expected an object", pk_json_show(shown, parameters));
    while (pk_json_next(parameters, &at, &name, &value)) {
        bool found = pk_json_kind_of(value) == PK_JSON_NULL;
        for (size_t i = 0; i < sizeof known / sizeof *known; i++)
            found = found || !strcmp(name, known[i]);
        if (!found)
            return pk_fail(PK_INVALID, "%s is %s, expected null: not in this version", name,
                           pk_json_show(shown, value));
    }
    return require_word(parameters, "rope_type", "default");
}

/* Takes what `root` says about the rotation over what was known; once a number is said, it must stay. */
static pk_err read_rotation(const pk_json *root, double *theta, double *factor)
{
    static const char *const fields[] = {"rope_theta", "partial_rotary_factor"};
    static const double least[] = {1.0, 1e-3}, most[] = {1e15, 1.0};
    double *const known[] = {theta, factor};
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        double value;
        if (absent_or_null(root, fields[i]))
            continue;
        pk_err err = read_real(root, fields[i], 0, least[i], most[i], &value);
        if (err)
            return err;
        if (*known[i] > 0 && *known[i] != value)
            return pk_fail(PK_CORRUPT, "%s is %.17g here and %.17g outside, expected one value", fields[i], value,
                           *known[i]);
        *known[i] = value;
    }
    return PK_OK;
}

/* rotary_dim, or the part of a head that a factor says, or the whole head. */
static pk_err read_rotary_dim(const pk_json *root, double factor, pk_model_config *config)
{
    pk_err err;
    double part = factor > 0 ? (double)config->head_dim * factor : (double)config->head_dim;
    config->rotary_dim = (size_t)part;
    if (!absent_or_null(root, "rotary_dim") &&
        (err = read_size(root, "rotary_dim", 0, 2, config->head_dim, &config->rotary_dim)))
        return pk_pass(err, "head_dim is %zu", config->head_dim);
    if (factor > 0 && (double)config->rotary_dim != part)
        return pk_fail(
            PK_CORRUPT, "partial_rotary_factor is %.17g of head_dim %zu, expected a whole number of dimensions%s",
            factor, config->head_dim, absent_or_null(root, "rotary_dim") ? "" : " and rotary_dim to be the same");
    if (config->rotary_dim % 2)
        return pk_fail(PK_CORRUPT, "rotary_dim is %zu%s, expected an even number", config->rotary_dim,
                       factor > 0                           ? " (by partial_rotary_factor)"
                       : absent_or_null(root, "rotary_dim") ? " (head_dim, the default)"
                                                            : "");
    return PK_OK;
}

static pk_err read_rope(const pk_json *root, pk_model_config *config)
{
    pk_err err;
    double factor = 0;
    const pk_json *parameters = pk_json_member(root, "rope_parameters");
    if ((err = read_rotation(root, &config->rope_theta, &factor)))
        return err;
    if (!absent_or_null(root, "rope_parameters")) {
        if (!(err = check_rope_parameters(parameters)))
            err = read_rotation(parameters, &config->rope_theta, &factor);
        if (err)
            return pk_pass(err, "rope_parameters");
    }
    if (config->rope_theta == 0)
        config->rope_theta = 1e6;
    return read_rotary_dim(root, factor, config);
}

static pk_err read_kind_number(const pk_json *value, size_t layer, uint8_t *out)
{
    int64_t kind;
    char shown[PK_JSON_SHOW];
    if (!pk_json_integer(value, &kind) || kind < 0 || kind > 1)
        return pk_fail(PK_CORRUPT, "attn_type_list[%zu] is %s, expected 0 (lightning) or 1 (softmax)", layer,
                       pk_json_show(shown, value));
    *out = (uint8_t)kind;
    return PK_OK;
}

static pk_err read_kind_word(const pk_json *value, size_t layer, uint8_t *out)
{
    char shown[PK_JSON_SHOW];
    const char *word = pk_json_string(value);
    bool lightning = word && !strcmp(word, "linear_attention");
    if (!lightning && (!word || strcmp(word, "full_attention")))
        return pk_fail(PK_CORRUPT, "layer_types[%zu] is %s, expected \"linear_attention\" or \"full_attention\"", layer,
                       pk_json_show(shown, value));
    *out = lightning ? PK_LAYER_LIGHTNING : PK_LAYER_SOFTMAX;
    return PK_OK;
}

/* One of the two lists of layer kinds. */
static pk_err read_kinds(const pk_json *root, const char *field, const char *items, size_t layers,
                         pk_err (*read_kind)(const pk_json *, size_t, uint8_t *), uint8_t *kinds)
{
    pk_err err = PK_OK;
    char expected[128];
    const pk_json *list = pk_json_member(root, field);
    snprintf(expected, sizeof expected, "an array of num_hidden_layers (%zu) %s", layers, items);
    if (!list || pk_json_kind_of(list) != PK_JSON_ARRAY)
        return wrong(root, field, expected);
    if (pk_json_count(list) != layers)
        return pk_fail(PK_CORRUPT, "%s has %zu items, expected %s", field, pk_json_count(list), expected);
    for (size_t layer = 0; layer < layers && !err; layer++)
        err = read_kind(pk_json_item(list, layer), layer, &kinds[layer]);
    return err;
}

static pk_err compare_kinds(const pk_model_config *config, const uint8_t *words)
{
    for (size_t layer = 0; layer < config->layers; layer++)
        if (config->kind[layer] != words[layer])
            return pk_fail(PK_CORRUPT,
                           "attn_type_list[%zu] is %d and layer_types[%zu] is \"%s\": two names of one thing, "
                           "expected one of them",
                           layer, config->kind[layer], layer,
                           words[layer] == PK_LAYER_SOFTMAX ? "full_attention" : "linear_attention");
    return PK_OK;
}

/* transformers' own default for a missing layer_types is another order of layers: nobody means that. */
static pk_err read_layers(const pk_json *root, pk_model_config *config)
{
    pk_err err;
    uint8_t words[PK_MODEL_LAYERS_MAX];
    bool in_tree = !absent_or_null(root, "layer_types") ||
                   (config->dialect == PK_DIALECT_IN_TREE && absent_or_null(root, "attn_type_list"));
    if ((err = read_size(root, "num_hidden_layers", 32, 1, PK_MODEL_LAYERS_MAX, &config->layers)))
        return err;
    if (in_tree && (err = read_kinds(root, "layer_types", "words", config->layers, read_kind_word, words)))
        return err;
    if (in_tree && absent_or_null(root, "attn_type_list")) {
        memcpy(config->kind, words, config->layers);
        return PK_OK;
    }
    if ((err = read_kinds(root, "attn_type_list", "zeros and ones", config->layers, read_kind_number, config->kind)))
        return err;
    return in_tree ? compare_kinds(config, words) : PK_OK;
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

static pk_err read_scale(const pk_json *root, struct names alpha, struct names beta, pk_residual_scale *out)
{
    pk_err err = read_either(root, alpha, -1e6, 1e6, &out->alpha);
    return err ? err : read_either(root, beta, -1e6, 1e6, &out->beta);
}

static pk_err read_scales(const pk_json *root, pk_model_config *config)
{
    pk_err err = read_scale(root, (struct names){"layernorm_linear_attention_alpha", "linear_attn_alpha_factor"},
                            (struct names){"layernorm_linear_attention_beta", "linear_attn_beta_factor"},
                            &config->lightning_scale);
    if (!err)
        err = read_scale(root, (struct names){"layernorm_full_attention_alpha", "full_attn_alpha_factor"},
                         (struct names){"layernorm_full_attention_beta", "full_attn_beta_factor"},
                         &config->softmax_scale);
    return err ? err
               : read_scale(root, (struct names){"layernorm_mlp_alpha", "mlp_alpha_factor"},
                            (struct names){"layernorm_mlp_beta", "mlp_beta_factor"}, &config->mlp_scale);
}

static pk_err read_residuals(const pk_json *root, pk_model_config *config)
{
    pk_err err;
    bool in_tree = config->dialect == PK_DIALECT_IN_TREE;
    if ((err = read_flag(root, "postnorm", in_tree, &config->postnorm)) ||
        (err = read_real(root, "rms_norm_eps", 1e-5, 0.0, 1.0, &config->rms_norm_eps)))
        return err;
    if (in_tree && !config->postnorm)
        return pk_fail(PK_CORRUPT,
                       "postnorm is false, but model_type \"minimax\" has no such field and always computes as "
                       "if it were true");
    return read_scales(root, config);
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
    if (!absent_or_null(root, "quantization_config") &&
        (err = pk_quantization_parse(&config->quantised, pk_json_member(root, "quantization_config"))))
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

static bool is_power_of_two(size_t value)
{
    return !(value & (value - 1));
}

/* docs/model.md, section 9. */
size_t pk_config_differences(const pk_model_config *config, const char *notes[PK_CONFIG_NOTES_MAX])
{
    const struct {
        bool applies;
        const char *note;
    } all[] = {
        {config->rotary_dim != config->head_dim, "rotates the whole head, not its first rotary_dim dimensions"},
        {!is_power_of_two(config->heads),
         "takes plain geometric slopes, as if the number of heads were a power of two"},
        {config->shared_expert, "has no shared expert"},
        {true, "has 1 - l/(L-1+1e-5) + 1e-5 as layer factor (below float32 noise)"},
        {true, "keeps states, rotation and router in the type of the weights, not in float32"},
    };
    size_t count = 0;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (all[i].applies && config->dialect == PK_DIALECT_IN_TREE)
            notes[count++] = all[i].note;
    return count;
}
