#include "pipeline/timeline_read.h"

#include "loader/json.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { EVENT_VALUES = 64 };

/* What a pass does with one event. */
typedef pk_err take_event(pk_timeline_view *view, const pk_json *event);

static const char *word_of(const pk_json *object, const char *name)
{
    const char *word = pk_json_string(pk_json_member(object, name));
    return word ? word : "";
}

static uint64_t whole_of(const pk_json *object, const char *name)
{
    int64_t value = 0;
    return pk_json_integer(pk_json_member(object, name), &value) && value > 0 ? (uint64_t)value : 0;
}

/* Microseconds with a fraction; a hundred days at most, so that sums of them stay whole numbers. */
static uint64_t ns_of(const pk_json *object, const char *name)
{
    double us = 0;
    return pk_json_number(pk_json_member(object, name), &us) && us > 0 ? (uint64_t)((us < 8.64e12 ? us : 8.64e12) * 1e3)
                                                                       : 0;
}

static int64_t pid_of(const pk_json *event)
{
    int64_t pid = 0;
    pk_json_integer(pk_json_member(event, "pid"), &pid);
    return pid;
}

static pk_err add_row(pk_timeline_view *view, int64_t pid, const char *name)
{
    pk_timeline_row *grown;
    if (view->row_count == PK_TIMELINE_ROWS)
        return pk_fail(PK_CORRUPT, "more than %d processes", PK_TIMELINE_ROWS);
    if (!(grown = realloc(view->rows, (view->row_count + 1) * sizeof *grown)))
        return pk_fail(PK_NOMEM, "%" PRIu32 " rows", view->row_count);
    view->rows = grown;
    grown[view->row_count] = (pk_timeline_row){.pid = pid, .name = strdup(name)};
    return grown[view->row_count++].name ? PK_OK : pk_fail(PK_NOMEM, "a row's name");
}

/* The last of that pid: the system gives pids again. */
static pk_timeline_row *find_row(pk_timeline_view *view, int64_t pid)
{
    for (uint32_t i = view->row_count; i-- > 0;)
        if (view->rows[i].pid == pid)
            return &view->rows[i];
    return NULL;
}

static bool is_slice(const pk_json *event)
{
    return !strcmp(word_of(event, "ph"), "X");
}

static pk_err survey_slice(pk_timeline_view *view, const pk_json *event)
{
    char name[32];
    int64_t pid = pid_of(event);
    pk_err err = PK_OK;
    snprintf(name, sizeof name, "pid %" PRId64, pid);
    if (!find_row(view, pid))
        err = add_row(view, pid, name);
    if (err)
        return err;
    pk_timeline_row *row = find_row(view, pid);
    uint64_t duration = ns_of(event, "dur"), end = ns_of(event, "ts") + duration;
    if (!row->category && !(row->category = strdup(word_of(event, "cat"))))
        return pk_fail(PK_NOMEM, "a row's category");
    row->slices++;
    row->busy_ns += duration;
    view->slice_count++;
    if (end > view->end_ns)
        view->end_ns = end;
    return PK_OK;
}

/* First pass: who there is, how many slices, until when. */
static pk_err survey(pk_timeline_view *view, const pk_json *event)
{
    if (is_slice(event))
        return survey_slice(view, event);
    if (strcmp(word_of(event, "ph"), "M") || strcmp(word_of(event, "name"), "process_name"))
        return PK_OK;
    return add_row(view, pid_of(event), word_of(pk_json_member(event, "args"), "name"));
}

/* Second pass, of few: each slice. The file may have grown since: what is new is left out. */
static pk_err keep_mark(pk_timeline_view *view, const pk_json *event)
{
    const pk_timeline_row *row = find_row(view, pid_of(event));
    if (!is_slice(event) || !row || view->mark_count == view->slice_count)
        return PK_OK;
    const pk_json *arguments = pk_json_member(event, "args");
    uint64_t start = ns_of(event, "ts");
    view->marks[view->mark_count++] = (pk_timeline_mark){
        .row = (uint32_t)(row - view->rows),
        .start_ns = start,
        .end_ns = start + ns_of(event, "dur"),
        .batch = whole_of(arguments, "batch"),
        .rows = whole_of(arguments, "rows"),
    };
    return PK_OK;
}

