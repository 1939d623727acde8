/* run.c - penstock run: documents in, answers out. */
#include "cli/command.h"
#include "cli/json.h"
#include "cli/progress.h"
#include "cli/run_progress.h"
#include "cli/source.h"
#include "ipc/utf8.h"
#include "loader/file.h"
#include "pipeline/folder.h"
#include "pipeline/report.h"
#include "pipeline/run.h"

#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PROMPT_BYTES_MAX = 1 << 20 };

struct values {
    pk_source source;
    const char *question, *questions, *prompt, *reasoning, *out, *run_dir, *trace, *report;
    bool json;
    uint64_t answers;
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
    {.name = "questions",
     .type = PK_OPTION_TEXT,
     .argument = "FILE",
     .group = "Question",
     .help = "questions, all asked of each document: one a line, or blocks between lines of ---, or JSON lines with "
             "question, id, answer, document; with answers the run counts how often they were given",
     PK_OPTION_INTO(struct values, questions)},
    {.name = "prompt",
     .type = PK_OPTION_TEXT,
     .argument = "FILE",
     .group = "Question",
     .help = "the text around document and question, with {document} and {question} in it",
     PK_OPTION_INTO(struct values, prompt)},
    {.name = "answers",
     .letter = 'n',
     .type = PK_OPTION_WHOLE,
     .argument = "N",
     .minimum = 1,
     .maximum = PK_ANSWERS_MAX,
     .standard = "1",
     .group = "Question",
     .help = "answers to each question; they differ where the temperature is above 0",
     PK_OPTION_INTO(struct values, answers)},
    {.name = "reasoning",
     .type = PK_OPTION_CHOICE,
     .argument = "split|inline|drop",
     .standard = "split",
     .group = "Output",
     .help = "text inside <think>…</think>: as reasoning_content beside the content, left in it, or dropped",
     PK_OPTION_INTO(struct values, reasoning)},
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
    {.name = "report",
     .type = PK_OPTION_TEXT,
     .argument = "FILE.html",
     .group = "Output",
     .help = "one self-contained page with the graph, the timeline and tables of stages and requests",
     PK_OPTION_INTO(struct values, report)},
    {.name = "json",
     .type = PK_OPTION_FLAG,
     .group = "Output",
     .help = "print what stands in summary.json at the end, for programs",
     PK_OPTION_INTO(struct values, json)},
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
            p->requests, p->failed);
    if (done->work_ns)
        fprintf(stderr, "; %" PRIu64 " prompt and %" PRIu64 " answer tokens in %.1f s (%.0f tokens/s)",
                p->prompt_tokens, p->sampled_tokens, seconds, (double)(p->prompt_tokens + p->sampled_tokens) / seconds);
    if (p->match.of)
        fprintf(stderr, "\npenstock: %" PRIu64 " of %" PRIu64 " answers are the true ones (%.1f %%)", p->match.right,
                p->match.of, 100 * (double)p->match.right / (double)p->match.of);
    if (strcmp(values->out, "-") != 0)
        fprintf(stderr, "\npenstock: results are in %s", values->out);
    if (p->failed && strcmp(values->out, "-") != 0)
        fprintf(stderr, "; why requests failed stands in %s/errors.jsonl", values->out);
    fputc('\n', stderr);
    if (done->drained) {
        fprintf(stderr, "penstock: drained before the end; the same command goes on\n");
        return PK_EXIT_DRAINED;
    }
    return p->failed ? PK_EXIT_PARTIAL : PK_EXIT_OK;
}

static pk_exit write_report(const struct values *values, const char *trace, bool unended)
{
    pk_err err = pk_report_write(&(pk_report_options){.out_dir = values->out,
                                                      .run_dir = values->run_dir,
                                                      .trace = trace,
                                                      .unended = unended,
                                                      .path = values->report});
    if (!err)
        fprintf(stderr, "penstock: the report is %s\n", values->report);
    return pk_exit_report(PK_DOING_OUTPUT, err);
}

