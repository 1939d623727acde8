#include "loader/names.h"

#include "loader/quantization.h"
#include "loader/weight_list.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

/* Sizes of the model that shapes are made of. */
enum size {
    SIZE_NONE,
    SIZE_ONE,
    SIZE_H,
    SIZE_A,
    SIZE_A3,
    SIZE_G,
    SIZE_V,
    SIZE_E,
    SIZE_F,
    SIZE_S,
};

static const struct weight {
    pk_weight_scope scope;
    const char *name;
    enum size rows, columns;
} weights[PK_WEIGHT_ROLES] = {
#define X(role, scope, name, rows, columns)                                                                            \
    [PK_WEIGHT_##role] = {PK_WEIGHT_OF_##scope, name, SIZE_##rows, SIZE_##columns},
    PK_WEIGHTS(X)
#undef X
};

static uint64_t size_of(const pk_model_config *config, enum size size)
{
    switch (size) {
    case SIZE_NONE:
    case SIZE_S:
        return 0;
    case SIZE_ONE:
        return 1;
    case SIZE_H:
        return config->hidden;
    case SIZE_A:
        return config->heads * config->head_dim;
    case SIZE_A3:
        return 3 * config->heads * config->head_dim;
    case SIZE_G:
        return config->kv_heads * config->head_dim;
    case SIZE_V:
        return config->vocab;
    case SIZE_E:
        return config->experts;
    case SIZE_F:
        return config->inner;
    }
    return 0;
}

pk_weight_scope pk_weight_scope_of(pk_weight_role role)
{
    assert(role < PK_WEIGHT_ROLES);
    return weights[role].scope;
}

bool pk_weight_exists(const pk_model_config *config, pk_weight weight)
{
    if (weight.role >= PK_WEIGHT_ROLES)
        return false;
    pk_weight_scope scope = weights[weight.role].scope;
    if (scope == PK_WEIGHT_OF_MODEL)
        return weight.role != PK_WEIGHT_HEAD || !config->tie_word_embeddings;
    if (weight.layer >= config->layers)
        return false;
    switch (scope) {
    case PK_WEIGHT_OF_LIGHTNING_LAYER:
        return config->kind[weight.layer] == PK_LAYER_LIGHTNING;
    case PK_WEIGHT_OF_SOFTMAX_LAYER:
        return config->kind[weight.layer] == PK_LAYER_SOFTMAX;
    case PK_WEIGHT_OF_EXPERT:
        return weight.expert < config->experts;
    case PK_WEIGHT_OF_SHARED_EXPERT:
        return config->shared_expert;
    case PK_WEIGHT_OF_MODEL:
    case PK_WEIGHT_OF_LAYER:
        break;
    }
    return true;
}

pk_weight_spec pk_weight_describe(const pk_model_config *config, pk_weight weight)
{
    assert(pk_weight_exists(config, weight));
    const struct weight *about = &weights[weight.role];
    pk_weight_spec spec = {
        .rank = about->columns == SIZE_NONE ? 1 : 2,
        .shape = {size_of(config, about->rows), size_of(config, about->columns)},
    };
    if (about->scope == PK_WEIGHT_OF_MODEL)
        snprintf(spec.name, sizeof spec.name, "%s", about->name);
    else if (about->scope == PK_WEIGHT_OF_EXPERT)
        snprintf(spec.name, sizeof spec.name, "model.layers.%zu.block_sparse_moe.experts.%zu.%s", weight.layer,
                 weight.expert, about->name);
    else
        snprintf(spec.name, sizeof spec.name, "model.layers.%zu.%s", weight.layer, about->name);
    return spec;
}

pk_weight_place pk_weight_stored(const pk_model_config *config, pk_naming naming, pk_weight weight)
{
    pk_weight_spec spec = pk_weight_describe(config, weight);
    pk_weight_place place = {.rank = spec.rank, .shape = {spec.shape[0], spec.shape[1]}};
    memcpy(place.name, spec.name, sizeof place.name);
    if (naming != PK_NAMES_IN_TREE)
        return place;
    if (weight.role == PK_WEIGHT_ROUTER)
        snprintf(place.name, sizeof place.name, "model.layers.%zu.mlp.gate.weight", weight.layer);
    if (weights[weight.role].scope != PK_WEIGHT_OF_EXPERT)
        return place;
    bool down = weight.role == PK_WEIGHT_EXPERT_DOWN;
    uint64_t rows_each = down ? config->hidden : 2 * config->inner; /* w1's rows, then w3's */
    snprintf(place.name, sizeof place.name, "model.layers.%zu.mlp.experts.%s", weight.layer,
             down ? "down_proj" : "gate_up_proj");
    place.rank = 3;
    place.shape[0] = config->experts;
    place.shape[1] = rows_each;
    place.shape[2] = spec.shape[1];
    place.fused = true;
    place.rows = spec.shape[0];
    place.first_row = weight.expert * rows_each + (weight.role == PK_WEIGHT_EXPERT_UP ? config->inner : 0);
    return place;
}

pk_naming pk_naming_of_name(const char *name)
{
    if (strncmp(name, "model.layers.", strlen("model.layers.")))
        return PK_NAMES_NEUTRAL;
    if (strstr(name, ".block_sparse_moe."))
        return PK_NAMES_OFFICIAL;
    return strstr(name, ".mlp.") ? PK_NAMES_IN_TREE : PK_NAMES_NEUTRAL;
}

pk_err pk_naming_of(const pk_checkpoint *checkpoint, pk_naming *out)
{
    const char *first[] = {[PK_NAMES_OFFICIAL] = NULL, [PK_NAMES_IN_TREE] = NULL};
    for (size_t i = 0; i < pk_checkpoint_count(checkpoint); i++) {
        const char *name = pk_checkpoint_at(checkpoint, i)->name;
        pk_naming naming = pk_naming_of_name(name);
        if (naming && !first[naming])
            first[naming] = name;
    }
    if (first[PK_NAMES_OFFICIAL] && first[PK_NAMES_IN_TREE])
        return pk_fail(PK_CORRUPT,
                       "%s: tensor %s has the name of published files and tensor %s that of transformers' own tree, "
                       "expected all names of one kind",
                       pk_checkpoint_dir(checkpoint), first[PK_NAMES_OFFICIAL], first[PK_NAMES_IN_TREE]);
    *out = first[PK_NAMES_IN_TREE] ? PK_NAMES_IN_TREE : PK_NAMES_OFFICIAL;
    return PK_OK;
}

bool pk_weight_is_constant(const char *name)
{
    static const char *const endings[] = {".self_attn.slope_rate", ".self_attn.query_decay", ".self_attn.key_decay",
                                          ".self_attn.diagonal_decay"};
    size_t length = strlen(name);
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++)
        if (length > strlen(endings[i]) && !strcmp(name + length - strlen(endings[i]), endings[i]))
            return true;
    return false;
}

