/* model_quantize.c - penstock model quantize: a checkpoint again, with integers as weights. */
#include "cli/command.h"
#include "cli/json.h"
#include "cli/progress.h"
#include "loader/quantize.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

struct values {
    const char *bits, *what, *report;
};

static const pk_option options[] = {
    {.name = "bits",
     .letter = 'b',
     .type = PK_OPTION_CHOICE,
     .argument = "8|4",
     .standard = "8",
     .group = "Weights",
     .help = "of an integer; 64 of them share a scale",
     PK_OPTION_INTO(struct values, bits)},
    {.name = "what",
     .type = PK_OPTION_CHOICE,
     .argument = "linear|experts",
     .standard = "linear",
     .group = "Weights",
     .help = "linear: every matrix but router, embedding and head; experts: those of routed experts only",
     PK_OPTION_INTO(struct values, what)},
    {.name = "report",
     .type = PK_OPTION_TEXT,
     .argument = "FILE.json",
     .group = "Output",
     .help = "write the error of every matrix there",
     PK_OPTION_INTO(struct values, report)},
    {0},
};

/* One line for each part of the model; the mean is over matrices, of their relative errors. */
static void print_part(const pk_quantize_report *report, pk_survey_part part)
{
    const pk_quantize_error *worst = NULL;
    double sum = 0.0, largest = 0.0;
    size_t count = 0;
    for (size_t i = 0; i < report->count; i++) {
        const pk_quantize_error *error = &report->errors[i];
        if (error->part != part)
            continue;
        count++;
        sum += error->relative;
        largest = error->largest > largest ? error->largest : largest;
        worst = worst && worst->relative >= error->relative ? worst : error;
    }
    if (worst)
        printf("%-20s %8zu %10.6f %10.6f %12.3g  %s\n", pk_survey_part_word(part), count, sum / (double)count,
               worst->relative, largest, worst->name);
}

static void print_table(const pk_quantize_report *report)
{
    printf("%-20s %8s %10s %10s %12s  %s\n", "error", "matrices", "mean", "worst", "largest", "worst matrix");
    for (int part = 0; part < PK_SURVEY_PARTS_COUNT; part++)
        print_part(report, (pk_survey_part)part);
    printf("bytes %" PRIu64 ", before %" PRIu64 " (%.3f)\n", report->bytes, report->source_bytes,
           (double)report->bytes / (double)report->source_bytes);
}

static void put_report(pk_json_text *out, const pk_quantize_options *o, const pk_quantize_report *report,
                       const struct values *values)
{
    pk_json_text_raw(out, "{\"source\": ");
    pk_json_text_word(out, o->source);
    pk_json_text_raw(out, ", \"dir\": ");
    pk_json_text_word(out, o->dir);
    pk_json_text_raw(
        out, ", \"bits\": %s, \"what\": \"%s\", \"source_bytes\": %" PRIu64 ", \"bytes\": %" PRIu64 ", \"tensors\": [",
        values->bits, values->what, report->source_bytes, report->bytes);
    for (size_t i = 0; i < report->count; i++) {
        const pk_quantize_error *error = &report->errors[i];
        pk_json_text_raw(out, "%s\n  {\"name\": ", i ? "," : "");
        pk_json_text_word(out, error->name);
        pk_json_text_raw(out,
                         ", \"shape\": [%" PRIu64 ", %" PRIu64 "], \"relative_error\": %.9g, \"largest_error\": %.9g}",
                         error->rows, error->columns, error->relative, error->largest);
    }
    pk_json_text_raw(out, "\n]}\n");
}

static pk_err write_report(const pk_quantize_options *o, const pk_quantize_report *report, const struct values *values)
{
    pk_json_text out = {0};
    put_report(&out, o, report, values);
    pk_err err = pk_json_text_check(&out);
    FILE *file = err ? NULL : fopen(values->report, "w");
    if (!err && (!file || fwrite(out.bytes, 1, out.used, file) != out.used))
        err = pk_fail_errno(PK_IO, "write %s", values->report);
    if (file && fclose(file) && !err)
        err = pk_fail_errno(PK_IO, "write %s", values->report);
    pk_json_text_fini(&out);
    return err;
}

static pk_exit quantize(const void *parsed, const pk_words *operands)
{
    const struct values *values = parsed;
    pk_progress progress;
    pk_quantize_report report = {0};
    pk_quantizer *quantizer = NULL;
    pk_quantize_options o = {
        .source = operands->items[0],
        .dir = operands->items[1],
        .dtype = strcmp(values->bits, "4") ? PK_I8 : PK_I4,
        .what = strcmp(values->what, "experts") ? PK_QUANTIZE_LINEAR : PK_QUANTIZE_EXPERTS,
        .progress = pk_progress_update,
        .progress_context = &progress,
    };
    pk_err err = pk_quantizer_open(&quantizer, &o);
    if (err)
        return pk_exit_report(PK_DOING_MODEL, err);
    pk_progress_begin(&progress, o.dir);
    err = pk_quantizer_write(quantizer, &report);
    pk_exit code = pk_exit_report(err == PK_CORRUPT ? PK_DOING_MODEL : PK_DOING_OUTPUT, err);
    if (!err) {
        pk_progress_end(&progress);
        print_table(&report);
        code = pk_exit_report(PK_DOING_OUTPUT, values->report ? write_report(&o, &report, values) : PK_OK);
    }
    pk_quantize_fini(&report);
    pk_quantizer_close(&quantizer);
    return code;
}

const pk_command pk_command_model_quantize = {
    .name = "model quantize",
    .group = "Models",
    .summary = "write a checkpoint again with int8 or int4 weights",
    .operands = "SOURCE DIR",
    .minimum = 2,
    .maximum = 2,
    .details =
        "Writes DIR, which must be new or empty, by the conventions of compressed-tensors: int-quantized (8 bits) or\n"
        "pack-quantized (4), symmetric, in groups of 64 inputs. It runs like any other model. Reads SOURCE in pieces:\n"
        "memory does not grow with the model. DIR appears when it is complete. Prints what the rounding did, as\n"
        "|difference| / |weights|.",
    .options = options,
    .values_bytes = sizeof(struct values),
    .examples = {"penstock model quantize examples/model /data/model-int8",
                 "penstock model quantize SOURCE DIR --bits 4 --what experts --report errors.json"},
    .run = quantize,
};
