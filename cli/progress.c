#include "cli/progress.h"

#include "ipc/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const uint64_t second_ns = 1000000000;

bool pk_progress_on_terminal(void)
{
    const char *kind = getenv("TERM");
    return isatty(STDERR_FILENO) && kind && *kind && strcmp(kind, "dumb") != 0;
}

void pk_progress_begin(pk_progress *progress, const char *what)
{
    uint64_t now = pk_clock_ns();
    *progress = (pk_progress){.what = what, .begun_ns = now, .said_ns = now, .terminal = pk_progress_on_terminal()};
}

static double gigabytes_per_second(const pk_progress *progress, uint64_t now)
{
    uint64_t elapsed = now - progress->begun_ns;
    return elapsed ? (double)progress->done / (double)elapsed : 0; /* bytes in a nanosecond are GB in a second */
}

void pk_progress_update(void *context, uint64_t done, uint64_t total)
{
    pk_progress *progress = context;
    uint64_t now = pk_clock_ns(), pause = progress->terminal ? second_ns / 5 : 3 * second_ns;
    progress->done = done;
    progress->total = total;
    if (now - progress->said_ns < pause)
        return;
    progress->said_ns = now;
    fprintf(stderr, "%s%s: %.2f of %.2f GB, %.0f %%, %.2f GB/s%s", progress->terminal ? "\r" : "", progress->what,
            (double)done / 1e9, (double)total / 1e9, total ? 100.0 * (double)done / (double)total : 100.0,
            gigabytes_per_second(progress, now), progress->terminal ? "\033[K" : "\n");
}

void pk_progress_end(pk_progress *progress)
{
    uint64_t now = pk_clock_ns();
    fprintf(stderr, "%s%s: %.3f GB in %.2f s, %.2f GB/s%s\n", progress->terminal ? "\r" : "", progress->what,
            (double)progress->done / 1e9, (double)(now - progress->begun_ns) / 1e9, gigabytes_per_second(progress, now),
            progress->terminal ? "\033[K" : "");
}
