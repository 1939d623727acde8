#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "loader/config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GOLDEN PK_SOURCE_DIR "/tests/golden"

/* A small valid model; a test adds or replaces fields by lines of its own. */
static const char *const base[][2] = {
    {"model_type", "\"minimax_m1\""},
    {"hidden_size", "64"},
    {"num_hidden_layers", "2"},
    {"num_attention_heads", "4"},
    {"head_dim", "16"},
    {"num_key_value_heads", "2"},
    {"rotary_dim", "8"},
    {"attn_type_list", "[0, 1]"},
    {"intermediate_size", "32"},
    {"num_local_experts", "4"},
    {"num_experts_per_tok", "2"},
    {"vocab_size", "100"},
};

/* Parses the base with `field` set to `value` (NULL: left out) and, if given, a second field. */
static pk_err parse2(pk_model_config *config, const char *field, const char *value, const char *field2,
                     const char *value2)
{
    char text[2048] = "{";
    const char *const extra[][2] = {{field, value}, {field2, value2}};
    for (size_t i = 0; i < sizeof base / sizeof *base; i++)
        if (!(field && !strcmp(base[i][0], field)) && !(field2 && !strcmp(base[i][0], field2)))
            sprintf(text + strlen(text), "%s\"%s\": %s", text[1] ? ", " : "", base[i][0], base[i][1]);
    for (size_t i = 0; i < 2; i++)
        if (extra[i][0] && extra[i][1])
            sprintf(text + strlen(text), ", \"%s\": %s", extra[i][0], extra[i][1]);
    strcat(text, "}");
    return pk_config_parse(config, "model/config.json", text, strlen(text));
}

static pk_err parse(pk_model_config *config, const char *field, const char *value)
{
    return parse2(config, field, value, NULL, NULL);
}

static void assert_parsed(pk_err err)
{
    if (err)
        fail_msg("%s: %s", pk_err_name(err), pk_error_text());
}

static void golden_configs_are_read(void **state)
{
    (void)state;
    pk_model_config config;
    assert_parsed(pk_config_read(&config, GOLDEN "/nano"));
    assert_string_equal(config.model_type, "minimax_m1");
    assert_int_equal(config.hidden, 64);
    assert_int_equal(config.layers, 8);
    assert_int_equal(config.heads, 4);
    assert_int_equal(config.head_dim, 16);
    assert_int_equal(config.kv_heads, 2);
    assert_int_equal(config.rotary_dim, 8);
    assert_true(config.rope_theta == 1e7);
    assert_int_equal(config.kind[6], PK_LAYER_LIGHTNING);
    assert_int_equal(config.kind[7], PK_LAYER_SOFTMAX);
    assert_int_equal(config.inner, 32);
    assert_int_equal(config.experts, 4);
    assert_int_equal(config.experts_per_token, 2);
    assert_false(config.shared_expert);
    assert_true(config.postnorm);
    assert_true(config.lightning_scale.alpha == 3.0 && config.lightning_scale.beta == 1.0);
    assert_true(config.softmax_scale.alpha == 2.5 && config.softmax_scale.beta == 0.9);
    assert_true(config.mlp_scale.alpha == 3.4 && config.mlp_scale.beta == 1.1);
    assert_true(config.rms_norm_eps == 1e-5);
    assert_int_equal(config.vocab, 384);
    assert_int_equal(config.max_positions, 4096);
    assert_false(config.tie_word_embeddings);
    assert_int_equal(config.eos_count, 0);

    assert_parsed(pk_config_read(&config, GOLDEN "/duo"));
    assert_int_equal(config.experts, 32);
    assert_parsed(pk_config_read(&config, GOLDEN "/shared"));
    assert_string_equal(config.model_type, "minimax_text_01");
    assert_true(config.shared_expert);
    assert_int_equal(config.heads * config.head_dim, 48);
}

