/* set.c - one key of a pipeline overridden from the command line: path=value. */
#include "pipeline/file.h"

#include "pipeline/keys.h"
#include "pipeline/scalar.h"

#include <stdlib.h>
#include <string.h>

enum { PATH_BYTES = 128, OVERRIDES_MAX = 4096 };

/* An assignment taken apart: "stages.low.threads=2" is section stage, stage "low", key "threads", value "2". */
struct assignment {
    char path[PATH_BYTES]; /* all before the '=' */
    char stage[PATH_BYTES];
    const char *key;   /* view into path */
    const char *value; /* view into the text */
    pk_section section;
};

static pk_place place_of(const struct assignment *assignment)
{
    return (pk_place){.source = "--set", .path = assignment->path};
}

static pk_err parse_stage_path(struct assignment *out, const char *rest)
{
    pk_place place = place_of(out);
    const char *dot = strchr(rest, '.');
    if (!dot || dot == rest || !dot[1])
        return pk_place_fail(&place, "expected stages.NAME.KEY=VALUE");
    out->section = PK_SECTION_STAGE;
    snprintf(out->stage, sizeof out->stage, "%.*s", (int)(dot - rest), rest);
    out->key = dot + 1;
    return PK_OK;
}

static pk_err parse_assignment(struct assignment *out, const char *text)
{
    const char *equals = strchr(text, '=');
    *out = (struct assignment){.section = PK_SECTION_TOP};
    snprintf(out->path, sizeof out->path, "%.*s", equals ? (int)(equals - text) : (int)strlen(text), text);
    pk_place place = place_of(out);
    if (!equals || equals == text || equals - text >= PATH_BYTES)
        return pk_place_fail(&place, "expected PATH=VALUE, such as limits.batch_rows=64");
    out->value = equals + 1;
    out->key = out->path;
    if (!strncmp(out->path, "limits.", 7)) {
        out->section = PK_SECTION_LIMITS;
        out->key += 7;
    } else if (!strncmp(out->path, "generation.", 11)) {
        out->section = PK_SECTION_GENERATION;
        out->key += 11;
    } else if (!strncmp(out->path, "stages.", 7))
        return parse_stage_path(out, out->path + 7);
    return PK_OK;
}

static pk_stage_spec *find_stage(const pk_pipeline *pipeline, const char *name)
{
    for (uint32_t i = 0; i < pipeline->stage_count; ++i)
        if (!strcmp(pipeline->stages[i].name, name))
            return &pipeline->stages[i];
    return NULL;
}

static const char *nearest_stage(const pk_pipeline *pipeline, const char *name)
{
    const char *nearest = NULL, **names = calloc(pipeline->stage_count + 1, sizeof *names);
    for (uint32_t i = 0; names && i < pipeline->stage_count; ++i)
        names[i] = pipeline->stages[i].name;
    if (names)
        nearest = pk_scalar_nearest(name, names);
    free(names);
    return nearest; /* a view into the stages, not into names */
}

static pk_err refuse_stage(const pk_pipeline *pipeline, const struct assignment *assignment)
{
    char list[256] = "";
    pk_place place = place_of(assignment);
    for (uint32_t i = 0, length = 0; i < pipeline->stage_count && length < sizeof list; ++i)
        length +=
            (uint32_t)snprintf(list + length, sizeof list - length, "%s%s", i ? ", " : "", pipeline->stages[i].name);
    const char *nearest = nearest_stage(pipeline, assignment->stage);
    return pk_place_fail(&place, "no stage is called \"%s\", there are %s%s%s%s", assignment->stage, list,
                         nearest ? "; did you mean \"" : "", nearest ? nearest : "", nearest ? "\"?" : "");
}

