/* jobs.c - penstock jobs: the requests of a run and their state, from the live run or from its journal. */
#include "cli/command.h"
#include "cli/live.h"
#include "pipeline/console.h"
#include "pipeline/journal_view.h"
#include "pipeline/json_text.h"
#include "pipeline/run_dir.h"

#include <stdio.h>
#include <stdlib.h>

enum { PAGE_VALUES = 1 << 18 };

struct values {
    const char *run;
    bool json;
};

static const pk_option options[] = {
    PK_RUN_OPTION(struct values, run),
    PK_JSON_OPTION(struct values, json),
    {0},
};

static pk_err print_job(void *context, const char *custom_id, const char *state)
{
    const struct values *values = context;
    pk_json_text text = {0};
    if (!values->json) {
        printf("%-10s %s\n", state, custom_id);
        return PK_OK;
    }
    pk_json_text_raw(&text, "{\"id\": ");
    pk_json_text_word(&text, custom_id);
    pk_json_text_raw(&text, ", \"state\": \"%s\"}\n", state);
    pk_err err = pk_json_text_check(&text);
    if (!err)
        fwrite(text.bytes, 1, text.used, stdout);
    pk_json_text_fini(&text);
    return err;
}

static pk_err print_page(const struct values *values, const pk_json *page)
{
    const pk_json *jobs = pk_json_member(page, "jobs");
    pk_err err = PK_OK;
    for (size_t i = 0; !err && jobs && i < pk_json_count(jobs); i++) {
        const pk_json *job = pk_json_item(jobs, i);
        err = print_job((void *)(uintptr_t)values, pk_look_word(job, "id"), pk_look_word(job, "state"));
    }
    return err;
}

/* A page from *next on; *next is then where the following begins, 0 after the last. */
static pk_err ask_page(const struct values *values, const char *run_dir, uint64_t *next)
{
    char *text = NULL;
    size_t bytes = 0;
    pk_json *page = NULL;
    uint64_t from = *next;
    pk_err err = pk_console_ask(run_dir, "jobs", from, PK_CONSOLE_PATIENCE_MS, &text, &bytes);
    if (!err)
        err = pk_json_open(&page, text, bytes, PAGE_VALUES);
    if (!err)
        err = print_page(values, page);
    if (!err) {
        *next = (uint64_t)pk_look_number(page, "next");
        if (*next <= from || *next >= (uint64_t)pk_look_number(page, "count"))
            *next = 0;
    }
    pk_json_close(&page);
    free(text);
    return err;
}

static pk_err print_jobs(const struct values *values, const char *run_dir)
{
    char journal[PATH_MAX + 32];
    uint64_t next = 0;
    pk_err err = ask_page(values, run_dir, &next);
    while (!err && next)
        err = ask_page(values, run_dir, &next);
    if (err != PK_CLOSED)
        return err;
    if (next)
        return pk_fail(PK_PEER, "the run ended while it was asked");
    snprintf(journal, sizeof journal, "%s/" PK_RUN_DIR_JOURNAL, run_dir);
    return pk_journal_view(journal, print_job, (void *)(uintptr_t)values);
}

static pk_exit run(const void *parsed, const pk_words *operands)
{
    const struct values *values = parsed;
    char run_dir[PATH_MAX];
    (void)operands;
    pk_err err = pk_run_dir_find(run_dir, values->run);
    return pk_exit_report(PK_DOING_USAGE, err ? err : print_jobs(values, run_dir));
}

const pk_command pk_command_jobs = {
    .name = "jobs",
    .group = "A run",
    .summary = "its requests and their state",
    .operands = "",
    .details =
        "States: queued, tokenizing, running (prefill, decode, rendering), done, failed. Of a run that is over,\n"
        "what its journal says: queued, done, failed; errors.jsonl says why.",
    .options = options,
    .values_bytes = sizeof(struct values),
    .examples = {"penstock jobs --run out",
                 "penstock jobs --run out --json | jq -r 'select(.state == \"failed\") | .id'"},
    .run = run,
};
