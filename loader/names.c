#include "loader/names.h"

#include <assert.h>
#include <stdio.h>

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

static pk_err find_described(const pk_checkpoint *checkpoint, const pk_weight_spec *spec, const pk_tensor_entry **out)
{
    return pk_checkpoint_require(checkpoint, spec->name, spec->rank, spec->shape, out);
}

/* Official sizes this MLP by intermediate_size, others by shared_intermediate_size: the tensors decide. */
static pk_err find_shared_inner(const pk_checkpoint *checkpoint, const pk_model_config *config, size_t layer,
                                uint64_t *out)
{
    const pk_tensor_entry *entry;
    pk_weight_spec spec = pk_weight_describe(config, (pk_weight){.role = PK_WEIGHT_SHARED_GATE, .layer = layer});
    pk_err err = find_described(checkpoint, &spec, &entry);
    if (err)
        return err;
    if (entry->shape[0] > PK_MODEL_INNER_MAX)
        return pk_fail(PK_CORRUPT, "tensor %s has %ju rows, expected at most %d", spec.name, (uintmax_t)entry->shape[0],
                       PK_MODEL_INNER_MAX);
    *out = entry->shape[0];
    return PK_OK;
}

pk_err pk_weight_find(const pk_checkpoint *checkpoint, const pk_model_config *config, pk_weight weight,
                      const pk_tensor_entry **out)
{
    pk_err err;
    uint64_t shared_inner = 0;
    if (weight.role == PK_WEIGHT_HEAD && config->tie_word_embeddings)
        weight.role = PK_WEIGHT_EMBED;
    pk_weight_spec spec = pk_weight_describe(config, weight);
    *out = NULL;
    if (weights[weight.role].scope == PK_WEIGHT_OF_SHARED_EXPERT) {
        if ((err = find_shared_inner(checkpoint, config, weight.layer, &shared_inner)))
            return err;
        for (unsigned i = 0; i < spec.rank; i++)
            if (spec.shape[i] == 0)
                spec.shape[i] = shared_inner;
    }
    return find_described(checkpoint, &spec, out);
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