/* Puts the likely slip behind the message that a tensor is missing. */
static pk_err name_nearest(const pk_checkpoint *checkpoint, const pk_model_config *config, pk_naming naming,
                           const pk_weight_place *place, pk_err err)
{
    char message[PK_ERROR_TEXT_BYTES];
    pk_weight_list list;
    snprintf(message, sizeof message, "%s", pk_error_text());
    if (pk_weight_list_init(&list, config, naming))
        return pk_fail(err, "%s", message);
    const char *nearest = NULL;
    size_t best = PK_WEIGHT_LIST_NEAR(place->name);
    for (size_t i = 0; i < pk_checkpoint_count(checkpoint); i++)
        if (pk_weight_list_nearer(&list, place->name, pk_checkpoint_at(checkpoint, i)->name, &best))
            nearest = pk_checkpoint_at(checkpoint, i)->name;
    err = pk_fail(err, "%s%s%s", message, nearest ? "; the nearest name there is " : "", nearest ? nearest : "");
    pk_weight_list_fini(&list);
    return err;
}

static pk_err require(const pk_checkpoint *checkpoint, const pk_model_config *config, pk_naming naming,
                      const pk_weight_place *place, const pk_tensor_entry **out)
{
    pk_err err = pk_checkpoint_require(checkpoint, place->name, place->rank, place->shape, out);
    return err && !pk_checkpoint_find(checkpoint, place->name) ? name_nearest(checkpoint, config, naming, place, err)
                                                               : err;
}

