/* folder.h - a directory that we write into, so that what stands there is whole and stays there.
 *
 * "Synced" means on the disk with its name: the file, then the directory. One writer per directory. */
#ifndef PK_PIPELINE_FOLDER_H
#define PK_PIPELINE_FOLDER_H

#include "ipc/error.h"

#include <stddef.h>

/* Makes the directory and those above it that are missing, synced. PK_INVALID: the path cannot be a directory of ours
 * (a file stands there, no permission); PK_IO: the disk is full or failing; PK_NOMEM. */
pk_err pk_folder_make(const char *path);

/* Opens a directory; the caller closes *fd. PK_IO. */
pk_err pk_folder_open(int *fd, const char *path);

/* Puts a file in the place of what has that name, or of nothing: written aside, synced, renamed, synced. After a
 * failure the old one stands, or (when only the last sync failed) the new one, and nothing else is left. `head` and
 * `tail` follow one another in the file. PK_IO; the text names the file, not the folder. */
typedef struct {
    const void *head, *tail;
    size_t head_bytes, tail_bytes;
} pk_folder_data;

pk_err pk_folder_put(int folder, const char *name, pk_folder_data data);

/* The same by path and without any sync: whole for whoever reads it, and lost in a power cut. For what is written every
 * few seconds. PK_IO. */
pk_err pk_folder_refresh(const char *folder, const char *name, const char *text, size_t bytes);

/* Removes what a put that was killed left behind. PK_IO. */
pk_err pk_folder_clean(int folder);

pk_err pk_folder_sync(int folder); /* PK_IO */

#endif
