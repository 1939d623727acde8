#include "pipeline/speeds.h"

#include "loader/file.h"
#include "loader/json.h"
#include "pipeline/json_text.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { FILE_BYTES_MAX = 64 << 10, VALUES_MAX = 256, THREADS_MAX = 4096 };
static const double speed_max = 1e9; /* beyond anything that is a speed in these units */

/* Where each figure lies, by its key. */
static const struct {
    const char *key;
    size_t offset;
} figures[] = {
#define X(name, one, all, words) {#name, offsetof(pk_speeds, name)},
    PK_SPEEDS(X)
#undef X
};
enum { FIGURES = sizeof figures / sizeof *figures };

static pk_speed *figure_of(pk_speeds *speeds, size_t index)
{
    return (pk_speed *)(void *)((char *)speeds + figures[index].offset);
}

pk_speeds pk_speeds_builtin(void)
{
    return (pk_speeds){
        .threads = PK_SPEEDS_BUILTIN_THREADS,
#define X(key, first, both, words) .key = {.one = first, .all = both},
        PK_SPEEDS(X)
#undef X
            .source = "built-in ratios",
    };
}

pk_err pk_speeds_path(char *out, size_t capacity)
{
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    int used;
    if (cache && *cache == '/')
        used = snprintf(out, capacity, "%s/penstock/doctor.json", cache);
    else if (home && *home == '/')
        used = snprintf(out, capacity, "%s/.cache/penstock/doctor.json", home);
    else
        return pk_fail(PK_INVALID, "neither XDG_CACHE_HOME nor HOME is an absolute path");
    return used < (int)capacity ? PK_OK : pk_fail(PK_INVALID, "the path of the cache folder is too long");
}

/* The processor as /proc/cpuinfo names it; what tells machines apart. */
static void read_processor(char out[PK_SPEED_NAME_BYTES])
{
    char line[512];
    FILE *file = fopen("/proc/cpuinfo", "re");
    snprintf(out, PK_SPEED_NAME_BYTES, "unknown");
    while (file && fgets(line, sizeof line, file)) {
        char *value = strchr(line, ':');
        if (!value || (strncmp(line, "model name", 10) && strncmp(line, "CPU part", 8)))
            continue;
        value += 1 + strspn(value + 1, " \t");
        value[strcspn(value, "\n")] = '\0';
        snprintf(out, PK_SPEED_NAME_BYTES, "%s", value);
        break;
    }
    if (file)
        fclose(file);
}

static bool good_speed(const pk_json *value, double *out)
{
    return pk_json_number(value, out) && isfinite(*out) && *out > 0 && *out < speed_max;
}

/* Why the file's figures cannot be used, or NULL: then *speeds holds them. */
static const char *take_figures(pk_speeds *speeds, const pk_json *root, uint32_t cores)
{
    char processor[PK_SPEED_NAME_BYTES];
    int64_t threads = 0;
    read_processor(processor);
    const char *seen = pk_json_string(pk_json_member(root, "processor"));
    if (!pk_json_integer(pk_json_member(root, "cores"), &threads) || threads < 1 || threads > THREADS_MAX || !seen)
        return "is damaged";
    if (strcmp(seen, processor) != 0 || threads != cores)
        return "is of another machine";
    speeds->threads = (uint32_t)threads;
    speeds->measured = true;
    for (size_t i = 0; i < FIGURES; i++) {
        const pk_json *pair = pk_json_member(pk_json_member(root, "speeds"), figures[i].key);
        pk_speed *to = figure_of(speeds, i);
        if (!good_speed(pk_json_item(pair, 0), &to->one) || !good_speed(pk_json_item(pair, 1), &to->all))
            return "is damaged";
    }
    return NULL;
}

static const char *parse_file(pk_speeds *speeds, const char *text, size_t bytes, uint32_t cores)
{
    pk_json *root = NULL;
    if (pk_json_open(&root, text, bytes, VALUES_MAX))
        return "is damaged";
    const char *why = pk_json_kind_of(root) == PK_JSON_OBJECT ? take_figures(speeds, root, cores) : "is damaged";
    pk_json_close(&root);
    return why;
}

