#include "loader/quantization.h"

#include <inttypes.h>
#include <string.h>

/* One scheme for each type: its name in the config. */
static const char *format_of(pk_dtype dtype)
{
    return dtype == PK_I8 ? "int-quantized" : "pack-quantized";
}

static bool absent_or_null(const pk_json *object, const char *field)
{
    const pk_json *value = pk_json_member(object, field);
    return !value || pk_json_kind_of(value) == PK_JSON_NULL;
}

static pk_err expect_object(const pk_json *value, const char *field)
{
    char shown[PK_JSON_SHOW];
    return pk_json_kind_of(value) == PK_JSON_OBJECT
               ? PK_OK
               : pk_fail(PK_CORRUPT, "%s is %s, expected an object", field, pk_json_show(shown, value));
}

static pk_err expect_word(const pk_json *object, const char *field, const char *word)
{
    char shown[PK_JSON_SHOW];
    const pk_json *value = pk_json_member(object, field);
    const char *found = value ? pk_json_string(value) : NULL;
    if (found && !strcmp(found, word))
        return PK_OK;
    return pk_fail(PK_INVALID, "%s is %s, expected \"%s\": nothing else is in this version", field,
                   pk_json_show(shown, value), word);
}

static pk_err expect_number(const pk_json *object, const char *field, int64_t number)
{
    int64_t found;
    char shown[PK_JSON_SHOW];
    const pk_json *value = pk_json_member(object, field);
    if (value && pk_json_integer(value, &found) && found == number)
        return PK_OK;
    return pk_fail(PK_INVALID, "%s is %s, expected %" PRId64 ": nothing else is in this version", field,
                   pk_json_show(shown, value), number);
}

/* A member that must be this flag; `needed` or else may be absent or null. */
static pk_err expect_flag(const pk_json *object, const char *field, bool flag, bool needed)
{
    char shown[PK_JSON_SHOW];
    const pk_json *value = pk_json_member(object, field);
    if ((value && pk_json_kind_of(value) == (flag ? PK_JSON_TRUE : PK_JSON_FALSE)) ||
        (!needed && absent_or_null(object, field)))
        return PK_OK;
    return pk_fail(PK_INVALID, "%s is %s, expected %s: nothing else is in this version", field,
                   pk_json_show(shown, value), flag ? "true" : "false");
}

static pk_err expect_null(const pk_json *object, const char *field)
{
    char shown[PK_JSON_SHOW];
    return absent_or_null(object, field)
               ? PK_OK
               : pk_fail(PK_INVALID, "%s is %s, expected null: not in this version", field,
                         pk_json_show(shown, pk_json_member(object, field)));
}

static pk_err check_weights(const pk_json *weights, pk_dtype dtype)
{
    pk_err err = weights ? expect_object(weights, "weights") : pk_fail(PK_CORRUPT, "has no weights");
    if (!err)
        err = expect_number(weights, "num_bits", (int64_t)pk_dtype_bits(dtype));
    if (!err)
        err = expect_word(weights, "type", "int");
    if (!err)
        err = expect_flag(weights, "symmetric", true, true);
    if (!err)
        err = expect_word(weights, "strategy", "group");
    if (!err)
        err = expect_number(weights, "group_size", PK_GROUP);
    if (!err)
        err = expect_flag(weights, "dynamic", false, false);
    return err ? err : expect_null(weights, "actorder");
}

static pk_err check_groups(const pk_json *groups, pk_dtype dtype)
{
    void *at = NULL;
    const char *name;
    const pk_json *group;
    pk_err err = groups ? expect_object(groups, "config_groups") : pk_fail(PK_CORRUPT, "has no config_groups");
    if (!err && !pk_json_count(groups))
        err = pk_fail(PK_CORRUPT, "config_groups is empty, expected at least one group");
    while (!err && pk_json_next(groups, &at, &name, &group)) {
        err = expect_object(group, name);
        if (!err)
            err = check_weights(pk_json_member(group, "weights"), dtype);
        if (!err)
            err = expect_null(group, "input_activations");
        if (!err)
            err = expect_null(group, "output_activations");
        err = pk_pass(err, "config_groups.%.40s", name);
    }
    return err;
}

