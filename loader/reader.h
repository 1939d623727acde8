/* reader.h - reads tensors of checkpoint files at the speed of the disk.
 *
 * A list of requests goes in; pieces of whole rows come out through a callback, from buffers of the reader's own: the
 * callback packs or copies them to where they belong. Requests are put in file order and neighbours are read together,
 * so their order does not matter.
 *
 * Two engines with the same result: io_uring (O_DIRECT, registered buffers, many reads in flight) and pread. Containers
 * often forbid io_uring and some file systems O_DIRECT; the reader then does with what is left, and pk_reader_note says
 * so, for the caller to log.
 *
 * One thread per reader; callbacks run on the thread that called pk_reader_read. */
#ifndef PK_LOADER_READER_H
#define PK_LOADER_READER_H

#include "ipc/error.h"
#include "loader/safetensors.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct pk_reader pk_reader;

typedef enum {
    PK_READER_AUTO = 0, /* io_uring, or pread where it is refused */
    PK_READER_URING,    /* io_uring or an error */
    PK_READER_PREAD,
} pk_reader_kind;

/* Rows [first_row, first_row + row_count) of `tensor` (pk_tensor_rows), as stored, aligned to the element; valid during
 * the call. Each row of each request comes exactly once, pieces in any order. An error ends the reading and is passed
 * on. A tensor without bytes causes no call. */
typedef pk_err (*pk_reader_rows)(void *user, const pk_tensor_entry *tensor, uint64_t first_row, uint64_t row_count,
                                 const void *rows);

typedef struct {
    const pk_tensor_entry *tensor; /* view, valid during the read */
    void *user;                    /* handed to the callback with this tensor's rows */
} pk_read_request;

typedef struct {
    pk_reader_kind kind;
    unsigned depth;     /* reads in flight, 1 … 256; 0: 8. io_uring only */
    size_t piece_bytes; /* one read, 4 KiB … 64 MiB; 0: 4 MiB. A piece has at least one row, however long */
    /* Called after each piece with the tensor bytes delivered so far and those asked for in this read; may be NULL. */
    void (*progress)(void *context, uint64_t done, uint64_t total);
    void *progress_context;
} pk_reader_options;

/* Over the reader's life. */
typedef struct {
    uint64_t tensors;    /* requests answered in full */
    uint64_t bytes;      /* of tensors, delivered */
    uint64_t file_bytes; /* read from files: with the rounding to blocks and small gaps between tensors */
    uint64_t reads;      /* read operations */
    bool uring;          /* the last read went through io_uring */
    bool registered;     /* with registered buffers (MEMLOCK often forbids them) */
} pk_reader_counters;

/* PK_INVALID: options out of range; PK_NOMEM. */
pk_err pk_reader_open(pk_reader **out, pk_reader_options options);
void pk_reader_close(pk_reader **reader);

/* Reads all requests. PK_CORRUPT: a file is not the one whose header was read (size, mtime), or ends early; PK_IO;
 * PK_NOMEM: a row too long for memory; else what the callback said. After a failure some rows may have been delivered.
 */
pk_err pk_reader_read(pk_reader *reader, const pk_read_request *requests, size_t count, pk_reader_rows deliver);

/* Why reading is slower than it could be ("io_uring is refused here (…); reading with pread"), or NULL. View, valid
 * until the next read. */
const char *pk_reader_note(const pk_reader *reader);

pk_reader_counters pk_reader_count(const pk_reader *reader);

#endif
