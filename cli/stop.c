/* stop.c - penstock stop: what the second interrupt does, from elsewhere. */
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
    return pk_live_tell(values->run, "stop", values->json, "the run stops");
}

const pk_command pk_command_stop = {
    .name = "stop",
    .group = "A run",
    .summary = "stop at once",
    .operands = "",
    .details =
        "The same as the second interrupt: every process ends, and the run with exit 143. Answers that were ready are\n"
        "kept; the command that started it goes on with the rest.",
    .options = options,
    .values_bytes = sizeof(struct values),
    .examples = {"penstock stop --run out", "penstock stop --run out --json"},
    .run = run,
};
