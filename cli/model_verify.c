/* model_verify.c - penstock model verify: reads all of a checkpoint and says what is wrong with it. */
#include "cli/command.h"
#include "cli/json.h"
#include "cli/model_survey.h"
#include "cli/progress.h"
#include "loader/verify.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct values {
    const char *sums, *write_sums;
    bool json;
};

static const pk_option options[] = {
    {.name = "sums",
     .type = PK_OPTION_TEXT,
     .argument = "FILE",
     .group = "Sums",
     .help = "compare with the digests in this file; a file that differs is a fault",
     PK_OPTION_INTO(struct values, sums)},
    {.name = "write-sums",
     .type = PK_OPTION_TEXT,
     .argument = "FILE",
     .group = "Sums",
     .help = "write the digests there, where nothing is wrong; `xxhsum -c` in DIR reads them too",
     PK_OPTION_INTO(struct values, write_sums)},
    PK_JSON_OPTION(struct values, json),
    {0},
};

enum { LISTED = 20 }; /* faults that are shown to people; JSON has all */

static double rate(uint64_t bytes, uint64_t ns)
{
    return ns ? (double)bytes / (double)ns : 0; /* bytes in a nanosecond are GB in a second */
}

static pk_err print_sums(const pk_verify_report *report)
{
    char *text = NULL, digest[PK_DIGEST_TEXT];
    pk_err err = pk_verify_sums_text(report, &text);
    if (!err)
        printf("%s%s  (all of the above)\n", text, pk_digest_text(digest, report->model));
    free(text);
    return err;
}

static void json_files(pk_json_text *out, const pk_verify_report *report)
{
    char digest[PK_DIGEST_TEXT];
    pk_json_text_raw(out, ", \"files\": [");
    for (size_t i = 0; i < report->file_count; i++) {
        pk_json_text_raw(out, "%s{\"name\": ", i ? ", " : "");
        pk_json_text_word(out, report->files[i].name);
        pk_json_text_raw(out, ", \"bytes\": %" PRIu64 ", \"xxh3_128\": \"%s\"}", report->files[i].bytes,
                         pk_digest_text(digest, report->files[i].digest));
    }
    pk_json_text_raw(out, "], \"xxh3_128\": \"%s\"", pk_digest_text(digest, report->model));
}

static pk_exit print_json(const pk_survey *survey, const pk_verify_report *report)
{
    pk_json_text out = {0};
    pk_json_text_raw(&out, "{\"dir\": ");
    pk_json_text_word(&out, survey->dir);
    pk_json_text_raw(&out, ", \"good\": %s", survey->fault_count ? "false" : "true");
    json_files(&out, report);
    pk_json_text_raw(&out, ", \"tensors\": %" PRIu64 ", \"values\": %" PRIu64 ", \"bytes\": %" PRIu64, report->tensors,
                     report->values, report->bytes);
    pk_json_text_raw(&out, ", \"seconds\": %.3f, \"read_seconds\": %.3f, \"check_seconds\": %.3f",
                     (double)report->wall_ns / 1e9, (double)report->read_ns / 1e9, (double)report->check_ns / 1e9);
    pk_survey_json_faults(&out, survey);
    pk_json_text_raw(&out, "}\n");
    return pk_json_print(&out);
}

static pk_err write_sums(const pk_verify_report *report, const char *path)
{
    char *text = NULL;
    pk_err err = pk_verify_sums_text(report, &text);
    FILE *file = err ? NULL : fopen(path, "w");
    if (!err && (!file || fputs(text, file) < 0))
        err = pk_fail_errno(PK_IO, "write %s", path);
    if (file && fclose(file) && !err)
        err = pk_fail_errno(PK_IO, "write %s", path);
    free(text);
    return err;
}

static void tell_speed(const pk_verify_report *r)
{
    fprintf(stderr,
            "penstock: %.2f GB/s; the disk gave %.2f GB/s while it was read, checking alone runs at %.2f GB/s\n",
            rate(r->bytes, r->wall_ns), rate(r->bytes, r->read_ns), rate(r->bytes, r->check_ns));
}

/* The first fault stands in the last line, as the error of any command does. */
static pk_exit tell_faults(const pk_survey *survey)
{
    for (size_t i = 1; i < survey->fault_count && i < LISTED; i++)
        fprintf(stderr, "penstock: also: %s\n", survey->faults[i].what);
    if (survey->fault_count > LISTED)
        fprintf(stderr, "penstock: also: %zu more\n", survey->fault_count - LISTED);
    return pk_exit_report(PK_DOING_MODEL,
                          pk_fail(PK_CORRUPT, "%s: %s; %zu fault%s in all", survey->dir, survey->faults[0].what,
                                  survey->fault_count, survey->fault_count > 1 ? "s" : ""));
}

static pk_exit conclude(const struct values *values, const pk_survey *survey, const pk_verify_report *report)
{
    pk_err err;
    pk_exit code = values->json ? print_json(survey, report) : pk_exit_report(PK_DOING_OUTPUT, print_sums(report));
    if (code)
        return code;
    tell_speed(report);
    if (survey->fault_count)
        return tell_faults(survey);
    if (values->write_sums && (err = write_sums(report, values->write_sums)))
        return pk_exit_report(PK_DOING_OUTPUT, err);
    fprintf(stderr, "penstock: %s is whole: %zu files, %" PRIu64 " tensors, %" PRIu64 " values, all finite\n",
            survey->dir, report->file_count, report->tensors, report->values);
    return PK_EXIT_OK;
}

static pk_exit verify(const void *parsed, const pk_words *operands)
{
    const struct values *values = parsed;
    pk_survey *survey = NULL;
    pk_progress progress;
    pk_err err = pk_survey_open(&survey, operands->items[0]);
    if (err)
        return pk_exit_report(PK_DOING_MODEL, err);
    pk_verify_report report = {0};
    pk_progress_begin(&progress, survey->dir);
    err = pk_verify(survey, (pk_verify_options){.progress = pk_progress_update, .context = &progress}, &report);
    if (!err)
        pk_progress_end(&progress);
    pk_exit code = pk_exit_report(PK_DOING_MODEL, err);
    if (!code && values->sums)
        code = pk_exit_report(PK_DOING_USAGE, pk_verify_compare(survey, &report, values->sums));
    if (!code)
        code = conclude(values, survey, &report);
    pk_verify_fini(&report);
    pk_survey_close(&survey);
    return code;
}

const pk_command pk_command_model_verify = {
    .name = "model verify",
    .group = "Models",
    .summary = "read all of a checkpoint: shapes, types, NaN and Inf, digests",
    .operands = "DIR",
    .minimum = 1,
    .maximum = 1,
    .details =
        "Prints a digest (xxh3-128) of each file and one of all. Exit 6 with the first fault and their number when\n"
        "anything is wrong: a file or tensor that is missing or of another shape, a value that is not finite, a\n"
        "digest that is not the one in --sums.",
    .options = options,
    .values_bytes = sizeof(struct values),
    .examples = {"penstock model verify DIR --write-sums model.xxh",
                 "penstock model verify DIR --sums model.xxh --json"},
    .run = verify,
};
