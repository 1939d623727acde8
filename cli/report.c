/* report.c - penstock report: a run that has ended as one page. */
#include "cli/command.h"
#include "pipeline/report.h"

#include <stdio.h>

struct values {
    const char *run, *run_dir, *trace, *out;
};

static const pk_option options[] = {
    {.name = "run",
     .type = PK_OPTION_TEXT,
     .argument = "DIR",
     .standard = "out",
     .group = "Run",
     .help = "output directory of the run",
     PK_OPTION_INTO(struct values, run)},
    {.name = "run-dir",
     .type = PK_OPTION_TEXT,
     .argument = "DIR",
     .group = "Run",
     .help = "its run directory (default: DIR/.penstock)",
     PK_OPTION_INTO(struct values, run_dir)},
    {.name = "trace",
     .type = PK_OPTION_TEXT,
     .argument = "FILE",
     .group = "Run",
     .help = "the timeline that the run's --trace wrote; without one the page has none",
     PK_OPTION_INTO(struct values, trace)},
    {.name = "out",
     .letter = 'o',
     .type = PK_OPTION_TEXT,
     .argument = "FILE.html",
     .standard = "report.html",
     .group = "Output",
     .help = "the page",
     PK_OPTION_INTO(struct values, out)},
    {0},
};

static pk_exit run(const void *parsed, const pk_words *operands)
{
    const struct values *values = parsed;
    (void)operands;
    pk_err err = pk_report_write(&(pk_report_options){
        .out_dir = values->run, .run_dir = values->run_dir, .trace = values->trace, .path = values->out});
    if (!err)
        fprintf(stderr, "penstock: the report is %s\n", values->out);
    return pk_exit_report(PK_DOING_OUTPUT, err);
}

const pk_command pk_command_report = {
    .name = "report",
    .group = "Work",
    .summary = "a run as one self-contained page: graph, timeline, stages, requests",
    .operands = "",
    .details = "The page needs nothing but a browser. `penstock run --report FILE.html` writes it at the end of a run.",
    .options = options,
    .values_bytes = sizeof(struct values),
    .examples = {"penstock report --run out", "penstock report --run out --trace out/trace.json -o out/report.html"},
    .run = run,
};