static pk_err find_format(const pk_json *value, pk_dtype *out)
{
    const pk_json *format = pk_json_member(value, "format");
    const char *word = format ? pk_json_string(format) : NULL;
    char shown[PK_JSON_SHOW];
    static const pk_dtype known[] = {PK_I8, PK_I4};
    for (size_t i = 0; word && i < sizeof known / sizeof *known; i++)
        if (!strcmp(word, format_of(known[i]))) {
            *out = known[i];
            return PK_OK;
        }
    return pk_fail(PK_INVALID,
                   "format is %s, expected \"int-quantized\" or \"pack-quantized\": nothing else is in this version",
                   pk_json_show(shown, format));
}

pk_err pk_quantization_parse(pk_dtype *out, const pk_json *value)
{
    pk_err err = expect_object(value, "quantization_config");
    if (err)
        return err;
    if (!(err = expect_word(value, "quant_method", "compressed-tensors")) && !(err = find_format(value, out)) &&
        !(err = check_groups(pk_json_member(value, "config_groups"), *out)))
        err = expect_null(value, "kv_cache_scheme");
    return pk_pass(err, "quantization_config");
}

#define KEPT "\"lm_head\", \"re:.*block_sparse_moe\\\\.gate$\", \"re:.*coefficient$\""
#define TEXT(format, bits, ignore)                                                                                     \
    "{\n"                                                                                                              \
    "    \"quant_method\": \"compressed-tensors\",\n"                                                                  \
    "    \"format\": \"" format "\",\n"                                                                                \
    "    \"quantization_status\": \"compressed\",\n"                                                                   \
    "    \"config_groups\": {\n"                                                                                       \
    "      \"group_0\": {\n"                                                                                           \
    "        \"targets\": [\"Linear\"],\n"                                                                             \
    "        \"weights\": {\"num_bits\": " bits ", \"type\": \"int\", \"symmetric\": true, \"strategy\": \"group\", "  \
    "\"group_size\": 64, \"dynamic\": false, \"actorder\": null},\n"                                                   \
    "        \"input_activations\": null,\n"                                                                           \
    "        \"output_activations\": null\n"                                                                           \
    "      }\n"                                                                                                        \
    "    },\n"                                                                                                         \
    "    \"kv_cache_scheme\": null,\n"                                                                                 \
    "    \"ignore\": [" ignore "]\n"                                                                                   \
    "  }"
#define KEPT_BY_EXPERTS KEPT ", \"re:.*self_attn\\\\..*\", \"re:.*shared_mlp\\\\..*\""

const char *pk_quantization_text(pk_dtype dtype, pk_quantize_what what)
{
    _Static_assert(PK_GROUP == 64, "the texts say so");
    if (dtype == PK_I8)
        return what == PK_QUANTIZE_EXPERTS ? TEXT("int-quantized", "8", KEPT_BY_EXPERTS)
                                           : TEXT("int-quantized", "8", KEPT);
    return what == PK_QUANTIZE_EXPERTS ? TEXT("pack-quantized", "4", KEPT_BY_EXPERTS)
                                       : TEXT("pack-quantized", "4", KEPT);
}

uint64_t pk_quantized_columns(pk_dtype dtype, uint64_t inputs)
{
    return dtype == PK_I8 ? inputs : (inputs + 7) / 8;
}

pk_dtype pk_quantized_stored(pk_dtype dtype)
{
    return dtype == PK_I8 ? PK_I8 : PK_I32;
}

size_t pk_quantized_ending(const char *name)
{
    static const char *const endings[] = {PK_QUANTIZED_PACKED, PK_QUANTIZED_SCALE, PK_QUANTIZED_SHAPE};
    static const char weight[] = ".weight";
    size_t length = strlen(name), before = strlen(weight);
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        size_t ending = strlen(endings[i]);
        if (length > before + ending && !strcmp(name + length - ending, endings[i]) &&
            !memcmp(name + length - ending - before, weight, before))
            return ending;
    }
    return 0;
}
