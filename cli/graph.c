/* graph.c - penstock graph: a pipeline drawn, as text or for other programs. */
#include "cli/command.h"
#include "cli/json.h"
#include "cli/source.h"
#include "pipeline/graph.h"

#include <string.h>

struct values {
    pk_source source;
    uint64_t columns;
    bool ascii, json;
    const char *purpose, *format;
};

static const pk_option options[] = {
    PK_SOURCE_OPTIONS(struct values, source),
    PK_PURPOSE_OPTION(struct values, purpose),
    {.name = "format",
     .letter = 'f',
     .type = PK_OPTION_CHOICE,
     .argument = "text|dot|mermaid|svg|json",
     .standard = "text",
     .group = "Output",
     .help = "a picture of characters, Graphviz's language, Mermaid's, a picture for browsers, or nodes and links",
     PK_OPTION_INTO(struct values, format)},
    PK_JSON_OPTION(struct values, json),
    {.name = "columns",
     .type = PK_OPTION_WHOLE,
     .argument = "N",
     .minimum = 20,
     .maximum = 10000,
     .standard = "100",
     .group = "Output",
     .help = "widest line of text, or of SVG at 8 pixels a column",
     PK_OPTION_INTO(struct values, columns)},
    {.name = "ascii",
     .type = PK_OPTION_FLAG,
     .group = "Output",
     .help = "draw text with - | + > only",
     PK_OPTION_INTO(struct values, ascii)},
    {0},
};

static pk_graph_format format_of(const char *word)
{
    static const char *const words[] = {
#define X(name, text) [PK_GRAPH_##name] = text,
        PK_GRAPH_FORMATS(X)
#undef X
    };
    unsigned format = 0;
    while (format + 1 < sizeof words / sizeof *words && strcmp(words[format], word))
        ++format;
    return (pk_graph_format)format;
}

static pk_exit run(const void *parsed, const pk_words *operands)
{
    const struct values *values = parsed;
    const char *file = operands->count ? operands->items[0] : NULL;
    pk_graph_options drawing = {.format = values->json ? PK_GRAPH_JSON : format_of(values->format),
                                .columns = (uint32_t)values->columns,
                                .ascii = values->ascii};
    pk_pipeline pipeline;
    pk_model_config model;
    pk_exit code = pk_source_resolve(&values->source, file, pk_purpose_of(values->purpose), &pipeline, &model);
    if (!code)
        code = pk_exit_report(PK_DOING_OUTPUT, pk_graph_draw(&pipeline, drawing, stdout));
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
    .examples = {"penstock graph pipeline.yaml",
                 "penstock graph -m /models/MiniMax-M1-80k --format svg > pipeline.svg"},
    .run = run,
};
