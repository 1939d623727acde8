/* drain.c - penstock drain: what the first interrupt does, from elsewhere. */
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
    return pk_live_tell(values->run, "drain", values->json,
                        "the run finishes what is generating, then ends; the same command resumes");
}

const pk_command pk_command_drain = {
    .name = "drain",
    .group = "A run",
    .summary = "finish what is generating, then end",
    .operands = "",
    .details =
        "The same as the first interrupt: what is generating is finished and written, what waits is left, and the run\n"
        "ends with exit 75. The command that started it goes on with the rest. While weights are loading, it stops.",
    .options = options,
    .values_bytes = sizeof(struct values),
    .examples = {"penstock drain --run out", "penstock drain --run out --json"},
    .run = run,
};
