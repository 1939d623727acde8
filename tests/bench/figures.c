#include "tests/bench/figures.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

typedef struct {
    double median, least, most;
} spread;

void figure_add(figure *f, double value, double ceiling)
{
    if (f->rounds == FIGURE_ROUNDS_MOST)
        return;
    f->values[f->rounds] = value;
    f->ceilings[f->rounds++] = ceiling;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static spread spread_of(const double *values, size_t count)
{
    double sorted[FIGURE_ROUNDS_MOST];
    if (!count)
        return (spread){0};
    memcpy(sorted, values, count * sizeof *sorted);
    qsort(sorted, count, sizeof *sorted, ascending);
    double median = (sorted[(count - 1) / 2] + sorted[count / 2]) / 2;
    return (spread){.median = median, .least = sorted[0], .most = sorted[count - 1]};
}

static spread ratios_of(const figure *f)
{
    double ratios[FIGURE_ROUNDS_MOST];
    for (size_t i = 0; i < f->rounds; i++)
        ratios[i] = f->values[i] / f->ceilings[i];
    return spread_of(ratios, f->rounds);
}

static void print_table(const figure *figures, size_t count)
{
    printf("%-34s %10s %-8s %-30s %10s  %s\n", "", "median", "", "beside", "median", "ratio (min..max)");
    for (const figure *f = figures; f < figures + count; f++) {
        spread value = spread_of(f->values, f->rounds), ratio = ratios_of(f);
        printf("%-34s %10.3f %-8s", f->name, value.median, f->unit);
        if (f->ceiling)
            printf(" %-30s %10.3f  %.3f (%.3f..%.3f)\n", f->ceiling, spread_of(f->ceilings, f->rounds).median,
                   ratio.median, ratio.least, ratio.most);
        else
            printf(" (%.3f..%.3f)\n", value.least, value.most);
    }
}

/* Names are ours and need no escaping. */
static void print_json(const figure *figures, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const figure *f = &figures[i];
        spread value = spread_of(f->values, f->rounds), shown = f->ceiling ? ratios_of(f) : value;
        printf("%s{\"name\": \"%s\", \"value\": %.6g, \"unit\": \"%s\"", i ? ",\n " : "[", f->name, value.median, f->unit);
        if (f->ceiling)
            printf(", \"ceiling\": \"%s\", \"ceiling_value\": %.6g, \"ratio\": %.6g", f->ceiling,
                   spread_of(f->ceilings, f->rounds).median, shown.median);
        printf(", \"min\": %.6g, \"max\": %.6g, \"rounds\": %zu}", shown.least, shown.most, f->rounds);
    }
    printf("]\n");
}

void figures_print(const figure *figures, size_t count, bool json)
{
    if (json)
        print_json(figures, count);
    else
        print_table(figures, count);
}

double seconds_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double seconds_of(struct timeval t)
{
    return (double)t.tv_sec + 1e-6 * (double)t.tv_usec;
}

double seconds_used(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return seconds_of(usage.ru_utime) + seconds_of(usage.ru_stime);
}
