#include "loader/census.h"

#include "loader/checkpoint.h"
#include "loader/index.h"
#include "loader/names.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PANEL = 16 /* outputs side by side in a packed matrix; a test compares with what stages really have */ };

/* What knows about tensors: a checkpoint with headers, or an index, or nothing. */
struct source {
    pk_checkpoint *checkpoint;
    pk_index index; /* no placements: none */
    pk_naming naming;
    pk_dtype dtype, router_dtype; /* without headers */
};

const char *pk_census_source_words(pk_census_source source)
{
    static const char *const words[] = {
#define X(name, text) [PK_CENSUS_##name] = text,
        PK_CENSUS_SOURCES(X)
#undef X
    };
    return words[source];
}

/* The weight's type and, where only the tensor knows it, its shape; of a quantised one the bytes in the files too. */
static pk_err look_up(const struct source *source, const pk_model_config *config, pk_weight weight,
                      pk_weight_spec *spec, pk_dtype *dtype, uint64_t *stored_bytes)
{
    pk_weight_entry entry;
    *dtype = weight.role == PK_WEIGHT_ROUTER ? source->router_dtype : source->dtype;
    if (source->checkpoint) {
        pk_err err = pk_weight_find(source->checkpoint, config, source->naming, weight, &entry);
        if (err)
            return err;
        *dtype = entry.dtype;
        *stored_bytes = entry.values.bytes + entry.scales.bytes;
        if (pk_weight_scope_of(weight.role) == PK_WEIGHT_OF_SHARED_EXPERT)
            memcpy(spec->shape, entry.shape, sizeof spec->shape);
    } else if (source->index.count) {
        pk_weight_place place = pk_weight_stored(config, source->naming, weight);
        if (!pk_json_member(pk_json_member(source->index.root, "weight_map"), place.name))
            return pk_fail(PK_CORRUPT, "%s has no tensor %s", PK_INDEX_FILE, place.name);
    }
    return PK_OK;
}

/* Bytes of one output of a packed matrix. */
static uint64_t packed_bytes(pk_dtype dtype, uint64_t inputs)
{
    if (!pk_dtype_is_quantised(dtype))
        return inputs * pk_dtype_bytes(dtype);
    return (dtype == PK_I4 ? (inputs + 1) / 2 : inputs) + pk_groups(inputs) * sizeof(float);
}

static void add(pk_census_part *part, const pk_weight_spec *spec, pk_dtype dtype, uint64_t stored, pk_weight weight)
{
    uint64_t rows = spec->shape[0], columns = spec->rank > 1 ? spec->shape[1] : 1, count = rows * columns;
    uint64_t panels = (rows + PANEL - 1) / PANEL * PANEL;
    stored = stored ? stored : count * pk_dtype_bytes(dtype);
    part->parameters += count;
    part->stored_bytes += stored;
    if (spec->rank == 1)
        part->resident_bytes += count * sizeof(float);
    else
        part->resident_bytes += weight.role == PK_WEIGHT_EMBED ? stored : panels * packed_bytes(dtype, columns);
    if (pk_weight_scope_of(weight.role) == PK_WEIGHT_OF_EXPERT)
        part->expert_bytes += stored;
}

static void add_part(pk_census_part *to, const pk_census_part *part)
{
    to->parameters += part->parameters;
    to->stored_bytes += part->stored_bytes;
    to->resident_bytes += part->resident_bytes;
    to->expert_bytes += part->expert_bytes;
}

static pk_census_part *part_of(pk_census *out, pk_weight weight)
{
    switch (weight.role) {
    case PK_WEIGHT_EMBED:
        return &out->embedding;
    case PK_WEIGHT_FINAL_NORM:
    case PK_WEIGHT_HEAD:
        return &out->head;
    default:
        return &out->layer[weight.layer];
    }
}

static void note_dtype(pk_dtype *seen, pk_dtype dtype, bool *mixed)
{
    *mixed |= *seen && *seen != dtype;
    *seen = *mixed ? (pk_dtype)0 : dtype;
}

static pk_err count_all(pk_census *out, const struct source *source, const pk_model_config *config)
{
    pk_weight_walk walk = {0};
    pk_weight weight;
    bool mixed = false, mixed_router = false;
    while (pk_weight_next(config, &walk, &weight)) {
        pk_weight_spec spec = pk_weight_describe(config, weight);
        pk_dtype dtype;
        uint64_t stored = 0;
        pk_err err = look_up(source, config, weight, &spec, &dtype, &stored);
        if (err)
            return err;
        out->weights++;
        add(part_of(out, weight), &spec, dtype, stored, weight);
        if (pk_weight_scope_of(weight.role) == PK_WEIGHT_OF_EXPERT)
            note_dtype(&out->dtype, dtype, &mixed);
        else if (weight.role == PK_WEIGHT_ROUTER)
            note_dtype(&out->router_dtype, dtype, &mixed_router);
        else if (weight.role == PK_WEIGHT_SHARED_GATE && spec.shape[0] > out->shared_inner)
            out->shared_inner = spec.shape[0];
    }
    return PK_OK;
}

