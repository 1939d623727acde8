/* simulate - the protocol over many simulated runs, one for each seed: simulate --seeds N --from S [--trace].
 *
 * A seed is one history, event for event: a failing one is repeated with --from SEED --seeds 1 --trace. Exit 0: all
 * invariants held in all runs; 1: not, and the first failures are printed; 2: usage. --expect-failure is for builds
 * whose protocol is broken on purpose: 0 when a failure was found, else 1. */
#include "tests/simulate/world.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { SHOWN = 3 };

typedef struct {
    uint64_t seeds, from;
    bool trace, expect_failure;
} settings;

static bool parse(settings *s, int argc, char **argv)
{
    static const struct option options[] = {{"seeds", required_argument, NULL, 'n'},
                                            {"from", required_argument, NULL, 's'},
                                            {"trace", no_argument, NULL, 't'},
                                            {"expect-failure", no_argument, NULL, 'e'},
                                            {0}};
    int option;
    *s = (settings){.seeds = 1000, .from = 1};
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        char *end = NULL;
        uint64_t *number = option == 'n' ? &s->seeds : option == 's' ? &s->from : NULL;
        if (number)
            *number = strtoull(optarg, &end, 10);
        s->trace |= option == 't';
        s->expect_failure |= option == 'e';
        if (option == '?' || (end && *end))
            return false;
    }
    return optind == argc && s->seeds > 0;
}

/* One line of sums. */
static void print_sums(uint64_t seeds, const world_report *sums, uint64_t clean_ends, uint64_t failures)
{
    printf("%" PRIu64 " runs, %" PRIu64 " events, %.0f virtual hours, %" PRIu32 " epochs, %" PRIu32 " deaths, %" PRIu32
           " restarts, %" PRIu64 " clean ends by a fault\n",
           seeds, sums->events, (double)sums->virtual_ns / 3.6e12, sums->epochs, sums->deaths, sums->recoveries,
           clean_ends);
    printf("%" PRIu64 " passed, %" PRIu64 " failed, 0 skipped\n", seeds - failures, failures);
}

int main(int argc, char **argv)
{
    settings s;
    world_report sums = {0}, one;
    uint64_t failures = 0, clean_ends = 0, done = 0;
    if (!parse(&s, argc, argv)) {
        fprintf(stderr, "usage: simulate [--seeds N] [--from S] [--trace] [--expect-failure]\n");
        return 2;
    }
    for (; done < s.seeds && failures < SHOWN; done++) {
        world_run(s.from + done, s.trace, &one);
        failures += one.violation[0] != 0;
        clean_ends += one.failed_clean;
        sums.events += one.events;
        sums.virtual_ns += one.virtual_ns;
        sums.epochs += one.epochs;
        sums.deaths += one.deaths;
        sums.recoveries += one.recoveries;
    }
    if (s.expect_failure) {
        printf("%s\n", failures ? "the broken protocol is found out" : "nobody notices that the protocol is broken");
        printf("%d passed, %d failed, 0 skipped\n", failures > 0, failures == 0);
        return failures ? 0 : 1;
    }
    print_sums(done, &sums, clean_ends, failures);
    return failures ? 1 : 0;
}
