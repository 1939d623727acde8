/* graph.c - penstock graph: a pipeline drawn as text. */
#include "cli/command.h"
#include "cli/source.h"
#include "pipeline/graph.h"

struct values {
    pk_source source;
    uint64_t columns;
    bool ascii;
    const char *purpose;
};

static const pk_option options[] = {
    PK_SOURCE_OPTIONS(struct values, source),
    PK_PURPOSE_OPTION(struct values, purpose),
    {.name = "columns",
     .type = PK_OPTION_WHOLE,
     .argument = "N",
     .minimum = 20,
     .maximum = 10000,
     .standard = "100",
     .group = "Output",
     .help = "widest line",
     PK_OPTION_INTO(struct values, columns)},
    {.name = "ascii",
     .type = PK_OPTION_FLAG,
     .group = "Output",
     .help = "draw with - | + > only",
     PK_OPTION_INTO(struct values, ascii)},
    {0},
};

static pk_exit run(const void *parsed, const pk_words *operands)
{
    const struct values *values = parsed;
    const char *file = operands->count ? operands->items[0] : NULL;
    pk_graph_options drawing = {.columns = (uint32_t)values->columns, .ascii = values->ascii};
    pk_pipeline pipeline;
    pk_model_config model;
    pk_exit code = pk_source_resolve(&values->source, file, pk_purpose_of(values->purpose), &pipeline, &model);
    if (!code)
        code = pk_exit_report(PK_DOING_OUTPUT, pk_graph_text(&pipeline, drawing, stdout));
    pk_pipeline_fini(&pipeline);
    return code;
}

const pk_command pk_command_graph = {
    .name = "graph",
    .group = "Pipelines",
    .summary = "draw a pipeline: its processes, what they hold, what flows between them",
    .operands = "[PIPELINE.yaml]",
    .maximum = 1,
    .details = "Without a file, the pipeline that would be made for this machine is drawn. - is standard input.",
    .options = options,
    .values_bytes = sizeof(struct values),
    .examples = {"penstock graph pipeline.yaml", "penstock graph -m /models/MiniMax-M1-80k --columns 160"},
    .run = run,
};
