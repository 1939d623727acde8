/* logits.c - penstock logits: token ids to logits through the stages of a pipeline. */
#include "cli/command.h"
#include "cli/source.h"
#include "pipeline/logits.h"

#include <stdio.h>
#include <string.h>

struct values {
    pk_source source;
    const char *pipeline, *ids, *out, *positions, *trace;
    bool internals;
    uint64_t greedy, decode_from, batch_rows;
};

static const pk_option options[] = {
    PK_SOURCE_OPTIONS(struct values, source),
    {.name = "pipeline",
     .letter = 'p',
     .type = PK_OPTION_TEXT,
     .argument = "FILE",
     .group = "Pipeline",
     .help = "pipeline file; without one a pipeline for this machine is made",
     PK_OPTION_INTO(struct values, pipeline)},
    {.name = "batch-rows",
     .type = PK_OPTION_WHOLE,
     .argument = "N",
     .maximum = PK_LIMIT_BATCH_ROWS,
     .group = "Pipeline",
     .help = "rows of a batch, so the longest chunk of a prompt (default: the pipeline's)",
     PK_OPTION_INTO(struct values, batch_rows)},
    {.name = "ids",
     .type = PK_OPTION_TEXT,
     .argument = "FILE.json",
     .group = "Input",
     .help = "the sequences: [[ids…], …]",
     PK_OPTION_INTO(struct values, ids)},
    {.name = "decode-from",
     .type = PK_OPTION_WHOLE,
     .argument = "N",
     .minimum = 1,
     .maximum = UINT32_MAX,
     .group = "Input",
     .help = "feed tokens one at a time from position N on; the result does not change by a bit",
     PK_OPTION_INTO(struct values, decode_from)},
    {.name = "out",
     .letter = 'o',
     .type = PK_OPTION_TEXT,
     .argument = "FILE",
     .group = "Output",
     .help = "the safetensors file to write",
     PK_OPTION_INTO(struct values, out)},
    {.name = "positions",
     .type = PK_OPTION_CHOICE,
     .argument = "all|last",
     .standard = "all",
     .group = "Output",
     .help = "logits of all rows, or of each sequence's last",
     PK_OPTION_INTO(struct values, positions)},
    {.name = "internals",
     .type = PK_OPTION_FLAG,
     .group = "Output",
     .help = "hidden states, router choices and lightning states as well",
     PK_OPTION_INTO(struct values, internals)},
    {.name = "greedy",
     .type = PK_OPTION_WHOLE,
     .argument = "N",
     .maximum = PK_LIMIT_CONTEXT,
     .group = "Output",
     .help = "the arg-max continuation of N tokens as well",
     PK_OPTION_INTO(struct values, greedy)},
    PK_TRACE_OPTION(struct values, trace),
    {0},
};

static pk_exit compute(const struct values *values, pk_pipeline *pipeline, const pk_model_config *model)
{
    pk_id_lists ids;
    pk_timeline *timeline = NULL;
    pk_err err = pk_ids_file_read(&ids, values->ids, model->vocab);
    if (err)
        return pk_exit_report(PK_DOING_USAGE, err);
    if (values->batch_rows)
        pipeline->limits.batch_rows = (uint32_t)values->batch_rows;
    if (values->trace)
        err = pk_timeline_open(&timeline, values->trace);
    if (!err)
        err = pk_logits(
            &(pk_logits_options){.pipeline = pipeline,
                                 .model = model,
                                 .ids = &ids,
                                 .out = values->out,
                                 .timeline = timeline,
                                 .internals = values->internals,
                                 .last_only = strcmp(values->positions, "last") == 0,
                                 .greedy = (uint32_t)values->greedy,
                                 .decode_from = values->decode_from ? (uint32_t)values->decode_from : UINT32_MAX});
    pk_exit code = pk_exit_report(PK_DOING_RUN, err);
    if (!code)
        code = pk_exit_report(PK_DOING_OUTPUT, pk_timeline_close(&timeline));
    else
        pk_timeline_close(&timeline);
    pk_id_lists_fini(&ids);
    return code;
}

static pk_exit run(const void *parsed, const pk_words *operands)
{
    const struct values *values = parsed;
    pk_pipeline pipeline;
    pk_model_config model;
    (void)operands;
    if (!values->ids || !values->out)
        return pk_exit_report(PK_DOING_USAGE, pk_fail(PK_INVALID, "--ids FILE.json and --out FILE are needed"));
    pk_exit code = pk_source_resolve(&values->source, values->pipeline, PK_PURPOSE_IDS, &pipeline, &model);
    if (!code)
        code = compute(values, &pipeline, &model);
    pk_pipeline_fini(&pipeline);
    return code;
}

const pk_command pk_command_logits = {
    .name = "logits",
    .group = "Parts of the path",
    .summary = "token ids to logits, through the stages of a pipeline",
    .operands = "",
    .details = "Needs no tokenizer. The output holds logits.{i} [n, V] for sequence i.",
    .options = options,
    .values_bytes = sizeof(struct values),
    .examples = {"penstock logits -m tests/golden/nano --ids ids.json --out logits.safetensors",
                 "penstock logits -m DIR --ids ids.json --out x.safetensors --internals --greedy 64 --batch-rows 7"},
    .run = run,
};
