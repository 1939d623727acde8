/* check.c - penstock check: parse, resolve and validate a pipeline; starts nothing. */
#include "cli/command.h"
#include "cli/source.h"

struct values {
    pk_source source;
    bool print;
    const char *purpose;
};

static const pk_option options[] = {
    PK_SOURCE_OPTIONS(struct values, source),
    PK_PURPOSE_OPTION(struct values, purpose),
    {.name = "print",
     .letter = 'p',
     .type = PK_OPTION_FLAG,
     .group = "Output",
     .help = "print the resolved pipeline: a pipeline file with every default filled in",
     PK_OPTION_INTO(struct values, print)},
    {0},
};

static pk_exit run(const void *parsed, const pk_words *operands)
{
    const struct values *values = parsed;
    const char *file = operands->count ? operands->items[0] : NULL;
    pk_pipeline pipeline;
    pk_model_config model;
    pk_exit code = pk_source_resolve(&values->source, file, pk_purpose_of(values->purpose), &pipeline, &model);
    if (!code && values->print)
        code = pk_exit_report(PK_DOING_OUTPUT, pk_pipeline_print(&pipeline, stdout));
    else if (!code)
        fprintf(stderr, "%s: good, %u stages for %zu layers\n", file ? pipeline.source : "pipeline of this machine",
                pipeline.stage_count, model.layers);
    pk_pipeline_fini(&pipeline);
    return code;
}

const pk_command pk_command_check = {
    .name = "check",
    .group = "Pipelines",
    .summary = "check a pipeline file against its model; starts nothing",
    .operands = "[PIPELINE.yaml]",
    .maximum = 1,
    .details = "Without a file, the pipeline that would be made for this machine is checked. - is standard input.",
    .options = options,
    .values_bytes = sizeof(struct values),
    .examples = {"penstock check pipeline.yaml", "penstock check -m /models/MiniMax-M1-80k --print > pipeline.yaml"},
    .run = run,
};