bool pk_weight_quantizes(const pk_weight_place *place, pk_weight_role role)
{
    return place->rank == 2 && !place->fused && role != PK_WEIGHT_EMBED;
}

/* Behind the name of a weight; NUL-terminated in any case. */
static void append(char out[PK_WEIGHT_NAME_BYTES], const char *name, const char *ending)
{
    snprintf(out, PK_WEIGHT_NAME_BYTES, "%.*s%s", PK_WEIGHT_NAME_BYTES - 16, name, ending);
}

/* As what the weight of this place is stored, where the model's config allows integers. PK_CORRUPT: as both. */
static pk_err stored_as(const pk_checkpoint *checkpoint, pk_dtype quantised, const pk_weight_place *place, pk_dtype *out)
{
    char packed[PK_WEIGHT_NAME_BYTES];
    const pk_tensor_entry *plain = pk_checkpoint_find(checkpoint, place->name);
    append(packed, place->name, PK_QUANTIZED_PACKED);
    bool is_packed = pk_checkpoint_find(checkpoint, packed);
    *out = (pk_dtype)0;
    if (quantised == PK_I8 && plain && plain->dtype == PK_I8)
        *out = PK_I8;
    if (quantised != PK_I4 || !is_packed)
        return PK_OK;
    *out = PK_I4;
    return plain ? pk_fail(PK_CORRUPT, "%s: has both tensor %s and tensor %s, expected one of them",
                           pk_checkpoint_dir(checkpoint), place->name, packed)
                 : PK_OK;
}

/* Integers and scales; place->shape is known, but for a shared expert's inner size. */
static pk_err find_quantised(const pk_checkpoint *checkpoint, pk_dtype dtype, const pk_weight_place *place,
                             pk_weight_entry *out)
{
    char name[PK_WEIGHT_NAME_BYTES];
    const pk_tensor_entry *values = NULL, *scales = NULL;
    uint64_t inputs = place->shape[1], shape[2] = {place->shape[0], pk_quantized_columns(dtype, inputs)};
    append(name, place->name, dtype == PK_I4 ? PK_QUANTIZED_PACKED : "");
    pk_err err = pk_checkpoint_require_as(checkpoint, pk_quantized_stored(dtype), name, 2, shape, &values);
    append(name, place->name, PK_QUANTIZED_SCALE);
    shape[1] = pk_groups(inputs);
    if (!err)
        err = pk_checkpoint_require(checkpoint, name, 2, shape, &scales);
    if (!err)
        *out = (pk_weight_entry){
            .dtype = dtype, .shape = {values->shape[0], inputs}, .values = *values, .scales = *scales};
    return err;
}

/* Official sizes this MLP by intermediate_size, others by shared_intermediate_size: the tensors decide. Also a
 * quantised gate_proj has the inner size as its rows, whose length is known. */
static pk_err find_shared_inner(const pk_checkpoint *checkpoint, const pk_model_config *config, pk_naming naming,
                                size_t layer, uint64_t *out)
{
    pk_dtype dtype;
    pk_weight_entry gate;
    const pk_tensor_entry *entry = NULL;
    pk_weight_place place =
        pk_weight_stored(config, naming, (pk_weight){.role = PK_WEIGHT_SHARED_GATE, .layer = layer});
    pk_err err = stored_as(checkpoint, config->quantised, &place, &dtype);
    if (!err && dtype && !(err = find_quantised(checkpoint, dtype, &place, &gate)))
        entry = &gate.values;
    else if (!err)
        err = require(checkpoint, config, naming, &place, &entry);
    if (err)
        return err;
    if (entry->shape[0] > PK_MODEL_INNER_MAX)
        return pk_fail(PK_CORRUPT, "tensor %s has %ju rows, expected at most %d", entry->name,
                       (uintmax_t)entry->shape[0], PK_MODEL_INNER_MAX);
    *out = entry->shape[0];
    return PK_OK;
}

