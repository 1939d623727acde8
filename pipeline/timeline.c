#include "pipeline/timeline.h"

#include "ipc/clock.h"
#include "loader/file.h"
#include "pipeline/json_text.h"

#include <fcntl.h>
#include <inttypes.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct pk_timeline {
    char *path;
    int fd;
    uint64_t written; /* bytes of whole events: where the next one goes, over what a failed write left */
    uint64_t origin_ns;
    bool dated; /* an event has a time: the origin stands */
    uint64_t processes, events;
    pk_json_text event;
};

/* Writes the event that stands in timeline->event, or nothing that counts. */
static pk_err write_event(pk_timeline *timeline)
{
    pk_err err;
    if ((err = pk_json_text_check(&timeline->event)) ||
        (err = pk_file_write_at(timeline->fd, timeline->event.bytes, timeline->event.used, timeline->written)))
        return pk_pass(err, "%s", timeline->path);
    timeline->written += timeline->event.used;
    timeline->events++;
    return PK_OK;
}

/* The comma comes before an event, not after: then the file never ends in one. */
static pk_json_text *begin_event(pk_timeline *timeline, const char *name)
{
    pk_json_text_clear(&timeline->event);
    pk_json_text_raw(&timeline->event, "%s{\"name\": ", timeline->events ? ",\n" : "[\n");
    pk_json_text_word(&timeline->event, name);
    return &timeline->event;
}

static void put_microseconds(pk_json_text *out, const char *key, uint64_t ns)
{
    pk_json_text_raw(out, ", \"%s\": %" PRIu64 ".%03u", key, ns / 1000, (unsigned)(ns % 1000));
}

/* Perfetto drops what is before zero. */
static pk_err place(pk_timeline *timeline, uint64_t at_ns, uint64_t *since_ns)
{
    if (!timeline->dated && at_ns < timeline->origin_ns)
        timeline->origin_ns = at_ns;
    timeline->dated = true;
    if (at_ns < timeline->origin_ns)
        return pk_fail(PK_INVALID, "%s: an event at %" PRIu64 " ns, expected none before %" PRIu64, timeline->path,
                       at_ns, timeline->origin_ns);
    *since_ns = at_ns - timeline->origin_ns;
    return PK_OK;
}

pk_err pk_timeline_open(pk_timeline **out, const char *path)
{
    pk_err err = PK_OK;
    *out = NULL;
    pk_timeline *timeline = calloc(1, sizeof *timeline);
    if (!timeline || !(timeline->path = strdup(path))) {
        free(timeline);
        return pk_fail(PK_NOMEM, "%s: no memory for a timeline", path);
    }
    timeline->origin_ns = pk_clock_ns();
    if ((timeline->fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666)) < 0) {
        bool wrong = errno == ENOENT || errno == ENOTDIR || errno == EISDIR || errno == EACCES;
        err = pk_fail_errno(wrong ? PK_INVALID : PK_IO, "%s: make the timeline", path);
        free(timeline->path);
        free(timeline);
        return err;
    }
    *out = timeline;
    return PK_OK;
}

pk_err pk_timeline_process(pk_timeline *timeline, pid_t pid, const char *name)
{
    pk_err err;
    pk_json_text *out = begin_event(timeline, "process_name");
    pk_json_text_raw(out, ", \"ph\": \"M\", \"pid\": %d, \"args\": {\"name\": ", (int)pid);
    pk_json_text_word(out, name);
    pk_json_text_raw(out, "}}");
    if ((err = write_event(timeline)))
        return err;
    out = begin_event(timeline, "process_sort_index");
    pk_json_text_raw(out, ", \"ph\": \"M\", \"pid\": %d, \"args\": {\"sort_index\": %" PRIu64 "}}", (int)pid,
                     timeline->processes++);
    return write_event(timeline);
}

pk_err pk_timeline_slice(pk_timeline *timeline, pk_timeline_event event)
{
    pk_err err;
    uint64_t since_ns = 0;
    if (event.end_ns < event.start_ns)
        return pk_fail(PK_INVALID, "%s: \"%s\" of process %d ends before it starts", timeline->path, event.name,
                       (int)event.pid);
    if ((err = place(timeline, event.start_ns, &since_ns)))
        return err;
    pk_json_text *out = begin_event(timeline, event.name);
    pk_json_text_raw(out, ", \"cat\": ");
    pk_json_text_word(out, event.category);
    pk_json_text_raw(out, ", \"ph\": \"X\"");
    put_microseconds(out, "ts", since_ns);
    put_microseconds(out, "dur", event.end_ns - event.start_ns);
    pk_json_text_raw(out, ", \"pid\": %d, \"tid\": %d, \"args\": {\"batch\": %" PRIu64 ", \"rows\": %" PRIu64 "}}",
                     (int)event.pid, (int)event.pid, event.batch, event.rows);
    return write_event(timeline);
}

pk_err pk_timeline_counter(pk_timeline *timeline, const char *name, uint64_t at_ns, int64_t value)
{
    pk_err err;
    uint64_t since_ns = 0;
    if ((err = place(timeline, at_ns, &since_ns)))
        return err;
    pk_json_text *out = begin_event(timeline, name);
    pk_json_text_raw(out, ", \"ph\": \"C\"");
    put_microseconds(out, "ts", since_ns);
    pk_json_text_raw(out, ", \"pid\": %d, \"args\": {\"value\": %" PRId64 "}}", (int)getpid(), value);
    return write_event(timeline);
}

/* What a failed write left behind the last whole event is overwritten and cut. */
static pk_err end_file(const pk_timeline *timeline)
{
    const char *end = timeline->events ? "\n]\n" : "[]\n";
    pk_err err = pk_file_write_at(timeline->fd, end, strlen(end), timeline->written);
    if (!err && ftruncate(timeline->fd, (off_t)(timeline->written + strlen(end))))
        err = pk_fail_errno(PK_IO, "cut");
    return pk_pass(err, "%s", timeline->path);
}

pk_err pk_timeline_close(pk_timeline **timeline)
{
    pk_timeline *held = *timeline;
    *timeline = NULL;
    if (!held)
        return PK_OK;
    pk_err err = end_file(held);
    pk_file_close(&held->fd);
    pk_json_text_fini(&held->event);
    free(held->path);
    free(held);
    return err;
}
