/* survey_faults.c - what the config asks for beside what is there. */
#include "loader/survey.h"

#include "loader/quantization.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NEAREST_MAX = 8 }; /* missing tensors for which the likely slip is looked for: each look costs a walk */

pk_survey_part pk_survey_part_of(pk_weight weight, const pk_model_config *config)
{
    switch (weight.role) {
    case PK_WEIGHT_EMBED:
        return PK_SURVEY_PART_EMBEDDING;
    case PK_WEIGHT_HEAD:
        return PK_SURVEY_PART_HEAD;
    case PK_WEIGHT_FINAL_NORM:
    case PK_WEIGHT_INPUT_NORM:
    case PK_WEIGHT_POST_ATTENTION_NORM:
        return PK_SURVEY_PART_NORMS;
    case PK_WEIGHT_ROUTER:
        return PK_SURVEY_PART_ROUTERS;
    default:
        break;
    }
    pk_weight_scope scope = pk_weight_scope_of(weight.role);
    if (scope == PK_WEIGHT_OF_EXPERT)
        return PK_SURVEY_PART_EXPERTS;
    if (scope == PK_WEIGHT_OF_SHARED_EXPERT)
        return PK_SURVEY_PART_SHARED;
    return config->kind[weight.layer] == PK_LAYER_LIGHTNING ? PK_SURVEY_PART_LIGHTNING : PK_SURVEY_PART_SOFTMAX;
}

static pk_err find_naming(pk_survey *survey)
{
    const char *first[] = {[PK_NAMES_OFFICIAL] = NULL, [PK_NAMES_IN_TREE] = NULL};
    for (size_t i = 0; i < survey->tensor_count; i++) {
        pk_naming naming = pk_naming_of_name(survey->tensors[i].name);
        if (naming && !first[naming])
            first[naming] = survey->tensors[i].name;
    }
    survey->naming = first[PK_NAMES_IN_TREE] && !first[PK_NAMES_OFFICIAL] ? PK_NAMES_IN_TREE : PK_NAMES_OFFICIAL;
    if (!first[PK_NAMES_OFFICIAL] || !first[PK_NAMES_IN_TREE])
        return PK_OK;
    return pk_survey_add_fault(
        survey, PK_SURVEY_FAULT_NAMES, first[PK_NAMES_IN_TREE],
        "tensor %s has the name of published files and tensor %s that of transformers' own tree, "
        "expected all names of one kind",
        first[PK_NAMES_OFFICIAL], first[PK_NAMES_IN_TREE]);
}

static const char *nearest_of(const pk_survey *survey, const char *missing)
{
    const char *nearest = NULL;
    size_t best = PK_WEIGHT_LIST_NEAR(missing);
    for (size_t i = 0; i < survey->tensor_count; i++)
        if (pk_weight_list_nearer(&survey->expected, missing, survey->tensors[i].name, &best))
            nearest = survey->tensors[i].name;
    return nearest;
}

static pk_err add_missing(pk_survey *survey, const pk_weight_place *place)
{
    char shape[PK_TENSOR_SHAPE_TEXT];
    const char *nearest = survey->missing_count++ < NEAREST_MAX ? nearest_of(survey, place->name) : NULL;
    return pk_survey_add_fault(survey, PK_SURVEY_FAULT_MISSING, place->name,
                               "tensor %s is missing, expected it with shape %s%s%s", place->name,
                               pk_tensor_shape_text(shape, place->rank, place->shape),
                               nearest ? "; the nearest name there is " : "", nearest ? nearest : "");
}

/* The tensor `name` with an ending of quantised weights; NULL: not there. */
static const pk_survey_tensor *find_beside(const pk_survey *survey, const char *name, const char *ending)
{
    char whole[PK_WEIGHT_NAME_BYTES + 16];
    snprintf(whole, sizeof whole, "%s%s", name, ending);
    return pk_survey_find(survey, whole);
}

