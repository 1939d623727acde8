/* draft.h - a checkpoint directory that is being written: it grows under a temporary name beside its own and gets its
 * name when it is complete, so that nobody loads half of it. */
#ifndef PK_LOADER_DRAFT_H
#define PK_LOADER_DRAFT_H

#include "ipc/error.h"

#include <stddef.h>

typedef struct pk_draft pk_draft;

/* `dir` must be new or an empty directory; slashes behind its name do not count. PK_INVALID: it is not; PK_IO. */
pk_err pk_draft_open(pk_draft **out, const char *dir);

/* Removes what was written, unless it was published. */
void pk_draft_close(pk_draft **draft);

/* Where its files go until then. View. */
const char *pk_draft_path(const pk_draft *draft);

/* Writes and syncs one more file. PK_IO. */
pk_err pk_draft_write(const pk_draft *draft, const char *name, const char *text, size_t bytes);

/* Writes the file at `from`, of at most 256 MiB, as `name`. */
pk_err pk_draft_copy(const pk_draft *draft, const char *from, const char *name);

/* Gives it its name. PK_INVALID: somebody else took it; PK_IO. */
pk_err pk_draft_publish(pk_draft *draft);

#endif
