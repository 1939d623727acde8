/* stream.h - one file from its beginning to its end, read ahead of use.
 *
 * A helper thread reads past the page cache (O_DIRECT) where the file system lets it, so that what is checked is what
 * the disk holds; the caller looks at one piece while the next ones are read. The caller's side is one thread. */
#ifndef PK_LOADER_STREAM_H
#define PK_LOADER_STREAM_H

#include "ipc/error.h"
#include "loader/file.h"

#include <stddef.h>
#include <stdint.h>

typedef struct pk_stream pk_stream;

/* PK_IO, PK_CORRUPT (no regular file), PK_NOMEM. */
pk_err pk_stream_open(pk_stream **out, const char *path);
void pk_stream_close(pk_stream **stream);

/* As it was opened. View. */
const pk_file_identity *pk_stream_identity(const pk_stream *stream);

/* The next piece, valid until the next call; *bytes is 0 at the end of the file. PK_IO; PK_CORRUPT: the file ended
 * before the size that it had. */
pk_err pk_stream_next(pk_stream *stream, const void **data, size_t *bytes);

/* Time spent reading so far: with the bytes, the rate of the disk. */
uint64_t pk_stream_read_ns(pk_stream *stream);

#endif
