#include "pipeline/stage_log.h"
#include "ipc/clock.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const uint64_t one_second_ns = 1000000000;

static pk_err open_file(pk_stage_log *log)
{
    if (!(log->file = fopen(log->path, "ae")))
        return pk_fail_errno(PK_IO, "open %s", log->path);
    long at = fseek(log->file, 0, SEEK_END) ? 0 : ftell(log->file);
    log->file_bytes = at > 0 ? (uint64_t)at : 0;
    return PK_OK;
}

pk_err pk_stage_log_open(pk_stage_log *log, const char *path)
{
    if (!path)
        return PK_OK;
    if (!(log->path = strdup(path)))
        return pk_fail(PK_NOMEM, "no memory for a path");
    return open_file(log);
}

void pk_stage_log_close(pk_stage_log *log)
{
    if (log->file)
        fclose(log->file);
    free(log->path);
    *log = (pk_stage_log){0};
}

/* What cannot be renamed goes on growing: better than no log. */
static void rotate(pk_stage_log *log)
{
    char *old = NULL;
    fclose(log->file);
    log->file = NULL;
    if (asprintf(&old, "%s.1", log->path) >= 0)
        rename(log->path, old);
    free(old);
    if (open_file(log)) /* the run goes on without this log; whoever looks for it finds the old one */
        log->file = NULL;
}

static void write_file(pk_stage_log *log, const char *line)
{
    struct timespec now;
    struct tm utc;
    char stamp[32];
    if (!log->file)
        return;
    clock_gettime(CLOCK_REALTIME, &now);
    strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S", gmtime_r(&now.tv_sec, &utc));
    int bytes = fprintf(log->file, "%s.%03ldZ %s\n", stamp, now.tv_nsec / 1000000, line);
    log->file_bytes += bytes > 0 ? (uint64_t)bytes : 0;
    if (log->file_bytes >= PK_LOG_FILE_BYTES)
        rotate(log);
}

static void keep(pk_stage_log *log, const char *line, pk_stage_log_seen seen, void *context)
{
    snprintf(log->tail[log->lines++ % PK_LOG_TAIL_LINES], PK_LOG_TAIL_BYTES, "%s", line);
    write_file(log, line);
    if (seen)
        seen(context, line);
}

static void tell_dropped(pk_stage_log *log, pk_stage_log_seen seen, void *context)
{
    char note[PK_LOG_NOTE_BYTES];
    if (!log->untold_lines)
        return;
    snprintf(note, sizeof note, "warn log cut lines=%" PRIu64 " bytes=%" PRIu64 " limit=%d bytes/s", log->untold_lines,
             log->untold_bytes, PK_LOG_RATE_BYTES);
    log->untold_lines = log->untold_bytes = 0;
    keep(log, note, seen, context);
}

/* Whether this second has room for so many bytes; at the start of one, what the last dropped is said. */
static bool admit(pk_stage_log *log, size_t bytes, pk_stage_log_seen seen, void *context)
{
    uint64_t now = pk_clock_ns();
    if (!log->second_ns || now - log->second_ns >= one_second_ns) {
        log->second_ns = now;
        log->second_bytes = 0;
        tell_dropped(log, seen, context);
    }
    if (log->second_bytes + bytes > PK_LOG_RATE_BYTES)
        return false;
    log->second_bytes += bytes;
    return true;
}

static void end_line(pk_stage_log *log, pk_stage_log_seen seen, void *context)
{
    uint64_t bytes = log->line_bytes + log->line_cut + 1;
    if (admit(log, log->line_bytes + 1, seen, context)) {
        log->line[log->line_bytes] = 0;
        if (log->line_cut)
            snprintf(log->line + log->line_bytes, PK_LOG_NOTE_BYTES, " [%" PRIu64 " bytes cut]", log->line_cut);
        log->bytes_cut += log->line_cut;
        keep(log, log->line, seen, context);
    } else {
        log->bytes_cut += bytes;
        log->untold_bytes += bytes;
        log->untold_lines++;
    }
    log->line_bytes = log->line_cut = 0;
}

static void gather(pk_stage_log *log, const char *bytes, size_t count)
{
    size_t room = PK_LOG_LINE_BYTES - log->line_bytes, taken = count < room ? count : room;
    memcpy(log->line + log->line_bytes, bytes, taken);
    log->line_bytes += taken;
    log->line_cut += count - taken;
}

void pk_stage_log_take(pk_stage_log *log, const char *bytes, size_t count, pk_stage_log_seen seen, void *context)
{
    while (count) {
        const char *newline = memchr(bytes, '\n', count);
        size_t part = newline ? (size_t)(newline - bytes) : count;
        gather(log, bytes, part);
        if (newline)
            end_line(log, seen, context);
        bytes += part + (newline != NULL);
        count -= part + (newline != NULL);
    }
    if (log->file)
        fflush(log->file);
}

void pk_stage_log_end(pk_stage_log *log, pk_stage_log_seen seen, void *context)
{
    if (log->line_bytes)
        end_line(log, seen, context);
    tell_dropped(log, seen, context);
    if (log->file)
        fflush(log->file);
}

void pk_stage_log_print_tail(const pk_stage_log *log, const char *prefix, FILE *out)
{
    unsigned first = log->lines > PK_LOG_TAIL_LINES ? log->lines - PK_LOG_TAIL_LINES : 0;
    for (unsigned i = first; i < log->lines; i++)
        fprintf(out, "%s%s\n", prefix, log->tail[i % PK_LOG_TAIL_LINES]);
}
