/* file.h - opening and reading files that somebody else wrote. */
#ifndef PK_LOADER_FILE_H
#define PK_LOADER_FILE_H

#include "ipc/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Whether a folder has something of this name. */
bool pk_file_is_there(const char *dir, const char *name);

/* What must not change while we read. */
typedef struct {
    uint64_t device, inode, bytes;
    int64_t mtime_s, mtime_ns;
} pk_file_identity;

bool pk_file_same(const pk_file_identity *a, const pk_file_identity *b);

/* Opens for reading (O_RDONLY | O_CLOEXEC | flags) and insists on a regular file; a symbolic link to one is followed,
 * as Hugging Face's cache is made of them. Never blocks on a FIFO. PK_IO; PK_CORRUPT when it is not a regular file. The
 * caller closes *fd. `identity` may be NULL. Errno is kept for the caller on PK_IO. */
pk_err pk_file_open(int *fd, pk_file_identity *identity, const char *path, int flags);

pk_err pk_file_identify(int fd, pk_file_identity *out); /* PK_IO */

/* Exactly `bytes` at `offset`. PK_CORRUPT when the file ends before. */
pk_err pk_file_read_at(int fd, void *out, size_t bytes, uint64_t offset);

/* All `bytes` at `offset`. PK_IO, with errno kept for the caller. */
pk_err pk_file_write_at(int fd, const void *data, size_t bytes, uint64_t offset);

/* A whole file, with a NUL behind it, into *text (free() it). PK_CORRUPT when it has more than bytes_max. */
pk_err pk_file_read_all(char **text, size_t *bytes, const char *path, size_t bytes_max);

/* Closes and sets to -1; nothing for -1. */
void pk_file_close(int *fd);

#endif