/* The rows of a fused tensor that are this weight, as a matrix of their own. */
static pk_tensor_entry cut_out(const pk_tensor_entry *fused, const pk_weight_place *place)
{
    pk_tensor_entry part = *fused;
    uint64_t row_bytes = pk_tensor_row_bytes(fused);
    part.rank = 2;
    part.shape[0] = place->rows;
    part.shape[1] = place->shape[2];
    part.offset += place->first_row * row_bytes;
    part.bytes = place->rows * row_bytes;
    return part;
}

static pk_err find_place(const pk_checkpoint *checkpoint, const pk_model_config *config, pk_naming naming,
                         pk_weight_role role, const pk_weight_place *place, pk_weight_entry *out)
{
    pk_dtype dtype = (pk_dtype)0;
    const pk_tensor_entry *entry = NULL;
    pk_err err = PK_OK;
    if (config->quantised && pk_weight_quantizes(place, role))
        err = stored_as(checkpoint, config->quantised, place, &dtype);
    if (err || dtype)
        return err ? err : find_quantised(checkpoint, dtype, place, out);
    if ((err = require(checkpoint, config, naming, place, &entry)))
        return err;
    out->values = place->fused ? cut_out(entry, place) : *entry;
    out->dtype = entry->dtype;
    memcpy(out->shape, out->values.shape, sizeof out->shape);
    return PK_OK;
}

pk_err pk_weight_find(const pk_checkpoint *checkpoint, const pk_model_config *config, pk_naming naming,
                      pk_weight weight, pk_weight_entry *out)
{
    pk_err err;
    uint64_t shared_inner = 0;
    if (weight.role == PK_WEIGHT_HEAD && config->tie_word_embeddings)
        weight.role = PK_WEIGHT_EMBED;
    pk_weight_place place = pk_weight_stored(config, naming, weight);
    *out = (pk_weight_entry){0};
    if (weights[weight.role].scope == PK_WEIGHT_OF_SHARED_EXPERT) {
        if ((err = find_shared_inner(checkpoint, config, naming, weight.layer, &shared_inner)))
            return err;
        for (unsigned i = 0; i < place.rank; i++)
            if (place.shape[i] == 0)
                place.shape[i] = shared_inner;
    }
    return find_place(checkpoint, config, naming, weight.role, &place, out);
}

/* Where the walk stands in a layer: the next role, and inside the experts' roles the next expert. */
static void walk_on(const pk_model_config *config, pk_weight_walk *walk)
{
    pk_weight_role role = (pk_weight_role)walk->role;
    bool in_expert = weights[role].scope == PK_WEIGHT_OF_EXPERT;
    walk->role++;
    if (in_expert && weights[walk->role].scope != PK_WEIGHT_OF_EXPERT && ++walk->expert < config->experts)
        walk->role = PK_WEIGHT_EXPERT_GATE;
    if (walk->role < PK_WEIGHT_ROLES)
        return;
    walk->role = PK_WEIGHT_INPUT_NORM;
    walk->expert = 0;
    walk->layer++;
}

static bool next_of_layers(const pk_model_config *config, pk_weight_walk *walk, pk_weight *out)
{
    while (walk->layer < config->layers) {
        *out = (pk_weight){(pk_weight_role)walk->role, walk->layer, walk->expert};
        if (weights[out->role].scope != PK_WEIGHT_OF_EXPERT)
            out->expert = 0;
        walk_on(config, walk);
        if (pk_weight_exists(config, *out))
            return true;
    }
    return false;
}

bool pk_weight_next(const pk_model_config *config, pk_weight_walk *walk, pk_weight *out)
{
    enum { AT_EMBED, IN_LAYERS, AT_HEAD, AT_END };
    switch (walk->stage) {
    case AT_EMBED:
        *walk = (pk_weight_walk){.stage = IN_LAYERS, .role = PK_WEIGHT_INPUT_NORM};
        *out = (pk_weight){.role = PK_WEIGHT_EMBED};
        return true;
    case IN_LAYERS:
        if (next_of_layers(config, walk, out))
            return true;
        walk->stage = AT_HEAD;
        *out = (pk_weight){.role = PK_WEIGHT_FINAL_NORM};
        return true;
    case AT_HEAD:
        walk->stage = AT_END;
        *out = (pk_weight){.role = PK_WEIGHT_HEAD};
        return pk_weight_exists(config, *out);
    default:
        return false;
    }
}