static void missing_fields_take_the_documented_defaults(void **state)
{
    (void)state;
    pk_model_config config;
    static const char text[] = "{\"model_type\": \"MiniMaxM1\", \"num_hidden_layers\": 1, \"attn_type_list\": [0]}";
    assert_parsed(pk_config_parse(&config, "config.json", text, strlen(text)));
    assert_int_equal(config.hidden, 4096);
    assert_int_equal(config.heads, 32);
    assert_int_equal(config.head_dim, 128);
    assert_int_equal(config.kv_heads, 8);
    assert_int_equal(config.rotary_dim, 128);
    assert_true(config.rope_theta == 1e6);
    assert_int_equal(config.inner, 14336);
    assert_int_equal(config.experts, 8);
    assert_int_equal(config.experts_per_token, 2);
    assert_false(config.postnorm);
    assert_true(config.mlp_scale.alpha == 1.0 && config.mlp_scale.beta == 1.0);
    assert_true(config.rms_norm_eps == 1e-5);
    assert_int_equal(config.vocab, 32000);
    assert_int_equal(config.max_positions, 131072);
    assert_parsed(parse(&config, "num_key_value_heads", "null"));
    assert_int_equal(config.kv_heads, 4);
}

static void eos_is_an_id_a_list_or_null(void **state)
{
    (void)state;
    pk_model_config config;
    assert_parsed(parse(&config, "eos_token_id", "7"));
    assert_int_equal(config.eos_count, 1);
    assert_int_equal(config.eos_ids[0], 7);
    assert_parsed(parse(&config, "eos_token_id", "[3, 99]"));
    assert_int_equal(config.eos_count, 2);
    assert_int_equal(config.eos_ids[1], 99);
    assert_parsed(parse(&config, "eos_token_id", "null"));
    assert_int_equal(config.eos_count, 0);
}

/* The same model under the names of transformers' own tree. */
static const char in_tree[] =
    "{\"model_type\": \"minimax\", \"hidden_size\": 64, \"num_hidden_layers\": 2, \"num_attention_heads\": 6, "
    "\"head_dim\": 16,"
    " \"num_key_value_heads\": 2, \"layer_types\": [\"linear_attention\", \"full_attention\"], \"intermediate_size\": "
    "32,"
    " \"num_local_experts\": 4, \"vocab_size\": 100, \"linear_attn_alpha_factor\": 3, \"full_attn_beta_factor\": 0.5,"
    " \"mlp_alpha_factor\": 2, \"rope_parameters\": {\"rope_type\": \"default\", \"rope_theta\": 5e5,"
    " \"partial_rotary_factor\": 0.5}}";

static void the_dialect_of_transformers_own_tree_is_read(void **state)
{
    (void)state;
    pk_model_config config;
    assert_parsed(pk_config_parse(&config, "config.json", in_tree, strlen(in_tree)));
    assert_int_equal(config.dialect, PK_DIALECT_IN_TREE);
    assert_true(config.postnorm);
    assert_int_equal(config.kind[0], PK_LAYER_LIGHTNING);
    assert_int_equal(config.kind[1], PK_LAYER_SOFTMAX);
    assert_true(config.lightning_scale.alpha == 3 && config.lightning_scale.beta == 1);
    assert_true(config.softmax_scale.alpha == 1 && config.softmax_scale.beta == 0.5);
    assert_true(config.mlp_scale.alpha == 2 && config.rope_theta == 5e5);
    assert_int_equal(config.rotary_dim, 8);
}

static void where_transformers_differs_depends_on_the_model(void **state)
{
    (void)state;
    pk_model_config config;
    const char *notes[PK_CONFIG_NOTES_MAX];
    assert_parsed(pk_config_parse(&config, "config.json", in_tree, strlen(in_tree)));
    assert_int_equal(pk_config_differences(&config, notes), 4);
    assert_non_null(strstr(notes[0], "rotates the whole head"));
    assert_non_null(strstr(notes[1], "geometric slopes"));
    config.heads = 8;
    config.rotary_dim = config.head_dim;
    assert_int_equal(pk_config_differences(&config, notes), 2);
    assert_parsed(parse(&config, "rotary_dim", "8"));
    assert_int_equal(pk_config_differences(&config, notes), 0);
}

