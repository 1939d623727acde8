/* log_view.h - the logs of a run's stages (stage_log.h), read as one: lines of all stages in the order of their time.
 *
 * A view reads what has been written so far, rotated files first, and can be asked again later for what came since: it
 * follows a file that makes room for a new one, and finds stages that start to log. It changes nothing, and the run
 * need not be live. */
#ifndef PK_PIPELINE_LOG_VIEW_H
#define PK_PIPELINE_LOG_VIEW_H

#include "ipc/error.h"

#include <stddef.h>

typedef struct pk_log_view pk_log_view;

/* Views, valid until the next call. */
typedef struct {
    const char *stage;
    const char *time; /* as stage_log.h writes it; "" where a line has none */
    const char *text; /* without newline; may hold anything but NULs */
} pk_log_line;

/* folder: of the logs; stage: only this one's, or NULL. PK_IO: there is no such folder; PK_INVALID: that stage has no
 * log there, with the names of those that have. */
pk_err pk_log_view_open(pk_log_view **out, const char *folder, const char *stage);

/* PK_AGAIN: nothing more for now. PK_IO, PK_NOMEM. */
pk_err pk_log_view_next(pk_log_view *view, pk_log_line *out);

void pk_log_view_close(pk_log_view **view);

#endif
