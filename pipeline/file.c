#include "pipeline/file.h"

#include "pipeline/keys.h"
#include "pipeline/yaml.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { PATH_BYTES = 160 };

void pk_pipeline_init(pk_pipeline *pipeline)
{
    *pipeline = (pk_pipeline){0};
}

void pk_pipeline_fini(pk_pipeline *pipeline)
{
    for (uint32_t i = 0; i < pipeline->override_count; ++i)
        free(pipeline->overrides[i]);
    free(pipeline->overrides);
    free(pipeline->stages);
    free(pipeline->model);
    free(pipeline->source);
    pk_pipeline_init(pipeline);
}

/* Where a node stands, as `path` in messages; view into its arguments. */
static pk_place place_of(const pk_pipeline *pipeline, const pk_yaml_node *node, const char *path)
{
    return (pk_place){.source = pipeline->source, .line = node->line, .column = node->column, .path = path};
}

/* "limits" + "window": "limits.window"; at the top the key alone. An overlong key is cut: it is unknown anyway. */
static void join_path(char out[PATH_BYTES], const char *prefix, const char *key)
{
    snprintf(out, PATH_BYTES, "%.80s%s%.64s", prefix, *prefix ? "." : "", key);
}

static pk_err expect_type(const pk_pipeline *pipeline, const pk_yaml_node *node, pk_yaml_type type, const char *path,
                          const char *expected)
{
    pk_place place = place_of(pipeline, node, path);
    if (node->type == type)
        return PK_OK;
    if (node->type == PK_YAML_WORD)
        return pk_place_fail(&place, "expected %s, found %s%.64s%s", expected, *node->text ? "\"" : "",
                             *node->text ? node->text : "nothing", *node->text ? "\"" : "");
    return pk_place_fail(&place, "expected %s, found %s", expected, pk_yaml_type_name(node->type));
}

static pk_err store_word(const pk_pipeline *pipeline, pk_section section, const pk_yaml_node *key,
                         const pk_yaml_node *node, const char *path, void *target)
{
    pk_value value = {.text = node->text, .quoted = node->quoted, .place = place_of(pipeline, node, path)};
    pk_err err = expect_type(pipeline, node, PK_YAML_WORD, path, "one value");
    return err ? err : pk_key_store(section, key->text, &value, target);
}

/* Reads a map whose keys are all plain values; `prefix` is its own path. */
static pk_err read_values(const pk_pipeline *pipeline, pk_section section, const pk_yaml_node *map, const char *prefix,
                          void *target)
{
    char path[PATH_BYTES];
    pk_key_shape shape;
    for (uint32_t i = 0; i < map->count; i += 2) {
        join_path(path, prefix, map->items[i]->text);
        pk_place place = place_of(pipeline, map->items[i], path);
        pk_err err = pk_key_find(section, map->items[i]->text, &place, &shape);
        if (err || (err = store_word(pipeline, section, map->items[i], map->items[i + 1], path, target)))
            return err;
    }
    return PK_OK;
}

/* What a person calls a stage in messages: by its name where that is a word, else by its place in the list. */
static void stage_path(char out[PATH_BYTES], const pk_yaml_node *map, uint32_t index)
{
    const pk_yaml_node *name = pk_yaml_get(map, "name");
    if (name && name->type == PK_YAML_WORD && *name->text)
        snprintf(out, PATH_BYTES, "stages.%.40s", name->text);
    else
        snprintf(out, PATH_BYTES, "stages[%u]", index);
}

/* The kind decides which other keys there may be, so it is read first, wherever it stands. */
static pk_err read_kind(const pk_pipeline *pipeline, const pk_yaml_node *map, const char *prefix, pk_stage_spec *stage)
{
    char path[PATH_BYTES];
    for (uint32_t i = 0; i < map->count; i += 2)
        if (!strcmp(map->items[i]->text, "kind")) {
            join_path(path, prefix, "kind");
            return store_word(pipeline, PK_SECTION_STAGE, map->items[i], map->items[i + 1], path, stage);
        }
    pk_place place = place_of(pipeline, map, prefix);
    return pk_place_fail(&place, "the key kind is missing, expected tokenize, layers, head or detokenize");
}

static void default_name(pk_stage_spec *stage)
{
    if (stage->kind == PK_STAGE_LAYERS)
        snprintf(stage->name, sizeof stage->name, "layers-%u-%u", stage->first_layer, stage->last_layer);
    else
        snprintf(stage->name, sizeof stage->name, "%s", pk_stage_kind_word(stage->kind));
}