static pk_exit print_summary(const char *out_dir)
{
    enum { SUMMARY_BYTES = 16 << 20 };
    char path[4352];
    pk_json_text text = {0};
    snprintf(path, sizeof path, "%s/summary.json", out_dir);
    pk_err err = pk_file_read_all(&text.bytes, &text.used, path, SUMMARY_BYTES);
    return err ? pk_exit_report(PK_DOING_OUTPUT, err) : pk_json_print(&text);
}

/* What is asked of documents. */
typedef struct {
    pk_questions questions; /* none: request files only */
    char *prompt;           /* NULL: the standard one */
} question_set;

static void fini_question_set(question_set *set)
{
    pk_questions_fini(&set->questions);
    free(set->prompt);
}

/* As documents and questions are read: UTF-8, without a byte order mark. */
static pk_err read_prompt(char **out, const char *path)
{
    static const char mark[] = "\xEF\xBB\xBF";
    size_t bytes = 0, bad = 0;
    pk_err err = pk_file_read_all(out, &bytes, path, PROMPT_BYTES_MAX);
    if (err)
        return err;
    if (!pk_utf8_check(*out, bytes, &bad))
        return pk_fail(PK_INVALID, "%s: byte %zu is not UTF-8", path, bad);
    if (memchr(*out, 0, bytes))
        return pk_fail(PK_INVALID, "%s: byte %zu is a NUL; expected text", path, strlen(*out));
    if (bytes >= 3 && !memcmp(*out, mark, 3))
        memmove(*out, *out + 3, bytes - 2);
    return PK_OK;
}

static pk_err read_question_set(question_set *out, const struct values *values)
{
    pk_err err = PK_OK;
    *out = (question_set){0};
    if (values->question)
        err = pk_questions_single(&out->questions, values->question);
    else if (values->questions)
        err = pk_questions_read(&out->questions, values->questions);
    if (!err && values->prompt)
        err = read_prompt(&out->prompt, values->prompt);
    return err;
}

static pk_reasoning_mode reasoning_of(const char *word)
{
    return !strcmp(word, "inline") ? PK_REASONING_INLINE
           : !strcmp(word, "drop") ? PK_REASONING_DROP
                                   : PK_REASONING_SPLIT;
}

/* The run itself; *begun: the output directory is ours, so that there is something to report. */
static pk_exit process(const struct values *values, const pk_pipeline *pipeline, const pk_model_config *model,
                       const pk_words *inputs, const question_set *set, pk_timeline *timeline, bool *begun)
{
    pk_run_report done = {0};
    pk_run_view view;
    pk_source_tell_choice(pipeline);
    pk_run_view_begin(&view);
    pk_err err = pk_run(&(pk_run_options){.pipeline = pipeline,
                                          .model = model,
                                          .inputs = inputs->items,
                                          .input_count = inputs->count,
                                          .questions = set->questions.count ? &set->questions : NULL,
                                          .prompt = set->prompt,
                                          .choices = (uint32_t)values->answers,
                                          .reasoning = reasoning_of(values->reasoning),
                                          .out_dir = strcmp(values->out, "-") ? values->out : NULL,
                                          .run_dir = values->run_dir,
                                          .timeline = timeline,
                                          .changed = pk_run_view_changed,
                                          .loading = pk_run_view_loading,
                                          .loaded = pk_run_view_loaded,
                                          .progress = pk_run_view_progress,
                                          .context = &view},
                        &done);
    pk_run_view_end(&view);
    *begun = done.progress.requests > 0;
    return report(&done, values, err);
}

static bool has_ended(pk_exit code)
{
    return code == PK_EXIT_OK || code == PK_EXIT_PARTIAL || code == PK_EXIT_DRAINED;
}

/* A report needs the timeline's file. Without --trace it is one without a name, which goes with the process. */
static pk_err nameless_trace(char *path, size_t bytes)
{
    FILE *file = tmpfile();
    if (!file || fcntl(fileno(file), F_SETFD, FD_CLOEXEC))
        return pk_fail_errno(PK_IO, "a file for the report's timeline");
    snprintf(path, bytes, "/proc/self/fd/%d", fileno(file));
    return PK_OK;
}