static void a_field_may_have_both_names_if_they_say_the_same(void **state)
{
    (void)state;
    pk_model_config config;
    assert_parsed(parse2(&config, "layernorm_mlp_beta", "0.25", "mlp_beta_factor", "0.25"));
    assert_true(config.mlp_scale.beta == 0.25);
    assert_int_equal(parse2(&config, "layernorm_mlp_beta", "0.25", "mlp_beta_factor", "0.5"), PK_CORRUPT);
    assert_non_null(strstr(pk_error_text(), "layernorm_mlp_beta is 0.25 and mlp_beta_factor is 0.5"));
    assert_parsed(parse(&config, "layer_types", "[\"linear_attention\", \"full_attention\"]"));
    assert_int_equal(parse2(&config, "model_type", "\"minimax\"", "attn_type_list", NULL), PK_CORRUPT);
    assert_non_null(strstr(pk_error_text(), "layer_types is nothing, expected an array"));
}

#define COMPRESSED(format, groups)                                                                                     \
    "{\"quant_method\": \"compressed-tensors\", \"format\": " format ", \"config_groups\": " groups "}"
#define GROUP_OF(weights) COMPRESSED("\"int-quantized\"", "{\"g\": {\"weights\": {" weights "}}}")
#define INT8 "\"num_bits\": 8, \"type\": \"int\", \"symmetric\": true, \"strategy\": \"group\""