/* Second pass, of many: the slice's time, into the parts that it touches. */
static pk_err keep_bins(pk_timeline_view *view, const pk_json *event)
{
    const pk_timeline_row *row = find_row(view, pid_of(event));
    if (!is_slice(event) || !row)
        return PK_OK;
    uint64_t *bins = view->bins + (size_t)(row - view->rows) * view->bin_count;
    uint64_t at = ns_of(event, "ts"), end = at + ns_of(event, "dur");
    while (at < end && at / view->bin_ns < view->bin_count) {
        uint64_t bin = at / view->bin_ns, next = (bin + 1) * view->bin_ns;
        bins[bin] += (next < end ? next : end) - at;
        at = next;
    }
    return PK_OK;
}

/* "{…}," as a line of the file has it; what is no event is "[", "]" or empty. */
static pk_err read_line(pk_timeline_view *view, char *line, size_t bytes, take_event *take)
{
    pk_json *event = NULL;
    while (bytes && strchr(",\n\r", line[bytes - 1]))
        bytes--;
    if (!bytes || (bytes == 1 && strchr("[]", *line)) || (bytes == 2 && !memcmp(line, "[]", 2)))
        return PK_OK;
    pk_err err = pk_json_open(&event, line, bytes, EVENT_VALUES);
    if (!err)
        err = take(view, event);
    pk_json_close(&event);
    return err;
}

static pk_err each_event(pk_timeline_view *view, const char *path, take_event *take)
{
    pk_err err = PK_OK;
    char *line = NULL;
    size_t capacity = 0;
    uint64_t number = 0;
    ssize_t bytes;
    FILE *file = fopen(path, "re");
    if (!file)
        return pk_fail_errno(PK_IO, "%s", path);
    while (!err && (bytes = getline(&line, &capacity, file)) >= 0) {
        number++;
        err = read_line(view, line, (size_t)bytes, take);
        /* The last line of a run that was killed may be torn. */
        if (err == PK_CORRUPT && line[bytes - 1] != '\n')
            err = PK_OK;
    }
    if (err)
        err = pk_pass(err, "%s: line %" PRIu64, path, number);
    else if (ferror(file))
        err = pk_fail_errno(PK_IO, "%s", path);
    free(line);
    fclose(file);
    return err;
}

static pk_err make_bins(pk_timeline_view *view, uint32_t bins)
{
    view->bin_count = bins;
    view->bin_ns = view->end_ns / bins + 1; /* so that no slice ends behind the last */
    view->bins = calloc((size_t)view->row_count * bins, sizeof *view->bins);
    return view->bins ? PK_OK : pk_fail(PK_NOMEM, "%" PRIu32 " rows of %" PRIu32 " parts", view->row_count, bins);
}

pk_err pk_timeline_read(pk_timeline_view *out, const char *path, uint64_t marks_max, uint32_t bins)
{
    *out = (pk_timeline_view){0};
    pk_err err = each_event(out, path, survey);
    uint64_t slices = out->slice_count;
    if (err || !slices)
        return err;
    if (slices > marks_max)
        return (err = make_bins(out, bins)) ? err : each_event(out, path, keep_bins);
    if (!(out->marks = calloc(slices, sizeof *out->marks)))
        return pk_fail(PK_NOMEM, "%" PRIu64 " slices", slices);
    return each_event(out, path, keep_mark);
}

void pk_timeline_view_fini(pk_timeline_view *view)
{
    for (uint32_t i = 0; i < view->row_count; i++) {
        free(view->rows[i].name);
        free(view->rows[i].category);
    }
    free(view->rows);
    free(view->marks);
    free(view->bins);
    *view = (pk_timeline_view){0};
}