/* Said before the run, not after it: whether the page can be written. Its folder may be the run's own, not made yet. */
static pk_err prepare_report(const char *path)
{
    char *copy = strdup(path);
    if (!copy)
        return pk_fail(PK_NOMEM, "a path");
    const char *dir = dirname(copy);
    pk_err err = pk_folder_make(dir);
    if (!err && access(dir, W_OK))
        err = pk_fail_errno(PK_INVALID, "%s", dir);
    free(copy);
    return pk_pass(err, "--report %s", path);
}

/* The run, and what is made of it afterwards. What the run says goes before what a failed page would. */
static pk_exit process_and_report(const struct values *values, const pk_pipeline *pipeline,
                                  const pk_model_config *model, const pk_words *inputs, const question_set *set)
{
    pk_timeline *timeline = NULL;
    char nameless[64];
    const char *trace = values->trace;
    bool begun = false;
    pk_err err = PK_OK;
    if (values->report)
        err = prepare_report(values->report);
    if (!err && values->report && !trace) {
        err = nameless_trace(nameless, sizeof nameless);
        trace = nameless;
    }
    if (!err && trace)
        err = pk_timeline_open(&timeline, trace);
    if (err)
        return pk_exit_report(PK_DOING_OUTPUT, err);
    pk_exit code = process(values, pipeline, model, inputs, set, timeline, &begun), later = PK_EXIT_OK;
    if ((err = pk_timeline_close(&timeline)))
        later = pk_exit_report(PK_DOING_OUTPUT, err);
    else if (values->report && begun)
        later = write_report(values, trace, !has_ended(code));
    if (!later && values->json && has_ended(code))
        later = print_summary(values->out);
    return code ? code : later;
}

/* What goes together. */
static pk_err check_values(const struct values *values, const pk_words *inputs)
{
    if (!inputs->count)
        return pk_fail(PK_INVALID, "an input is needed: a file, a folder or -");
    if (values->question && values->questions)
        return pk_fail(PK_INVALID, "-q and --questions: one of them says what is asked");
    if (values->question && !*values->question)
        return pk_fail(PK_INVALID, "-q: the question is empty");
    if (!*values->out || (values->run_dir && !*values->run_dir))
        return pk_fail(PK_INVALID, "--%s: expected a directory, found nothing", *values->out ? "run-dir" : "out");
    if (!strcmp(values->out, "-") && (values->report || values->json))
        return pk_fail(PK_INVALID, "--%s is made of what stands in the output directory, found -o -",
                       values->report ? "report" : "json");
    return PK_OK;
}

static pk_exit run(const void *parsed, const pk_words *operands)
{
    const struct values *values = parsed;
    const char *file = is_pipeline(operands->items[0]) ? operands->items[0] : NULL;
    pk_words inputs = {.items = operands->items + (file != NULL), .count = operands->count - (file != NULL)};
    pk_pipeline pipeline;
    pk_model_config model;
    question_set set = {0};
    pk_err err = check_values(values, &inputs);
    if (!err)
        err = read_question_set(&set, values);
    if (err) {
        fini_question_set(&set);
        return pk_exit_report(PK_DOING_USAGE, err);
    }
    pk_exit code = pk_source_resolve(&values->source, file, PK_PURPOSE_TEXT, &pipeline, &model);
    if (!code)
        code = process_and_report(values, &pipeline, &model, &inputs, &set);
    pk_pipeline_fini(&pipeline);
    fini_question_set(&set);
    return code;
}

const pk_command pk_command_run = {
    .name = "run",
    .group = "Work",
    .summary = "process documents or request files and write results",
    .operands = "[PIPELINE.yaml] INPUT…",
    .minimum = 1,
    .maximum = UINT32_MAX,
    .details = "INPUT is a text file (.txt, .md), a folder of them, - for standard input, or a request file (.jsonl, a "
               "line of\n"
               "the OpenAI batch format for each request, as vllm run-batch takes it). The first interrupt finishes\n"
               "what is generating and exits 75; the same command goes on with the rest. A second one stops.",
    .options = options,
    .values_bytes = sizeof(struct values),
    .examples = {"penstock run examples/documents -m MODEL -q \"What is this about?\" -o out",
                 "penstock run pipeline.yaml report.txt -q \"Who signed it?\" --set generation.max_tokens=64 -o -"},
    .run = run,
};