static pk_err keep_override(pk_pipeline *pipeline, const char *text)
{
    if (pipeline->override_count >= OVERRIDES_MAX)
        return pk_fail(PK_INVALID, "--set: more than %d overrides of stages", OVERRIDES_MAX);
    char **grown = realloc(pipeline->overrides, (pipeline->override_count + 1) * sizeof *grown);
    if (!grown)
        return pk_fail(PK_NOMEM, "no memory for an override");
    pipeline->overrides = grown;
    if (!(grown[pipeline->override_count] = strdup(text)))
        return pk_fail(PK_NOMEM, "no memory for an override");
    ++pipeline->override_count;
    return PK_OK;
}

/* The struct that holds the assignment's key; NULL: a stage that is not there. */
static void *target_of(pk_pipeline *pipeline, const struct assignment *assignment)
{
    switch (assignment->section) {
    case PK_SECTION_LIMITS:
        return &pipeline->limits;
    case PK_SECTION_GENERATION:
        return &pipeline->generation;
    case PK_SECTION_STAGE:
        return find_stage(pipeline, assignment->stage);
    case PK_SECTION_TOP:
        break;
    }
    return pipeline;
}

/* "limit.window": the path's first word is to be a map's. */
static pk_err check_first(const struct assignment *assignment)
{
    char first[PATH_BYTES];
    pk_place place = place_of(assignment);
    pk_key_shape shape;
    snprintf(first, sizeof first, "%.*s", (int)strcspn(assignment->path, "."), assignment->path);
    pk_err err = pk_key_find(PK_SECTION_TOP, first, &place, &shape);
    return err ? err : pk_place_fail(&place, "%s has no keys of its own", first);
}

/* What is known to be wrong about an assignment whatever the stages are. */
static pk_err check_key(const struct assignment *assignment)
{
    pk_place place = place_of(assignment);
    pk_key_shape shape = PK_KEY_VALUE;
    if (assignment->section == PK_SECTION_TOP && strchr(assignment->key, '.'))
        return check_first(assignment);
    pk_err err = pk_key_find(assignment->section, assignment->key, &place, &shape);
    if (!err && assignment->section == PK_SECTION_TOP && shape != PK_KEY_VALUE)
        return pk_place_fail(&place, "is no single value, expected %s.%s=VALUE", assignment->key,
                             shape == PK_KEY_MAP ? "KEY" : "NAME.KEY");
    /* What a stage has said so far would not fit its new kind. */
    if (!err && assignment->section == PK_SECTION_STAGE && !strcmp(assignment->key, "kind"))
        return pk_place_fail(&place, "the kind of a stage cannot be overridden");
    return err;
}

static pk_err store(pk_pipeline *pipeline, const struct assignment *assignment)
{
    pk_value value = {.text = assignment->value, .place = place_of(assignment)};
    void *target = target_of(pipeline, assignment);
    if (!target)
        return refuse_stage(pipeline, assignment);
    return pk_key_store(assignment->section, assignment->key, &value, target);
}

pk_err pk_pipeline_set(pk_pipeline *pipeline, const char *text)
{
    struct assignment assignment;
    pk_err err = parse_assignment(&assignment, text);
    if (err || (err = check_key(&assignment)))
        return err;
    if (assignment.section == PK_SECTION_STAGE && !pipeline->stage_count)
        return keep_override(pipeline, text);
    return store(pipeline, &assignment);
}

pk_err pk_pipeline_set_kept(pk_pipeline *pipeline)
{
    struct assignment assignment;
    pk_err err = PK_OK;
    for (uint32_t i = 0; !err && i < pipeline->override_count; ++i)
        if (!(err = parse_assignment(&assignment, pipeline->overrides[i])))
            err = store(pipeline, &assignment);
    return err;
}

pk_err pk_pipeline_set_model(pk_pipeline *pipeline, const char *dir)
{
    char *copy = strdup(dir);
    if (!copy)
        return pk_fail(PK_NOMEM, "no memory for a path");
    free(pipeline->model);
    pipeline->model = copy;
    return PK_OK;
}
