/* live.h - what the commands that look at a run have in common: --run DIR, --json, and a look at it.
 *
 * A look is the status of a run as run_status.h writes it: that of the live run, or, when none is live, the last that
 * the run directory was left with. */
#ifndef PK_CLI_LIVE_H
#define PK_CLI_LIVE_H

#include "cli/json.h"
#include "loader/json.h"

#include <limits.h>

#define PK_RUN_OPTION(owner, member)                                                                                   \
    {                                                                                                                  \
        .name = "run", .type = PK_OPTION_TEXT, .argument = "DIR", .standard = "out", .group = "Run",                   \
        .help = "output directory of the run, or its run directory", PK_OPTION_INTO(owner, member)                     \
    }
typedef struct {
    char dir[PATH_MAX]; /* the run directory */
    bool live;
    char *text; /* the status as it came; owned, `bytes` long */
    size_t bytes;
    pk_json *status; /* the same, parsed; owned */
} pk_look;

/* `run` as --run gives it. PK_INVALID: no run's directory; PK_CLOSED: no run is live, and none left a status; PK_PEER:
 * it is live and does not answer; PK_CORRUPT. After a failure nothing is to be finished. */
pk_err pk_look_open(pk_look *out, const char *run);
void pk_look_fini(pk_look *look);

/* Numbers and words of a status; 0 and "" where they are not. */
double pk_look_number(const pk_json *object, const char *name);
const char *pk_look_word(const pk_json *object, const char *name);

/* Asks the live run (pk_console_ask) and prints its answer on stdout (json) or `said` on stderr. */
pk_exit pk_live_tell(const char *run, const char *verb, bool json, const char *said);

#endif
