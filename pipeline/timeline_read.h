/* timeline_read.h - a timeline's file read back, for a picture of it.
 *
 * Two passes over the file, so that memory does not grow with it: of few slices each is kept, of many only how busy
 * each process was in each of equal parts of the time. The file of a run that was killed reads too. */
#ifndef PK_PIPELINE_TIMELINE_READ_H
#define PK_PIPELINE_TIMELINE_READ_H

#include "ipc/error.h"

#include <stddef.h>
#include <stdint.h>

enum { PK_TIMELINE_ROWS = 8192 }; /* processes at most */

/* One process. */
typedef struct {
    int64_t pid;
    char *name;
    char *category; /* of its first slice; NULL: it has none */
    uint64_t slices, busy_ns;
} pk_timeline_row;

typedef struct {
    uint32_t row; /* index */
    uint64_t start_ns, end_ns, batch, rows;
} pk_timeline_mark;

typedef struct {
    pk_timeline_row *rows; /* in the file's order */
    uint32_t row_count;
    uint64_t slice_count, end_ns; /* of the last slice; times count from the timeline's beginning */
    pk_timeline_mark *marks;      /* every slice, or NULL where there are more than were asked for */
    uint64_t mark_count;
    uint64_t *bins; /* then: busy ns of row r in part b: bins[r * bin_count + b] */
    uint32_t bin_count;
    uint64_t bin_ns;
} pk_timeline_view;

/* PK_IO: it cannot be read; PK_CORRUPT: it is no timeline (the text names the line); PK_NOMEM. Fini in any case. */
pk_err pk_timeline_read(pk_timeline_view *out, const char *path, uint64_t marks_max, uint32_t bins);
void pk_timeline_view_fini(pk_timeline_view *view);

#endif
