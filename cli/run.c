/* run.c - penstock run: documents in, answers out. */
#include "cli/command.h"
#include "cli/progress.h"
#include "cli/run_progress.h"
#include "cli/source.h"
#include "pipeline/footprint.h"
#include "pipeline/run.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct values {
    pk_source source;
    const char *question, *out, *run_dir, *trace;
};

static const pk_option options[] = {
    PK_SOURCE_OPTIONS(struct values, source),
    {.name = "question",
     .letter = 'q',
     .type = PK_OPTION_TEXT,
     .argument = "TEXT",
     .group = "Question",
     .help = "asked of each document: the prompt is the document, a blank line, the question",
     PK_OPTION_INTO(struct values, question)},
    {.name = "out",
     .letter = 'o',
     .type = PK_OPTION_TEXT,
     .argument = "DIR",
     .standard = "out",
     .group = "Output",
     .help =
         "folder for results.jsonl, errors.jsonl, summary.json and a readable file for each request; - writes result "
         "lines to stdout",
     PK_OPTION_INTO(struct values, out)},
    {.name = "run-dir",
     .type = PK_OPTION_TEXT,
     .argument = "DIR",
     .group = "Output",
     .help = "folder for the journal and the stages' logs (default: DIR/.penstock)",
     PK_OPTION_INTO(struct values, run_dir)},
    PK_TRACE_OPTION(struct values, trace),
    {0},
};

/* run [PIPELINE.yaml] INPUT…: a first operand that ends in .yaml or .yml is the pipeline. */
static bool is_pipeline(const char *operand)
{
    const char *dot = strrchr(operand, '.');
    return dot && (strcmp(dot, ".yaml") == 0 || strcmp(dot, ".yml") == 0);
}

static pk_exit report(const pk_run_report *done, const struct values *values, pk_err err)
{
    const pk_run_progress *p = &done->progress;
    if (err == PK_CLOSED) {
        pk_exit_report(PK_DOING_RUN, err);
        return done->last_signal == SIGTERM ? PK_EXIT_TERMINATED : PK_EXIT_INTERRUPTED;
    }
    if (err == PK_AGAIN) {
        pk_exit_report(PK_DOING_RUN, err);
        return PK_EXIT_BUSY;
    }
    if (err)
        return pk_exit_report(PK_DOING_RUN, err);
    double seconds = (double)done->work_ns / 1e9;
    fprintf(stderr, "penstock: %" PRIu64 " of %" PRIu64 " requests done, %" PRIu64 " failed", p->ended - p->failed,
            p->documents, p->failed);
    if (done->work_ns)
        fprintf(stderr, "; %" PRIu64 " prompt and %" PRIu64 " answer tokens in %.1f s (%.0f tokens/s)",
                p->prompt_tokens, p->sampled_tokens, seconds, (double)(p->prompt_tokens + p->sampled_tokens) / seconds);
    if (strcmp(values->out, "-") != 0)
        fprintf(stderr, "\npenstock: results are in %s", values->out);
    fputc('\n', stderr);
    if (done->drained) {
        fprintf(stderr, "penstock: drained before the end; the same command goes on\n");
        return PK_EXIT_DRAINED;
    }
    return p->failed ? PK_EXIT_PARTIAL : PK_EXIT_OK;
}

static pk_exit process(const struct values *values, const pk_pipeline *pipeline, const pk_model_config *model,
                       const pk_words *inputs)
{
    pk_timeline *timeline = NULL;
    pk_run_report done = {0};
    pk_run_view view;
    pk_machine machine = pk_machine_read();
    pk_err err = values->trace ? pk_timeline_open(&timeline, values->trace) : PK_OK;
    if (err)
        return pk_exit_report(PK_DOING_OUTPUT, err);
    pk_run_view_begin(&view);
    err =
        pk_run(&(pk_run_options){.pipeline = pipeline,
                                 .model = model,
                                 .inputs = inputs->items,
                                 .input_count = inputs->count,
                                 .question = values->question,
                                 .out_dir = strcmp(values->out, "-") ? values->out : NULL,
                                 .run_dir = values->run_dir,
                                 .timeline = timeline,
                                 .kv_tokens = pk_footprint_kv_tokens(
                                     model, machine.memory_bytes, pipeline->limits.context, pipeline->limits.sequences),
                                 .changed = pk_run_view_changed,
                                 .loading = pk_run_view_loading,
                                 .loaded = pk_run_view_loaded,
                                 .progress = pk_run_view_progress,
                                 .context = &view},
               &done);
    pk_run_view_end(&view);
    pk_exit code = report(&done, values, err);
    err = pk_timeline_close(&timeline);
    return code ? code : pk_exit_report(PK_DOING_OUTPUT, err);
}

static pk_exit run(const void *parsed, const pk_words *operands)
{
    const struct values *values = parsed;
    const char *file = is_pipeline(operands->items[0]) ? operands->items[0] : NULL;
    pk_words inputs = {.items = operands->items + (file != NULL), .count = operands->count - (file != NULL)};
    pk_pipeline pipeline;
    pk_model_config model;
    if (!inputs.count || !values->question)
        return pk_exit_report(PK_DOING_USAGE, pk_fail(PK_INVALID, "%s",
                                                      inputs.count ? "a question is needed: -q TEXT"
                                                                   : "an input is needed: a file, a folder or -"));
    pk_exit code = pk_source_resolve(&values->source, file, PK_PURPOSE_TEXT, &pipeline, &model);
    if (!code)
        code = process(values, &pipeline, &model, &inputs);
    pk_pipeline_fini(&pipeline);
    return code;
}

const pk_command pk_command_run = {
    .name = "run",
    .group = "Work",
    .summary = "process documents and write results",
    .operands = "[PIPELINE.yaml] INPUT…",
    .minimum = 1,
    .maximum = UINT32_MAX,
    .details =
        "INPUT is a text file (.txt, .md), a folder of them, or - for standard input. The first interrupt finishes\n"
        "what is generating and exits 75; the same command goes on with the rest. A second one stops.",
    .options = options,
    .values_bytes = sizeof(struct values),
    .examples = {"penstock run examples/documents -m MODEL -q \"What is this about?\" -o out",
                 "penstock run pipeline.yaml report.txt -q \"Who signed it?\" --set generation.max_tokens=64 -o -"},
    .run = run,
};
