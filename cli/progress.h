/* progress.h - how far bytes have come, said to a person on stderr.
 *
 * On a terminal one line that is rewritten, elsewhere a plain line every few seconds; both end with a line that says
 * the total and the rate. */
#ifndef PK_CLI_PROGRESS_H
#define PK_CLI_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

typedef struct {
    const char *what; /* "writing weights"; view, for the life of the progress */
    uint64_t begun_ns, said_ns;
    uint64_t done, total; /* bytes */
    bool terminal;
} pk_progress;

/* Whether stderr is a terminal on which a line can be rewritten. Nothing of ours has colours: NO_COLOR asks for nothing
 * more. */
bool pk_progress_on_terminal(void);

void pk_progress_begin(pk_progress *progress, const char *what);

/* Fits as a callback: `progress` is a pk_progress. Cheap; says something a few times a second at most. */
void pk_progress_update(void *progress, uint64_t done, uint64_t total);

void pk_progress_end(pk_progress *progress);

#endif
