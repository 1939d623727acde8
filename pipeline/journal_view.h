/* journal_view.h - the requests of a journal that no run holds: read, not written. */
#ifndef PK_PIPELINE_JOURNAL_VIEW_H
#define PK_PIPELINE_JOURNAL_VIEW_H

#include "ipc/error.h"

/* Calls `take` for each request, by custom_id; views, valid during the call; its error ends the reading. state:
 * "queued", "done", "failed". PK_CLOSED: there is no journal; PK_AGAIN: a run holds it; PK_CORRUPT, PK_IO. */
pk_err pk_journal_view(const char *path, pk_err (*take)(void *context, const char *custom_id, const char *state),
                       void *context);

#endif