static pk_err read_stage(const pk_pipeline *pipeline, const pk_yaml_node *map, uint32_t index, pk_stage_spec *stage)
{
    char path[PATH_BYTES];
    stage_path(path, map, index);
    pk_place place = place_of(pipeline, map, path);
    pk_err err = expect_type(pipeline, map, PK_YAML_MAP, path, "a map with the keys name and kind");
    if (err || (err = read_kind(pipeline, map, path, stage)) ||
        (err = read_values(pipeline, PK_SECTION_STAGE, map, path, stage)))
        return err;
    if (stage->kind == PK_STAGE_LAYERS && !pk_yaml_get(map, "layers"))
        return pk_place_fail(&place, "the key layers is missing, expected layers as FIRST-LAST (such as 0-39)");
    if (!*stage->name)
        default_name(stage);
    stage->line = map->line;
    stage->column = map->column;
    return PK_OK;
}

static pk_err read_stages(pk_pipeline *pipeline, const pk_yaml_node *list)
{
    pk_place place = place_of(pipeline, list, "stages");
    pk_err err = expect_type(pipeline, list, PK_YAML_LIST, "stages", "a list of stages");
    if (err)
        return err;
    if (!list->count || list->count > PK_PIPELINE_STAGES)
        return pk_place_fail(&place, "expected 1 to %d stages, found %u", PK_PIPELINE_STAGES, list->count);
    if (!(pipeline->stages = calloc(list->count, sizeof *pipeline->stages)))
        return pk_fail(PK_NOMEM, "%s: no memory for %u stages", pipeline->source, list->count);
    pipeline->stage_count = list->count;
    for (uint32_t i = 0; i < list->count; ++i)
        if ((err = read_stage(pipeline, list->items[i], i, &pipeline->stages[i])))
            return err;
    return PK_OK;
}

static pk_err read_section(pk_pipeline *pipeline, const char *name, const pk_yaml_node *map)
{
    bool limits = !strcmp(name, "limits");
    void *target = limits ? (void *)&pipeline->limits : (void *)&pipeline->generation;
    pk_err err = expect_type(pipeline, map, PK_YAML_MAP, name, "a map");
    return err ? err : read_values(pipeline, limits ? PK_SECTION_LIMITS : PK_SECTION_GENERATION, map, name, target);
}

static pk_err read_top_key(pk_pipeline *pipeline, const pk_yaml_node *key, const pk_yaml_node *value)
{
    char path[PATH_BYTES];
    pk_key_shape shape = PK_KEY_VALUE;
    join_path(path, "", key->text);
    pk_place place = place_of(pipeline, key, path);
    pk_err err = pk_key_find(PK_SECTION_TOP, key->text, &place, &shape);
    if (err)
        return err;
    if (shape == PK_KEY_LIST)
        return read_stages(pipeline, value);
    if (shape == PK_KEY_MAP)
        return read_section(pipeline, key->text, value);
    return store_word(pipeline, PK_SECTION_TOP, key, value, path, pipeline);
}

static pk_err read_top(pk_pipeline *pipeline, const pk_yaml_node *root)
{
    pk_place place = place_of(pipeline, root, "version");
    pk_err err = expect_type(pipeline, root, PK_YAML_MAP, "the file", "a map that begins with \"version: 1\"");
    for (uint32_t i = 0; !err && i < root->count; i += 2)
        err = read_top_key(pipeline, root->items[i], root->items[i + 1]);
    if (!err && !pk_yaml_get(root, "version"))
        err = pk_place_fail(&place, "missing, expected \"version: 1\"");
    return err;
}

pk_err pk_pipeline_parse(pk_pipeline *pipeline, const char *name, const void *text, size_t bytes)
{
    pk_yaml_node *root = NULL;
    if (!(pipeline->source = strdup(name)))
        return pk_fail(PK_NOMEM, "no memory for a file's name");
    if (bytes > PK_PIPELINE_FILE_BYTES)
        return pk_fail(PK_INVALID, "%s: larger than %d bytes, that is no pipeline file", name, PK_PIPELINE_FILE_BYTES);
    pk_err err = pk_yaml_open(&root, name, text, bytes);
    if (!err)
        err = read_top(pipeline, root);
    pk_yaml_close(&root);
    return err;
}

pk_err pk_pipeline_read(pk_pipeline *pipeline, const char *path)
{
    pk_err err = PK_OK;
    bool standard = !strcmp(path, "-");
    const char *name = standard ? "(standard input)" : path;
    char *text = NULL;
    size_t bytes = 0;
    FILE *file = standard ? stdin : fopen(path, "re");
    if (!file)
        return pk_fail_errno(PK_IO, "%s: open the pipeline file", name);
    if (!(text = malloc(PK_PIPELINE_FILE_BYTES + 1))) {
        err = pk_fail(PK_NOMEM, "%s: no memory to read it", name);
        goto out;
    }
    /* One byte more than allowed, so that a larger file shows itself. */
    bytes = fread(text, 1, PK_PIPELINE_FILE_BYTES + 1, file);
    err = ferror(file) ? pk_fail_errno(PK_IO, "%s: read the pipeline file", name) : pk_pipeline_parse(pipeline, name, text, bytes);
out:
    free(text);
    if (!standard)
        fclose(file);
    return err;
}