static void add_up(pk_census *out, const pk_model_config *config)
{
    add_part(&out->whole, &out->embedding);
    for (size_t layer = 0; layer < config->layers; layer++)
        add_part(&out->whole, &out->layer[layer]);
    add_part(&out->whole, &out->head);
    if (!config->tie_word_embeddings)
        return;
    /* The head stage has a packed copy of its own. */
    out->whole.resident_bytes += out->embedding.stored_bytes;
    out->head.parameters += out->embedding.parameters;
    out->head.stored_bytes += out->embedding.stored_bytes;
    out->head.resident_bytes += out->embedding.stored_bytes;
}

/* No header says the types: the total does, as far as it is one of the few that can be. */
static pk_err settle_types(struct source *source, const pk_model_config *config)
{
    static const struct {
        pk_dtype dtype, router_dtype;
    } known[] = {{PK_BF16, PK_F32}, {PK_BF16, PK_BF16}, {PK_F32, PK_F32}};
    uint64_t parameters = 0, total = source->index.total_bytes;
    if (!total)
        return pk_fail(PK_CORRUPT, "%s: metadata.total_size is not there, expected a number", PK_INDEX_FILE);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        pk_census *trial = calloc(1, sizeof *trial);
        if (!trial)
            return pk_fail(PK_NOMEM, "no memory to count weights");
        source->dtype = known[i].dtype;
        source->router_dtype = known[i].router_dtype;
        pk_err err = count_all(trial, source, config);
        add_up(trial, config);
        bool found = trial->whole.stored_bytes == total;
        parameters = trial->whole.parameters;
        free(trial);
        if (err || found)
            return err;
    }
    return pk_fail(PK_CORRUPT,
                   "%s: total_size is %" PRIu64 " bytes, which the %" PRIu64
                   " parameters of config.json are neither in bf16 (router gates in bf16 or f32) nor in f32",
                   PK_INDEX_FILE, total, parameters);
}

static pk_err open_index(struct source *source, const pk_model_config *config, const char *path)
{
    pk_err err = pk_index_read(&source->index, path);
    for (size_t i = 0; !err && i < source->index.count && source->naming == PK_NAMES_NEUTRAL; i++)
        source->naming = pk_naming_of_name(source->index.placements[i].tensor);
    return err ? err : settle_types(source, config);
}

static pk_err open_headers(struct source *source, const char *dir)
{
    pk_err err = pk_checkpoint_open(&source->checkpoint, dir);
    return err ? err : pk_naming_of(source->checkpoint, &source->naming);
}

/* Whether the directory holds any file of weights. */
static bool has_weights(const char *dir)
{
    static const char ending[] = ".safetensors";
    DIR *folder = opendir(dir);
    bool found = false;
    for (struct dirent *entry; folder && !found && (entry = readdir(folder));) {
        size_t length = strlen(entry->d_name);
        found = length >= sizeof ending && !strcmp(entry->d_name + length - (sizeof ending - 1), ending);
    }
    if (folder)
        closedir(folder);
    return found;
}

static pk_err open_source(struct source *source, pk_census_source *kind, const char *dir, const pk_model_config *config)
{
    char path[4096];
    *kind = PK_CENSUS_HEADERS;
    if (has_weights(dir))
        return open_headers(source, dir);
    if (snprintf(path, sizeof path, "%s/%s", dir, PK_INDEX_FILE) >= (int)sizeof path)
        return pk_fail(PK_INVALID, "%s: the path is too long", dir);
    *kind = access(path, F_OK) ? PK_CENSUS_CONFIG : PK_CENSUS_INDEX;
    if (config->shared_expert)
        return pk_fail(PK_IO, "has no weight files, and only their headers know the size of the shared expert");
    if (config->quantised)
        return pk_fail(PK_IO, "has no weight files, and only their headers know which weights are quantised");
    return *kind == PK_CENSUS_INDEX ? open_index(source, config, path) : PK_OK;
}

pk_err pk_census_take(pk_census *out, const char *dir, const pk_model_config *config)
{
    struct source source = {.dtype = PK_BF16, .router_dtype = PK_F32};
    *out = (pk_census){0};
    pk_err err = open_source(&source, &out->source, dir, config);
    if (!err)
        err = count_all(out, &source, config);
    if (!err)
        add_up(out, config);
    pk_index_fini(&source.index);
    pk_checkpoint_close(&source.checkpoint);
    return pk_pass(err, "%s", dir);
}
