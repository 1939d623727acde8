/* debug.c - penstock debug reset: the barrier that a recovery goes through, though nothing is wrong. */
#include "cli/command.h"
#include "cli/live.h"

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
    (void)operands;
    return pk_live_tell(values->run, "reset", values->json, "the stages forget all sequences; the run does them again");
}

const pk_command pk_command_debug_reset = {
    .name = "debug reset",
    .group = "A run",
    .summary = "make the stages of a live run forget everything",
    .operands = "",
    .details =
        "Raises the epoch: every stage forgets all sequences and takes new links, and what was under way is done "
        "again\n"
        "from its first token. Results do not change by a bit; that is what this command is there to show. SIGUSR1 to\n"
        "the process of any command that runs stages does the same.",
    .options = options,
    .values_bytes = sizeof(struct values),
    .examples = {"penstock debug reset --run out", "penstock debug reset --run out --json"},
    .run = run,
};