pk_speeds pk_speeds_read(uint32_t cores)
{
    char path[PK_SPEED_SOURCE_BYTES - 64], *text = NULL;
    size_t bytes = 0;
    pk_speeds speeds = pk_speeds_builtin(), found = speeds;
    if (pk_speeds_path(path, sizeof path) || access(path, F_OK))
        return speeds;
    const char *why = pk_file_read_all(&text, &bytes, path, FILE_BYTES_MAX) ? "cannot be read"
                                                                            : parse_file(&found, text, bytes, cores);
    free(text);
    if (!why) {
        snprintf(found.source, sizeof found.source, "what penstock doctor measured, %s", path);
        return found;
    }
    snprintf(speeds.source, sizeof speeds.source, "built-in ratios (%s %s)", path, why);
    return speeds;
}

static void write_text(pk_json_text *text, const pk_speeds *speeds)
{
    char processor[PK_SPEED_NAME_BYTES];
    pk_speeds copy = *speeds;
    read_processor(processor);
    pk_json_text_raw(text, "{\"processor\": ");
    pk_json_text_word(text, processor);
    pk_json_text_raw(text, ", \"cores\": %" PRIu32 ", \"speeds\": {", speeds->threads);
    for (size_t i = 0; i < FIGURES; i++) {
        const pk_speed *speed = figure_of(&copy, i);
        pk_json_text_raw(text, "%s\n  \"%s\": [%.6g, %.6g]", i ? "," : "", figures[i].key, speed->one, speed->all);
    }
    pk_json_text_raw(text, "\n}}\n");
}

/* The folders above a file. */
static void make_parents(char *path)
{
    for (char *slash = path + 1; (slash = strchr(slash, '/')); slash++) {
        *slash = '\0';
        (void)mkdir(path, 0700); /* there already, or the open below says why not */
        *slash = '/';
    }
}

static pk_err replace_file(const char *path, const pk_json_text *text)
{
    char aside[PK_SPEED_SOURCE_BYTES];
    snprintf(aside, sizeof aside, "%s.%d", path, (int)getpid());
    int fd = open(aside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return pk_fail_errno(PK_IO, "%s", aside);
    pk_err err = pk_file_write_at(fd, text->bytes, text->used, 0);
    pk_file_close(&fd);
    if (!err && rename(aside, path))
        err = pk_fail_errno(PK_IO, "rename to %s", path);
    if (err)
        (void)unlink(aside);
    return err;
}

pk_err pk_speeds_write(const pk_speeds *speeds)
{
    char path[PK_SPEED_SOURCE_BYTES - 64];
    pk_json_text text = {0};
    pk_err err = pk_speeds_path(path, sizeof path);
    if (err)
        return err;
    make_parents(path);
    write_text(&text, speeds);
    if (!(err = pk_json_text_check(&text)))
        err = replace_file(path, &text);
    pk_json_text_fini(&text);
    return err;
}

double pk_speed_at(pk_speed speed, uint32_t measured_threads, uint32_t threads)
{
    if (threads <= 1 || measured_threads <= 1) /* of one core nothing is known about more */
        return speed.one;
    /* With a loss of a for each further thread, n threads give n / (1 + a (n - 1)) times one. */
    double gain = speed.all / speed.one, most = measured_threads, loss = (most / gain - 1) / (most - 1);
    return speed.one * threads / (1 + fmax(loss, 0) * (threads - 1));
}

double pk_speeds_product(const pk_speeds *speeds, double rows, uint32_t threads)
{
    const struct {
        double rows;
        pk_speed speed;
    } known[] = {{1, speeds->product_1}, {8, speeds->product_8}, {64, speeds->product_64}, {512, speeds->product_512}};
    enum { KNOWN = sizeof known / sizeof *known };
    size_t at = 0;
    while (at + 2 < KNOWN && rows > known[at + 1].rows)
        ++at;
    double below = pk_speed_at(known[at].speed, speeds->threads, threads);
    double above = pk_speed_at(known[at + 1].speed, speeds->threads, threads);
    double part = log(fmax(rows, known[at].rows) / known[at].rows) / log(known[at + 1].rows / known[at].rows);
    return below + (above - below) * fmin(part, 1);
}
