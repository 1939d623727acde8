#include "cli/source.h"

#include "loader/census.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

pk_purpose pk_purpose_of(const char *word)
{
    return strcmp(word, "logits") ? PK_PURPOSE_TEXT : PK_PURPOSE_IDS;
}

/* The person's side: the file, then what overrides it. */
static pk_err read_source(const pk_source *source, const char *file, pk_pipeline *pipeline)
{
    pk_err err = file ? pk_pipeline_read(pipeline, file) : PK_OK;
    if (!err && source->model)
        err = pk_pipeline_set_model(pipeline, source->model);
    for (uint32_t i = 0; !err && i < source->set.count; ++i)
        err = pk_pipeline_set(pipeline, source->set.items[i]);
    if (!err && !pipeline->model)
        err = pk_fail(PK_INVALID, "%s%sno model is named, expected -m DIR or model: DIR in the pipeline file",
                      file ? pipeline->source : "", file ? ": " : "");
    return err;
}

/* Answers may differ from those of the program that the checkpoint was made for: who runs it must know. */
static void warn_of_dialect(const char *model, const pk_model_config *config)
{
    const char *notes[PK_CONFIG_NOTES_MAX];
    size_t count = pk_config_differences(config, notes);
    if (!count)
        return;
    fprintf(stderr,
            "penstock: warning: %s is in the dialect of transformers' own tree (model_type %s); Penstock computes as "
            "the official file does, where transformers itself\n",
            model, config->model_type);
    for (size_t i = 0; i < count; i++)
        fprintf(stderr, "penstock: warning: - %s\n", notes[i]);
}

/* Whoever mistypes a folder is told so, not that a file in it is missing. */
static pk_err check_model(const char *path)
{
    struct stat status;
    static const char expected[] = "expected the folder of a model, as -m DIR or in the pipeline file";
    if (!*path)
        return pk_fail(PK_INVALID, "the model's name is empty, %s", expected);
    if (stat(path, &status))
        return pk_fail(PK_IO, "the model %s: %s; %s", path, strerror(errno), expected);
    return S_ISDIR(status.st_mode) ? PK_OK : pk_fail(PK_INVALID, "the model %s is no folder, %s", path, expected);
}

pk_exit pk_source_read(const pk_source *source, const char *file, pk_pipeline *pipeline, pk_model_config *model)
{
    pk_pipeline_init(pipeline);
    pk_err err = read_source(source, file, pipeline);
    if (err)
        return pk_exit_report(PK_DOING_USAGE, err);
    if ((err = check_model(pipeline->model)) || (err = pk_config_read(model, pipeline->model)))
        return pk_exit_report(PK_DOING_MODEL, err);
    warn_of_dialect(pipeline->model, model);
    return PK_EXIT_OK;
}

/* What the weights will take, as far as their headers can be read: where they cannot, the stage whose they are names
 * what is wrong, and a pipeline can be checked without them. */
static uint64_t weight_bytes(const pk_pipeline *pipeline, const pk_model_config *model)
{
    pk_census census;
    bool known = !pk_census_take(&census, pipeline->model, model) && census.source == PK_CENSUS_HEADERS;
    return known ? census.whole.resident_bytes : 0;
}

pk_exit pk_source_resolve(const pk_source *source, const char *file, pk_purpose purpose, pk_pipeline *pipeline,
                          pk_model_config *model)
{
    pk_machine machine = pk_machine_read();
    pk_speeds speeds = pk_speeds_read(machine.cores);
    pk_exit code = pk_source_read(source, file, pipeline, model);
    if (code)
        return code;
    pk_err err = pk_pipeline_resolve(pipeline, (pk_resolve_options){.model = model,
                                                                    .machine = &machine,
                                                                    .speeds = &speeds,
                                                                    .weight_bytes = weight_bytes(pipeline, model),
                                                                    .purpose = purpose});
    return pk_exit_report(PK_DOING_USAGE, err);
}

void pk_source_tell_choice(const pk_pipeline *pipeline)
{
    if (pipeline->chosen)
        fprintf(stderr, "penstock: stages, threads and batch_rows were chosen by %s\n",
                pk_speeds_read(pk_machine_read().cores).source);
}
