/* penstock-probe: what this machine can do, as JSON; probe.h. */
#include "stages/probe.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static pk_err print_limits(unsigned threads)
{
    pk_probe_limits limits;
    pk_err err = pk_probe_measure_limits(&limits, threads);
    if (!err)
        printf("{\"fma_gflops\": %.1f, \"read_gbs\": %.1f}\n", limits.fma_gflops, limits.read_gbs);
    return err;
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    unsigned long threads = argc == 3 ? strtoul(argv[2], NULL, 10) : 0;
    bool counted = threads >= 1 && threads <= PK_PROBE_THREADS_MAX;
    pk_err err;
    if (argc == 2 && !strcmp(what, "accelerators"))
        err = pk_probe_print_accelerators();
    else if (counted && !strcmp(what, "limits"))
        err = print_limits((unsigned)threads);
    else if (counted && !strcmp(what, "speeds"))
        err = pk_probe_print_speeds((unsigned)threads);
    else {
        fprintf(stderr, "usage: penstock-probe accelerators | limits THREADS | speeds THREADS (1 to %d)\n",
                PK_PROBE_THREADS_MAX);
        return 100;
    }
    if (err)
        fprintf(stderr, "penstock-probe: %s\n", pk_error_text());
    return err || fflush(stdout) ? 1 : 0;
}
