/* ps.c - penstock ps: the processes of a run. */
#include "cli/command.h"
#include "cli/live.h"
#include "cli/run_table.h"

#include <stdio.h>

struct values {
    const char *run;
    bool json;
};

static const pk_option options[] = {
    PK_RUN_OPTION(struct values, run),
    PK_JSON_OPTION(struct values, json),
    {0},
};

static pk_exit run(const void *parsed, const pk_words *operands)
{
    const struct values *values = parsed;
    pk_look look;
    (void)operands;
    pk_err err = pk_look_open(&look, values->run);
    if (err)
        return pk_exit_report(PK_DOING_USAGE, err);
    if (!look.live)
        fprintf(stderr, "penstock: no run is live in %s; its state was \"%s\" at %s\n", look.dir,
                pk_look_word(look.status, "state"), pk_look_word(look.status, "time"));
    if (values->json)
        fwrite(look.text, 1, look.bytes, stdout);
    else
        pk_run_table_processes(stdout, look.status, NULL);
    pk_look_fini(&look);
    return PK_EXIT_OK;
}

const pk_command pk_command_ps = {
    .name = "ps",
    .group = "A run",
    .summary = "its processes: state, device, memory, processor, batches, rows, time busy and waiting",
    .operands = "",
    .details = "Of a run that is over, what it was left with. CPU is the share of one core since the start.",
    .options = options,
    .values_bytes = sizeof(struct values),
    .examples = {"penstock ps --run out", "penstock ps --run out --json | jq '.processes[] | .name, .rows'"},
    .run = run,
};
