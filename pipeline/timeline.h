/* timeline.h - what each process did when, as a file that Perfetto and chrome://tracing open.
 *
 * Chrome's JSON array format: one event a line, each written whole as it comes. The format lets the end be missing, so
 * the file of a run that was killed opens too; after close it is plain JSON. Times are microseconds since the timeline
 * was opened, or since its first event where that lies before. One thread. */
#ifndef PK_PIPELINE_TIMELINE_H
#define PK_PIPELINE_TIMELINE_H

#include "ipc/error.h"

#include <stdint.h>
#include <sys/types.h>

typedef struct pk_timeline pk_timeline;

/* Text is UTF-8, a view that is valid during the call. */
typedef struct {
    pid_t pid;                 /* the row */
    const char *name;          /* what is written on the slice */
    const char *category;      /* "prefill", "decode", "wait" */
    uint64_t start_ns, end_ns; /* pk_clock_ns */
    uint64_t batch, rows;
} pk_timeline_event;

/* Replaces the file. PK_INVALID: there is no folder for it, or it may not be written; PK_IO. */
pk_err pk_timeline_open(pk_timeline **out, const char *path);

/* Names a process's row; rows stand in the order of these calls. PK_IO. */
pk_err pk_timeline_process(pk_timeline *timeline, pid_t pid, const char *name);

/* Slices may come in any order; those of one process nest or do not touch. PK_INVALID: it ends before it starts, or
 * starts before the timeline does, and is left out. PK_IO: it is left out. */
pk_err pk_timeline_slice(pk_timeline *timeline, pk_timeline_event event);

/* A curve of its own row, under this process. As slice. */
pk_err pk_timeline_counter(pk_timeline *timeline, const char *name, uint64_t at_ns, int64_t value);

/* Ends the file. *timeline is NULL in any case; nothing to do for NULL. PK_IO: the end is not there. */
pk_err pk_timeline_close(pk_timeline **timeline);

#endif
