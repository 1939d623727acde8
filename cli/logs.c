/* logs.c - penstock logs: what the stages of a run wrote to their stderr, in the order of time. */
#include "cli/command.h"
#include "cli/live.h"
#include "pipeline/console.h"
#include "pipeline/json_text.h"
#include "pipeline/log_view.h"
#include "pipeline/run_dir.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FOLLOW_US = 200 * 1000, TAIL_MOST = 1000000 };

struct values {
    const char *run;
    bool follow, json;
    uint64_t tail;
};

static const pk_option options[] = {
    PK_RUN_OPTION(struct values, run),
    {.name = "follow",
     .letter = 'f',
     .type = PK_OPTION_FLAG,
     .group = "Output",
     .help = "go on with what is written, until the run ends",
     PK_OPTION_INTO(struct values, follow)},
    {.name = "tail",
     .letter = 'n',
     .type = PK_OPTION_WHOLE,
     .argument = "N",
     .minimum = 1,
     .maximum = TAIL_MOST,
     .group = "Output",
     .help = "begin with the last N lines (default: with the first)",
     PK_OPTION_INTO(struct values, tail)},
    PK_JSON_OPTION(struct values, json),
    {0},
};

/* A line as it is to be printed; owned. */
static char *render(const pk_log_line *line, bool json)
{
    pk_json_text text = {0};
    if (json) {
        pk_json_text_raw(&text, "{\"stage\": ");
        pk_json_text_word(&text, line->stage);
        pk_json_text_raw(&text, ", \"time\": \"%s\", \"line\": ", line->time);
        pk_json_text_word(&text, line->text);
        pk_json_text_raw(&text, "}%c", 0);
        return text.bytes;
    }
    pk_json_text_raw(&text, "%-14s | %s %s%c", line->stage, line->time, line->text, 0);
    for (char *at = text.bytes; at && *at; at++) /* a stage's words do not steer a terminal */
        if (((unsigned char)*at < ' ' && *at != '\t') || *at == 127)
            *at = '?';
    return text.bytes;
}

/* The last lines so far: a ring. */
typedef struct {
    char **lines;
    uint64_t capacity, seen;
} tail;

static void keep(tail *kept, char *line)
{
    char **place = &kept->lines[kept->seen++ % kept->capacity];
    free(*place);
    *place = line;
}

static void print_tail(tail *kept)
{
    uint64_t first = kept->seen > kept->capacity ? kept->seen - kept->capacity : 0;
    for (uint64_t i = first; i < kept->seen; i++) {
        puts(kept->lines[i % kept->capacity]);
        free(kept->lines[i % kept->capacity]);
    }
    free(kept->lines);
    *kept = (tail){0};
}

/* All that is there now, printed or kept. */
static pk_err take_lines(pk_log_view *view, bool json, tail *kept)
{
    pk_log_line line;
    pk_err err;
    while (!(err = pk_log_view_next(view, &line))) {
        char *rendered = render(&line, json);
        if (!rendered)
            return pk_fail(PK_NOMEM, "a line of the log of %s", line.stage);
        if (kept->capacity)
            keep(kept, rendered);
        else {
            puts(rendered);
            free(rendered);
        }
    }
    return err == PK_AGAIN ? PK_OK : err;
}

/* Whether the run lives is asked first: what it wrote before its end is read after that. */
static pk_err follow(pk_log_view *view, const char *run_dir, bool json)
{
    pk_err err = PK_OK;
    bool live = true;
    tail none = {0};
    while (!err && live && !ferror(stdout)) {
        fflush(stdout);
        usleep(FOLLOW_US);
        live = pk_console_is_live(run_dir);
        err = take_lines(view, json, &none);
    }
    return err;
}

static pk_err print(const struct values *values, const char *run_dir, const char *stage)
{
    char folder[PATH_MAX + 16];
    pk_log_view *view = NULL;
    tail kept = {.capacity = values->tail};
    snprintf(folder, sizeof folder, "%s/" PK_RUN_DIR_LOGS, run_dir);
    if (kept.capacity && !(kept.lines = calloc(kept.capacity, sizeof *kept.lines)))
        return pk_fail(PK_NOMEM, "the last %llu lines", (unsigned long long)kept.capacity);
    pk_err err = pk_log_view_open(&view, folder, stage);
    if (!err)
        err = take_lines(view, values->json, &kept);
    print_tail(&kept);
    if (!err && values->follow)
        err = follow(view, run_dir, values->json);
    pk_log_view_close(&view);
    return err;
}

static pk_exit run(const void *parsed, const pk_words *operands)
{
    const struct values *values = parsed;
    char run_dir[PATH_MAX];
    pk_err err = pk_run_dir_find(run_dir, values->run);
    if (!err)
        err = print(values, run_dir, operands->count ? operands->items[0] : NULL);
    return pk_exit_report(PK_DOING_USAGE, err);
}

const pk_command pk_command_logs = {
    .name = "logs",
    .group = "A run",
    .summary = "what its stages wrote to standard error, in the order of time",
    .operands = "[STAGE]",
    .maximum = 1,
    .details = "Of a run that is live or over. Without STAGE, the lines of all. Files: DIR/.penstock/logs/STAGE.log.",
    .options = options,
    .values_bytes = sizeof(struct values),
    .examples = {"penstock logs --run out --follow", "penstock logs head --run out --tail 20"},
    .run = run,
};
