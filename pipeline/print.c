/* print.c - a pipeline written as the YAML file that reads back to it. */
#include "pipeline/file.h"

#include "ipc/utf8.h"
#include "pipeline/expand.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* Writes "key: ", with what goes before the first and between two of a flow map. */
static void begin_key(FILE *out, const char *key, unsigned *count)
{
    fprintf(out, "%s%s: ", (*count)++ ? ", " : "{ ", key);
}

static void print_whole(FILE *out, const char *key, uint64_t value, unsigned *count)
{
    if (!value)
        return; /* not said */
    begin_key(out, key, count);
    fprintf(out, "%llu", (unsigned long long)value);
}

/* In as few digits as read back to it. */
static void print_real(FILE *out, float value)
{
    char text[64];
    int digits = 0;
    do
        snprintf(text, sizeof text, "%.*g", ++digits, (double)value);
    while (digits < 9 && (float)strtod(text, NULL) != value);
    fputs(text, out);
}

/* A character of one to four bytes that a YAML reader refuses or folds when it stands there as it is. */
static bool must_escape(const unsigned char *at)
{
    return *at < ' ' || *at == 127 || (at[0] == 0xC2 && at[1] < 0xA0) ||
           (at[0] == 0xE2 && at[1] == 0x80 && at[2] >= 0xA8) || (at[0] == 0xEF && at[1] == 0xBB && at[2] == 0xBF) ||
           (at[0] == 0xEF && at[1] == 0xBF && at[2] >= 0xBE);
}

/* Writes the character at `at` as an escape and returns its bytes. */
static size_t print_escape(FILE *out, const unsigned char *at)
{
    if (*at < 128)
        return (size_t)(fprintf(out, "\\x%02X", *at) > 0);
    if (*at < 0xE0) {
        fprintf(out, "\\u%04X", (at[0] & 31u) << 6 | (at[1] & 63u));
        return 2;
    }
    fprintf(out, "\\u%04X", (at[0] & 15u) << 12 | (at[1] & 63u) << 6 | (at[2] & 63u));
    return 3;
}

/* `text` is UTF-8. */
static void print_quoted(FILE *out, const char *text)
{
    const unsigned char *at = (const unsigned char *)text;
    fputc('"', out);
    while (*at) {
        if (must_escape(at)) {
            at += print_escape(out, at);
            continue;
        }
        if (*at == '"' || *at == '\\')
            fputc('\\', out);
        fputc(*at++, out);
    }
    fputc('"', out);
}

static pk_err print_model(const char *model, FILE *out)
{
    if (!pk_utf8_check(model, strlen(model), NULL))
        return pk_fail(PK_INVALID, "the model's path is not UTF-8, so that no pipeline file can hold it");
    char *escaped = pk_expand_escape(model);
    if (!escaped)
        return pk_fail(PK_NOMEM, "no memory to print a path");
    fputs("model: ", out);
    print_quoted(out, escaped);
    fputc('\n', out);
    free(escaped);
    return PK_OK;
}

static void print_limits(const pk_limits *limits, FILE *out)
{
    unsigned count = 0;
    if (!limits->context && !limits->batch_rows && !limits->sequences && !limits->window && !limits->silent_seconds &&
        !limits->hung_seconds)
        return;
    fputs("limits: ", out);
    print_whole(out, "context", limits->context, &count);
    print_whole(out, "batch_rows", limits->batch_rows, &count);
    print_whole(out, "sequences", limits->sequences, &count);
    print_whole(out, "window", limits->window, &count);
    print_whole(out, "silent_seconds", limits->silent_seconds, &count);
    print_whole(out, "hung_seconds", limits->hung_seconds, &count);
    fputs(" }\n", out);
}

static void print_generation(const pk_generation *generation, FILE *out)
{
    unsigned count = 0;
    fputs("generation: ", out);
    print_whole(out, "max_tokens", generation->max_tokens, &count);
    begin_key(out, "temperature", &count);
    print_real(out, generation->temperature);
    if (generation->top_p > 0) {
        begin_key(out, "top_p", &count);
        print_real(out, generation->top_p);
    }
    begin_key(out, "top_k", &count);
    fprintf(out, "%u", (unsigned)generation->top_k);
    begin_key(out, "min_p", &count);
    print_real(out, generation->min_p);
    begin_key(out, "seed", &count);
    fprintf(out, "%llu }\n", (unsigned long long)generation->seed);
}

static void print_stage(const pk_stage_spec *stage, FILE *out)
{
    unsigned count = 0;
    fputs("  - ", out);
    begin_key(out, "name", &count);
    /* Quoted, as a name may look like a number or like "null". */
    fprintf(out, "\"%s\", kind: %s", stage->name, pk_stage_kind_word(stage->kind));
    if (stage->kind == PK_STAGE_LAYERS)
        fprintf(out, ", layers: %u-%u", stage->first_layer, stage->last_layer);
    if (stage->kind == PK_STAGE_LAYERS || stage->kind == PK_STAGE_HEAD) {
        print_whole(out, "threads", stage->threads, &count);
        if (*stage->device)
            fprintf(out, ", device: \"%s\"", stage->device);
        fprintf(out, ", io: %s", pk_stage_io_word(stage->io));
    }
    fputs(" }\n", out);
}

pk_err pk_pipeline_print(const pk_pipeline *pipeline, FILE *out)
{
    fputs("version: 1\n", out);
    pk_err err = pipeline->model ? print_model(pipeline->model, out) : PK_OK;
    if (err)
        return err;
    print_limits(&pipeline->limits, out);
    print_generation(&pipeline->generation, out);
    if (pipeline->stage_count)
        fputs("stages:\n", out);
    for (uint32_t i = 0; i < pipeline->stage_count; ++i)
        print_stage(&pipeline->stages[i], out);
    return fflush(out) || ferror(out) ? pk_fail_errno(PK_IO, "print the pipeline") : PK_OK;
}
