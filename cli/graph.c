/* graph.c - penstock graph: a pipeline drawn, as text or for other programs. */
#include "cli/command.h"
#include "cli/live.h"
#include "cli/source.h"
#include "pipeline/graph.h"

#include <stdlib.h>
#include <string.h>

struct values {
    pk_source source;
    uint64_t columns;
    bool ascii, json;
    const char *purpose, *format, *run;
};

static const pk_option options[] = {
    PK_SOURCE_OPTIONS(struct values, source),
    PK_PURPOSE_OPTION(struct values, purpose),
    {.name = "run",
     .type = PK_OPTION_TEXT,
     .argument = "DIR",
     .group = "Pipeline",
     .help = "the pipeline of this run, live or over, with what each process does and has done",
     PK_OPTION_INTO(struct values, run)},
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

static void describe(pk_graph_live *out, const pk_json *process)
{
    double busy = pk_look_number(process, "busy_seconds"), idle = pk_look_number(process, "wait_seconds");
    snprintf(out->name, sizeof out->name, "%s", pk_look_word(process, "name"));
    snprintf(out->lines[0], sizeof out->lines[0], "%s, %.0f MiB", pk_look_word(process, "state"),
             pk_look_number(process, "resident_bytes") / 0x1p20);
    if (pk_json_member(process, "batches"))
        snprintf(out->lines[1], sizeof out->lines[1], "%.0f rows, busy %.0f %%", pk_look_number(process, "rows"),
                 busy + idle > 0 ? 100 * busy / (busy + idle) : 0);
}

/* The pipeline that the run was started with, and a line or two of each process. */
static pk_err draw_run(const char *dir, pk_graph_options drawing)
{
    char file[PATH_MAX + 16];
    pk_look look;
    pk_pipeline pipeline;
    pk_err err = pk_look_open(&look, dir);
    if (err)
        return err;
    const pk_json *processes = pk_json_member(look.status, "processes");
    size_t count = processes ? pk_json_count(processes) : 0;
    pk_graph_live *live = calloc(count + 1, sizeof *live);
    for (size_t i = 0; live && i < count; ++i)
        describe(&live[i], pk_json_item(processes, i));
    snprintf(file, sizeof file, "%s/pipeline.yaml", look.dir);
    pk_pipeline_init(&pipeline);
    err = live ? pk_pipeline_read(&pipeline, file) : pk_fail(PK_NOMEM, "%zu processes", count);
    drawing.live = live;
    drawing.live_count = count;
    if (!err)
        err = pk_graph_draw(&pipeline, drawing, stdout);
    pk_pipeline_fini(&pipeline);
    free(live);
    pk_look_fini(&look);
    return err;
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
    if (values->run)
        return pk_exit_report(PK_DOING_USAGE, draw_run(values->run, drawing));
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
    .examples = {"penstock graph --run out", "penstock graph -m /models/MiniMax-M1-80k --format svg > pipeline.svg"},
    .run = run,
};
