/* figures.h - what a benchmark prints: figures, each beside its ceiling or its peer.
 *
 * A figure holds one value and one value of the ceiling for every round; both of a round were measured one right after
 * the other, so that the ratio of a round means something on a busy machine. Printed are the medians and the least and the
 * most of the ratios. */
#ifndef PK_TESTS_BENCH_FIGURES_H
#define PK_TESTS_BENCH_FIGURES_H

#include <stdbool.h>
#include <stddef.h>

enum { FIGURE_ROUNDS_MOST = 64 };

typedef struct {
    const char *name, *unit;
    const char *ceiling; /* what it is compared with; NULL: nothing */
    double values[FIGURE_ROUNDS_MOST], ceilings[FIGURE_ROUNDS_MOST];
    size_t rounds;
} figure;

/* One more round; ignored when there are FIGURE_ROUNDS_MOST. */
void figure_add(figure *f, double value, double ceiling);

/* A table, or with json one list of {name, value, unit, ceiling, ceiling_value, ratio, min, max, rounds}. */
void figures_print(const figure *figures, size_t count, bool json);

/* Of a monotonic clock, and of the processor time that this process has used. */
double seconds_now(void);
double seconds_used(void);

#endif
