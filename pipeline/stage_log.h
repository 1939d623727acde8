/* stage_log.h - the log of one stage: what it writes to its stderr, line by line, within bounds.
 *
 * A line goes to the log's file behind the time. A line beyond PK_LOG_LINE_BYTES is cut and says by how much; lines
 * beyond PK_LOG_RATE_BYTES in a second are dropped, counted, and the count is a line of the log. A file that reaches
 * PK_LOG_FILE_BYTES becomes PATH.1 (in the place of the one before) and a new one begins: so a stage that writes
 * without end fills neither the disk nor the terminal. The last lines are kept for whoever reports its death. */
#ifndef PK_PIPELINE_STAGE_LOG_H
#define PK_PIPELINE_STAGE_LOG_H

#include "ipc/error.h"

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum {
    PK_LOG_LINE_BYTES = 8 << 10,
    PK_LOG_RATE_BYTES = 1 << 20,
    PK_LOG_FILE_BYTES = 64 << 20,
    PK_LOG_TAIL_LINES = 8,
    PK_LOG_TAIL_BYTES = 512,
    PK_LOG_NOTE_BYTES = 96, /* of what is said about a cut */
};

typedef struct {
    char *path; /* owned; NULL: no file */
    FILE *file;
    uint64_t file_bytes;
    char line[PK_LOG_LINE_BYTES + PK_LOG_NOTE_BYTES]; /* being gathered */
    size_t line_bytes;
    uint64_t line_cut;                               /* bytes beyond */
    char tail[PK_LOG_TAIL_LINES][PK_LOG_TAIL_BYTES]; /* a ring of its last lines */
    unsigned lines;
    uint64_t second_ns, second_bytes;    /* the second that is under way, and what it has had */
    uint64_t untold_lines, untold_bytes; /* dropped, and not said yet */
    uint64_t bytes_cut;                  /* in all: of long lines, and of dropped ones */
} pk_stage_log;

/* Gets each line that is kept; view, valid during the call. */
typedef void (*pk_stage_log_seen)(void *context, const char *line);

/* Into a zeroed log. path: appended to; NULL: none. PK_IO, PK_NOMEM. */
pk_err pk_stage_log_open(pk_stage_log *log, const char *path);

/* Bytes as they come from the pipe; `seen` may be NULL. */
void pk_stage_log_take(pk_stage_log *log, const char *bytes, size_t count, pk_stage_log_seen seen, void *context);

/* No more will come: an unfinished line is one, and what was dropped is said. */
void pk_stage_log_end(pk_stage_log *log, pk_stage_log_seen seen, void *context);

/* Its last lines, oldest first, each behind `prefix`. */
void pk_stage_log_print_tail(const pk_stage_log *log, const char *prefix, FILE *out);

void pk_stage_log_close(pk_stage_log *log); /* accepts a zeroed one */

#endif