/* The tensor with a weight's values, and whether they are integers: *quantised is 0, PK_I8 or PK_I4. */
static const pk_survey_tensor *find_values(const pk_survey *survey, const pk_weight_place *place, pk_weight_role role,
                                           pk_dtype *quantised)
{
    const pk_survey_tensor *tensor = pk_survey_find(survey, place->name), *packed = NULL;
    *quantised = (pk_dtype)0;
    if (!survey->config.quantised || !pk_weight_quantizes(place, role))
        return tensor;
    if (survey->config.quantised == PK_I4)
        packed = find_beside(survey, place->name, PK_QUANTIZED_PACKED);
    else if (tensor && tensor->entry && tensor->entry->dtype == PK_I8)
        *quantised = PK_I8;
    *quantised = packed ? PK_I4 : *quantised;
    return packed ? packed : tensor;
}

/* The sizes that the config does not know come from the layer's gate_proj. */
static void fill_shared(const pk_survey *survey, const pk_weight_item *item, pk_weight_place *place)
{
    pk_weight gate = {.role = PK_WEIGHT_SHARED_GATE, .layer = item->weight.layer};
    if (pk_weight_scope_of(item->weight.role) != PK_WEIGHT_OF_SHARED_EXPERT)
        return;
    pk_weight_place there = pk_weight_stored(&survey->config, survey->naming, gate);
    pk_dtype quantised;
    const pk_survey_tensor *tensor = find_values(survey, &there, gate.role, &quantised);
    for (unsigned i = 0; i < place->rank && tensor && tensor->entry && tensor->entry->rank; i++)
        if (!place->shape[i])
            place->shape[i] = tensor->entry->shape[0];
}

static bool shape_fits(const pk_tensor_entry *entry, const pk_weight_place *place)
{
    bool fits = entry->rank == place->rank;
    for (unsigned i = 0; i < place->rank && fits; i++)
        fits = place->shape[i] ? entry->shape[i] == place->shape[i] : entry->shape[i] > 0;
    return fits;
}

/* dtype 0: any of F32, BF16, F16. */
static pk_err check_tensor(pk_survey *survey, const pk_tensor_entry *entry, const pk_weight_place *place,
                           pk_dtype dtype)
{
    char found[PK_TENSOR_SHAPE_TEXT], expected[PK_TENSOR_SHAPE_TEXT];
    bool is_float = entry->dtype == PK_F32 || entry->dtype == PK_BF16 || entry->dtype == PK_F16;
    if (!shape_fits(entry, place))
        return pk_survey_add_fault(survey, PK_SURVEY_FAULT_SHAPE, entry->name, "tensor %s has shape %s, expected %s",
                                   entry->name, pk_tensor_shape_text(found, entry->rank, entry->shape),
                                   pk_tensor_shape_text(expected, place->rank, place->shape));
    if (dtype ? entry->dtype != dtype : !is_float)
        return pk_survey_add_fault(survey, PK_SURVEY_FAULT_DTYPE, entry->name, "tensor %s is stored as %s, expected %s",
                                   entry->name, entry->dtype_name,
                                   dtype ? pk_dtype_name(dtype) : "F32, BF16 or F16");
    return PK_OK;
}

/* `values` is there; the scales must be, too. *scales: NULL where they are not, or only the index knows them. */
static pk_err check_quantised(pk_survey *survey, const pk_tensor_entry *values, const pk_weight_place *place,
                              pk_dtype dtype, const pk_tensor_entry **scales)
{
    pk_weight_place beside = *place;
    const pk_survey_tensor *tensor = find_beside(survey, place->name, PK_QUANTIZED_SCALE);
    const pk_survey_tensor *other = dtype == PK_I4 ? pk_survey_find(survey, place->name) : NULL;
    *scales = tensor ? tensor->entry : NULL;
    beside.shape[1] = pk_quantized_columns(dtype, place->shape[1]);
    pk_err err = values ? check_tensor(survey, values, &beside, pk_quantized_stored(dtype)) : PK_OK;
    beside.shape[1] = pk_groups(place->shape[1]);
    if (!err && *scales)
        err = check_tensor(survey, *scales, &beside, (pk_dtype)0);
    if (!err && other)
        err = pk_survey_add_fault(survey, PK_SURVEY_FAULT_NAMES, place->name,
                                  "has both tensor %s and tensor %s" PK_QUANTIZED_PACKED ", expected one of them",
                                  place->name, place->name);
    if (err || tensor)
        return err;
    snprintf(beside.name, sizeof beside.name, "%.*s" PK_QUANTIZED_SCALE, PK_WEIGHT_NAME_BYTES - 16, place->name);
    return add_missing(survey, &beside);
}

