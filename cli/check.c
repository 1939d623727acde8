/* check.c - penstock check: parse, resolve and validate a pipeline; starts nothing. */
#include "cli/command.h"
#include "cli/json.h"
#include "cli/source.h"

#include <inttypes.h>

struct values {
    pk_source source;
    bool print, json;
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
    PK_JSON_OPTION(struct values, json),
    {0},
};

/* The verdict; of a pipeline that is refused, with the words that stand on stderr too. */
static pk_exit print_json(const pk_pipeline *pipeline, size_t layers, pk_exit verdict)
{
    pk_json_text text = {0};
    pk_json_text_raw(&text, "{\"good\": %s, \"error\": ", verdict ? "false" : "true");
    if (verdict)
        pk_json_text_word(&text, pk_error_text());
    else
        pk_json_text_raw(&text, "null");
    pk_json_text_raw(&text, ", \"source\": ");
    if (pipeline->source)
        pk_json_text_word(&text, pipeline->source);
    else
        pk_json_text_raw(&text, "null");
    if (!verdict) {
        pk_json_text_raw(&text, ", \"model\": ");
        pk_json_text_word(&text, pipeline->model);
        pk_json_text_raw(&text, ", \"stages\": %" PRIu32 ", \"layers\": %zu", pipeline->stage_count, layers);
    }
    pk_json_text_raw(&text, "}\n");
    pk_exit code = pk_json_print(&text);
    return verdict ? verdict : code;
}

static pk_exit run(const void *parsed, const pk_words *operands)
{
    const struct values *values = parsed;
    const char *file = operands->count ? operands->items[0] : NULL;
    pk_pipeline pipeline;
    pk_model_config model;
    if (values->json && values->print)
        return pk_exit_report(PK_DOING_USAGE, pk_fail(PK_INVALID, "--json and --print are two answers, expected one"));
    pk_exit code = pk_source_resolve(&values->source, file, pk_purpose_of(values->purpose), &pipeline, &model);
    if (!code)
        pk_source_tell_choice(&pipeline);
    if (values->json)
        code = print_json(&pipeline, code ? 0 : model.layers, code);
    else if (!code && values->print)
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
