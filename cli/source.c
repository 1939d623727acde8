#include "cli/source.h"

#include <stdio.h>
#include <string.h>

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

pk_exit pk_source_resolve(const pk_source *source, const char *file, pk_purpose purpose, pk_pipeline *pipeline,
                          pk_model_config *model)
{
    pk_machine machine = pk_machine_read();
    pk_pipeline_init(pipeline);
    pk_err err = read_source(source, file, pipeline);
    if (err)
        return pk_exit_report(PK_DOING_USAGE, err);
    if ((err = pk_config_read(model, pipeline->model)))
        return pk_exit_report(PK_DOING_MODEL, err);
    warn_of_dialect(pipeline->model, model);
    err = pk_pipeline_resolve(pipeline, (pk_resolve_options){.model = model, .machine = &machine, .purpose = purpose});
    return pk_exit_report(PK_DOING_USAGE, err);
}