static const struct refusal {
    const char *field, *value;
    pk_err err;
    const char *words;
} refusals[] = {
    {"model_type", NULL, PK_CORRUPT, "model_type is nothing, expected \"minimax_m1\""},
    {"model_type", "3", PK_CORRUPT, "model_type is 3, expected \"minimax_m1\""},
    {"model_type", "\"llama\"", PK_INVALID, "model_type is \"llama\", expected"},
    {"layer_types", "[\"full_attention\"]", PK_CORRUPT,
     "layer_types has 1 items, expected an array of num_hidden_layers"},
    {"layer_types", "[\"linear_attention\", 1]", PK_CORRUPT, "layer_types[1] is 1, expected \"linear_attention\" or"},
    {"layer_types", "[\"full_attention\", \"full_attention\"]", PK_CORRUPT,
     "attn_type_list[0] is 0 and layer_types[0] is \"full_attention\""},
    {"rope_parameters", "[]", PK_CORRUPT, "rope_parameters: is an array, expected an object"},
    {"rope_parameters", "{\"rope_type\": \"yarn\"}", PK_INVALID, "rope_parameters: rope_type is \"yarn\", expected"},
    {"rope_parameters", "{\"factor\": 4}", PK_INVALID, "rope_parameters: factor is 4, expected null"},
    {"rope_parameters", "{\"partial_rotary_factor\": 0.25}", PK_CORRUPT,
     "expected a whole number of dimensions and rotary_dim"},
    {"partial_rotary_factor", "0", PK_CORRUPT, "partial_rotary_factor is 0, expected a number from 0.001 to 1"},
    {"sliding_window", "4096", PK_INVALID, "sliding_window is 4096, expected null"},
    {"quantization_config", "1", PK_CORRUPT, "quantization_config is 1, expected an object"},
    {"quantization_config", "{}", PK_INVALID, "quant_method is nothing, expected \"compressed-tensors\""},
    {"quantization_config", "{\"quant_method\": \"gptq\"}", PK_INVALID, "quant_method is \"gptq\", expected"},
    {"quantization_config", COMPRESSED("\"float-quantized\"", "{}"), PK_INVALID,
     "format is \"float-quantized\", expected \"int-quantized\" or \"pack-quantized\""},
    {"quantization_config", COMPRESSED("\"int-quantized\"", "{}"), PK_CORRUPT, "config_groups is empty"},
    {"quantization_config", COMPRESSED("\"int-quantized\"", "{\"g\": {}}"), PK_CORRUPT, "config_groups.g: has no weights"},
    {"quantization_config", GROUP_OF("\"num_bits\": 4"), PK_INVALID, "num_bits is 4, expected 8"},
    {"quantization_config", GROUP_OF(INT8 ", \"group_size\": 0"), PK_INVALID, "group_size is 0, expected 64"},
    {"quantization_config", GROUP_OF(INT8 ", \"group_size\": 128"), PK_INVALID, "group_size is 128, expected 64"},
    {"quantization_config", GROUP_OF(INT8 ", \"group_size\": 64, \"actorder\": \"group\""), PK_INVALID,
     "actorder is \"group\", expected null"},
    {"quantization_config", GROUP_OF("\"num_bits\": 8, \"type\": \"int\", \"symmetric\": false"), PK_INVALID,
     "symmetric is false, expected true"},
    {"rope_scaling", "{}", PK_INVALID, "rope_scaling is an object, expected null"},
    {"hidden_size", "0", PK_CORRUPT, "hidden_size is 0, expected an integer from 1 to 131072"},
    {"hidden_size", "-4", PK_CORRUPT, "hidden_size is -4"},
    {"hidden_size", "64.0", PK_CORRUPT, "hidden_size is 64, expected an integer"},
    {"hidden_size", "null", PK_CORRUPT, "hidden_size is null"},
    {"hidden_size", "9000000000000000000", PK_CORRUPT, "hidden_size is 9000000000000000000"},
    {"num_attention_heads", "0", PK_CORRUPT, "num_attention_heads is 0"},
    {"num_attention_heads", "3", PK_CORRUPT, "num_key_value_heads is 2, expected a divisor of num_attention_heads 3"},
    {"num_key_value_heads", "0", PK_CORRUPT, "num_key_value_heads is 0"},
    {"num_key_value_heads", NULL, PK_CORRUPT, "num_key_value_heads is 8 (the default), expected a divisor"},
    {"head_dim", "0", PK_CORRUPT, "head_dim is 0"},
    {"head_dim", "2048", PK_CORRUPT, "head_dim is 2048, expected an integer from 1 to 1024"},
    {"rotary_dim", "7", PK_CORRUPT, "rotary_dim is 7, expected an even number"},
    {"rotary_dim", "18", PK_CORRUPT, "rotary_dim is 18, expected an integer from 2 to 16"},
    {"rotary_dim", "0", PK_CORRUPT, "rotary_dim is 0"},
    {"rope_theta", "0", PK_CORRUPT, "rope_theta is 0, expected a number from 1 to 1e+15"},
    {"rope_theta", "\"1e6\"", PK_CORRUPT, "rope_theta is \"1e6\", expected a number"},
    {"rope_theta", "NaN", PK_CORRUPT, "JSON at line 1"},
    {"rope_theta", "1e999", PK_CORRUPT, "overflow"},
    {"attn_type_list", NULL, PK_CORRUPT, "attn_type_list is nothing, expected an array of num_hidden_layers (2)"},
    {"attn_type_list", "[0]", PK_CORRUPT, "attn_type_list has 1 items, expected an array of num_hidden_layers (2)"},
    {"attn_type_list", "[0, 2]", PK_CORRUPT, "attn_type_list[1] is 2, expected 0 (lightning) or 1 (softmax)"},
    {"attn_type_list", "[0, true]", PK_CORRUPT, "attn_type_list[1] is true"},
    {"num_hidden_layers", "0", PK_CORRUPT, "num_hidden_layers is 0, expected an integer from 1 to 1024"},
    {"num_hidden_layers", "2000", PK_CORRUPT, "num_hidden_layers is 2000"},
    {"intermediate_size", "0", PK_CORRUPT, "intermediate_size is 0"},
    {"num_local_experts", "0", PK_CORRUPT, "num_local_experts is 0"},
    {"num_local_experts", "[4, 4]", PK_CORRUPT, "num_local_experts is an array"},
    {"num_experts_per_tok", "5", PK_CORRUPT, "num_experts_per_tok is 5, expected at most num_local_experts (4)"},
    {"num_experts_per_tok", "0", PK_CORRUPT, "num_experts_per_tok is 0"},
    {"shared_intermediate_size", "-1", PK_CORRUPT, "shared_intermediate_size is -1"},
    {"shared_moe_mode", "\"softmax\"", PK_INVALID, "shared_moe_mode is \"softmax\", expected \"sigmoid\""},
    {"hidden_act", "\"gelu\"", PK_INVALID, "hidden_act is \"gelu\", expected \"silu\""},
    {"postnorm", "1", PK_CORRUPT, "postnorm is 1, expected true or false"},
    {"rms_norm_eps", "-1e-5", PK_CORRUPT, "rms_norm_eps is -1e-05, expected a number from 0 to 1"},
    {"layernorm_mlp_alpha", "\"x\"", PK_CORRUPT, "layernorm_mlp_alpha is \"x\", expected a number"},
    {"layernorm_full_attention_beta", "1e300", PK_CORRUPT, "layernorm_full_attention_beta is 1e+300"},
    {"vocab_size", "0", PK_CORRUPT, "vocab_size is 0"},
    {"max_position_embeddings", "0", PK_CORRUPT, "max_position_embeddings is 0"},
    {"tie_word_embeddings", "\"no\"", PK_CORRUPT, "tie_word_embeddings is \"no\""},
    {"eos_token_id", "100", PK_CORRUPT, "eos_token_id is 100, expected an id below vocab_size (100)"},
    {"eos_token_id", "[1, -1]", PK_CORRUPT, "eos_token_id is -1"},
    {"eos_token_id", "\"</s>\"", PK_CORRUPT, "eos_token_id is \"</s>\""},
    {"eos_token_id", "[0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16]", PK_CORRUPT, "eos_token_id has more than 16 ids"},
};

