/* tokenize.c - penstock tokenize: text to token ids, one JSON array for each file or line. */
#include "cli/command.h"
#include "cli/source.h"
#include "pipeline/documents.h"
#include "pipeline/tokenize.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct values {
    const char *model;
    bool lines;
};

static const pk_option options[] = {
    {.name = "model",
     .letter = 'm',
     .type = PK_OPTION_TEXT,
     .argument = "DIR",
     .group = "Model",
     .help = "checkpoint directory with tokenizer.json",
     PK_OPTION_INTO(struct values, model)},
    {.name = "lines",
     .type = PK_OPTION_FLAG,
     .group = "Input",
     .help = "each line is a text of its own, without its line end",
     PK_OPTION_INTO(struct values, lines)},
    {0},
};

/* The texts of one command: views into the files that were read. */
typedef struct {
    pk_text_view *views;
    size_t count, capacity;
} texts;

static pk_err add_text(texts *t, const char *text, size_t bytes)
{
    if (t->count == t->capacity) {
        size_t capacity = t->capacity ? 2 * t->capacity : 64;
        pk_text_view *grown = realloc(t->views, capacity * sizeof *grown);
        if (!grown)
            return pk_fail(PK_NOMEM, "%zu texts", capacity);
        t->views = grown;
        t->capacity = capacity;
    }
    t->views[t->count++] = (pk_text_view){.text = text, .bytes = bytes};
    return PK_OK;
}

static pk_err add_lines(texts *t, const char *text, size_t bytes)
{
    const char *at = text, *end = text + bytes;
    pk_err err = PK_OK;
    while (!err && at < end) {
        const char *line_end = memchr(at, '\n', (size_t)(end - at));
        const char *stop = line_end ? line_end : end;
        err = add_text(t, at, (size_t)(stop - at));
        at = stop + 1;
    }
    return err;
}

static pk_err print_ids(void *context, size_t index, const int32_t *ids, size_t count)
{
    (void)context, (void)index;
    putchar('[');
    for (size_t i = 0; i < count; i++)
        printf(i ? ", %" PRId32 : "%" PRId32, ids[i]);
    puts("]");
    return ferror(stdout) ? pk_fail_errno(PK_IO, "standard output") : PK_OK;
}

/* One stage, with limits that a single text at a time needs. */
static pk_exit tokenize(const struct values *values, const texts *t)
{
    pk_pipeline pipeline;
    pk_stage_spec stage = {.name = "tokenize", .kind = PK_STAGE_TOKENIZE, .threads = 1};
    pk_pipeline_init(&pipeline);
    pk_err err = pk_pipeline_set_model(&pipeline, values->model);
    pipeline.limits = (pk_limits){.context = PK_LIMIT_CONTEXT,
                                  .batch_rows = 1,
                                  .sequences = 1,
                                  .window = 4,
                                  .silent_seconds = PK_SILENT_SECONDS,
                                  .hung_seconds = PK_HUNG_SECONDS};
    pipeline.stages = &stage;
    pipeline.stage_count = 1;
    if (!err)
        err = pk_tokenize(&pipeline, t->views, t->count, print_ids, NULL);
    pk_exit code = pk_exit_report(PK_DOING_RUN, err);
    pipeline.stages = NULL; /* ours, not the pipeline's */
    pipeline.stage_count = 0;
    pk_pipeline_fini(&pipeline);
    return code;
}

static pk_exit run(const void *parsed, const pk_words *operands)
{
    const struct values *values = parsed;
    const char *standard_input = "-";
    pk_documents documents = {0};
    texts t = {0};
    char **whole = NULL;
    if (!values->model)
        return pk_exit_report(PK_DOING_USAGE, pk_fail(PK_INVALID, "a model is needed: -m DIR"));
    pk_err err = pk_documents_collect(&documents, operands->count ? operands->items : &standard_input,
                                      operands->count ? operands->count : 1);
    if (!err && !(whole = calloc(documents.count + 1, sizeof *whole)))
        err = pk_fail(PK_NOMEM, "%zu texts", documents.count);
    for (size_t i = 0; !err && i < documents.count; i++) {
        size_t bytes = 0;
        const char *code = NULL;
        err = pk_document_read(&documents.items[i], &whole[i], &bytes, &code);
        if (!err)
            err = values->lines ? add_lines(&t, whole[i], bytes) : add_text(&t, whole[i], bytes);
    }
    pk_exit exit_code = err ? pk_exit_report(PK_DOING_USAGE, err) : tokenize(values, &t);
    for (size_t i = 0; whole && i < documents.count; i++)
        free(whole[i]);
    free(whole);
    free(t.views);
    pk_documents_fini(&documents);
    return exit_code;
}

const pk_command pk_command_tokenize = {
    .name = "tokenize",
    .group = "Parts of the path",
    .summary = "text to token ids, one JSON array for each file or line",
    .operands = "[FILE…|-]",
    .maximum = UINT32_MAX,
    .details = "Runs the tokenize stage that a pipeline runs. Text never becomes a special token.",
    .options = options,
    .values_bytes = sizeof(struct values),
    .examples = {"penstock tokenize -m MODEL report.txt",
                 "printf 'one\\ntwo\\n' | penstock tokenize -m MODEL --lines -"},
    .run = run,
};