static void count(pk_survey *survey, const pk_weight_item *item, const pk_weight_place *place,
                  const pk_tensor_entry *entry, const pk_tensor_entry *scales)
{
    pk_survey_sum *sums[] = {&survey->sum, &survey->parts[pk_survey_part_of(item->weight, &survey->config)]};
    uint64_t parameters = 1;
    for (unsigned i = 0; i < place->rank; i++)
        parameters *= place->shape[i];
    for (size_t i = 0; i < 2; i++) {
        sums[i]->tensors++;
        sums[i]->parameters += parameters;
        sums[i]->bytes += (entry ? entry->bytes : 0) + (scales ? scales->bytes : 0);
    }
}

static pk_err compare_expected(pk_survey *survey)
{
    pk_err err = PK_OK;
    for (size_t i = 0; i < survey->expected.count && !err; i++) {
        const pk_weight_item *item = &survey->expected.items[i];
        pk_weight_place place = item->place;
        pk_dtype quantised;
        const pk_survey_tensor *tensor = find_values(survey, &place, item->weight.role, &quantised);
        const pk_tensor_entry *scales = NULL;
        fill_shared(survey, item, &place);
        if (!tensor && survey->tensor_count)
            err = add_missing(survey, &place);
        else if (quantised)
            err = check_quantised(survey, tensor->entry, &place, quantised, &scales);
        else if (tensor && tensor->entry)
            err = check_tensor(survey, tensor->entry, &place, (pk_dtype)0);
        count(survey, item, &place, tensor ? tensor->entry : NULL, scales);
    }
    return err;
}

/* Of a quantised model what stands beside a weight is the model's too. */
static bool is_expected(const pk_survey *survey, const char *name)
{
    char weight[PK_TENSOR_NAME_MAX + 1];
    size_t ending = survey->config.quantised ? pk_quantized_ending(name) : 0;
    snprintf(weight, sizeof weight, "%.*s", (int)(strlen(name) - ending), name);
    return pk_weight_list_find(&survey->expected, weight);
}

static pk_err collect_extra(pk_survey *survey)
{
    if (!(survey->extra = calloc(survey->tensor_count + 1, sizeof *survey->extra)))
        return pk_fail(PK_NOMEM, "no memory for %zu names", survey->tensor_count);
    for (size_t i = 0; i < survey->tensor_count; i++) {
        const char *name = survey->tensors[i].name;
        if (pk_weight_is_constant(name))
            survey->constant_count++;
        else if (!is_expected(survey, name))
            survey->extra[survey->extra_count++] = name;
    }
    return PK_OK;
}

static void count_dtypes(pk_survey *survey)
{
    for (size_t i = 0; i < survey->tensor_count; i++) {
        const pk_tensor_entry *entry = survey->tensors[i].entry;
        size_t at = 0;
        if (!entry)
            continue;
        while (at < survey->dtype_count && strcmp(survey->dtypes[at].dtype, entry->dtype_name))
            at++;
        assert(at < PK_SURVEY_DTYPES_MAX); /* the format has no more */
        survey->dtype_count += at == survey->dtype_count;
        survey->dtypes[at].dtype = entry->dtype_name;
        survey->dtypes[at].tensors++;
        survey->dtypes[at].bytes += entry->bytes;
    }
}

pk_err pk_survey_compare(pk_survey *survey)
{
    pk_err err = find_naming(survey);
    count_dtypes(survey);
    if (err || !survey->has_config)
        return err;
    err = pk_weight_list_init(&survey->expected, &survey->config, survey->naming);
    if (err == PK_INVALID) {
        survey->has_config = false;
        return pk_survey_add_fault(survey, PK_SURVEY_FAULT_CONFIG, "config.json",
                                   "config.json: asks for more than %d tensors", PK_WEIGHT_LIST_MAX);
    }
    if (!err && !(err = compare_expected(survey)))
        err = collect_extra(survey);
    return err;
}