static void what_cannot_be_honoured_is_refused_by_name(void **state)
{
    (void)state;
    pk_model_config config;
    static const pk_model_config zero;
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        const struct refusal *one = &refusals[i];
        pk_err err = parse(&config, one->field, one->value);
        if (err != one->err || !strstr(pk_error_text(), one->words) ||
            strncmp(pk_error_text(), "model/config.json: ", strlen("model/config.json: ")))
            fail_msg("%s = %s: %s: %s; expected %s: …%s…", one->field, one->value ? one->value : "(absent)",
                     pk_err_name(err), err ? pk_error_text() : "", pk_err_name(one->err), one->words);
        assert_memory_equal(&config, &zero, sizeof zero);
    }
}

static void head_dim_is_not_derived_from_what_does_not_divide(void **state)
{
    (void)state;
    pk_model_config config;
    assert_int_equal(parse2(&config, "head_dim", NULL, "hidden_size", "66"), PK_CORRUPT);
    assert_non_null(strstr(pk_error_text(), "hidden_size 66 is not a multiple of num_attention_heads 4"));
    assert_int_equal(parse2(&config, "num_attention_heads", "4096", "head_dim", "1024"), PK_CORRUPT);
    assert_non_null(strstr(pk_error_text(), "num_attention_heads × head_dim is 4194304"));
}

static void duplicate_fields_are_refused(void **state)
{
    (void)state;
    pk_model_config config;
    static const char text[] = "{\"hidden_size\": 64, \"hidden_size\": 32}";
    assert_int_equal(pk_config_parse(&config, "c", text, strlen(text)), PK_CORRUPT);
    assert_non_null(strstr(pk_error_text(), "duplicate"));
    assert_int_equal(pk_config_parse(&config, "c", "[]", 2), PK_CORRUPT);
    assert_non_null(strstr(pk_error_text(), "holds an array, expected an object"));
}

static void fields_that_do_not_matter_are_ignored(void **state)
{
    (void)state;
    pk_model_config config;
    assert_parsed(parse2(&config, "torch_dtype", "\"bfloat16\"", "auto_map", "{\"AutoConfig\": \"x.Y\"}"));
    assert_parsed(parse2(&config, "sliding_window", "null", "partial_rotary_factor", "null"));
}

static void a_missing_directory_is_named(void **state)
{
    (void)state;
    pk_model_config config;
    assert_int_equal(pk_config_read(&config, "/no/such/model"), PK_IO);
    assert_string_equal(pk_error_text(), "open /no/such/model/config.json: No such file or directory");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_configs_are_read),
        cmocka_unit_test(missing_fields_take_the_documented_defaults),
        cmocka_unit_test(eos_is_an_id_a_list_or_null),
        cmocka_unit_test(the_dialect_of_transformers_own_tree_is_read),
        cmocka_unit_test(where_transformers_differs_depends_on_the_model),
        cmocka_unit_test(a_field_may_have_both_names_if_they_say_the_same),
        cmocka_unit_test(what_cannot_be_honoured_is_refused_by_name),
        cmocka_unit_test(head_dim_is_not_derived_from_what_does_not_divide),
        cmocka_unit_test(duplicate_fields_are_refused),
        cmocka_unit_test(fields_that_do_not_matter_are_ignored),
        cmocka_unit_test(a_missing_directory_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
