/* reader_plan.h - which bytes of which files one pk_reader_read reads, in which order. Inside the loader only.
 *
 * Requests are sorted by file and offset and cut into whole rows. Rows that lie close together make one *block*: one
 * read of a range that begins and ends at multiples of PK_READ_ALIGN, as O_DIRECT wants it. A block's *pieces* are what
 * the callback will see of it. The plan owns its arrays and, while the read runs, the open files. */
#ifndef PK_LOADER_READER_PLAN_H
#define PK_LOADER_READER_PLAN_H

#include "loader/reader.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    /* Serves logical block sizes of 512 and 4096; what wants more answers EINVAL and is read without O_DIRECT. */
    PK_READ_ALIGN = 4096,
    /* Reading over a gap of this size is cheaper than one more read. */
    PK_READ_GAP = 64 << 10,
};

typedef struct {
    const pk_read_request *request;
    uint64_t first_row, row_count;
    uint64_t offset; /* in the file */
    uint64_t bytes;
} pk_read_piece;

typedef struct {
    size_t file;         /* in files */
    uint64_t offset;     /* multiple of PK_READ_ALIGN */
    size_t bytes;        /* multiple of PK_READ_ALIGN; may reach beyond the end of the file */
    size_t needed_bytes; /* up to the last byte of the last piece */
    size_t first_piece, piece_count;
} pk_read_block;

typedef struct {
    const pk_safetensors *table;
    int fd;          /* -1: closed */
    bool direct;     /* opened with O_DIRECT */
    int buffered_fd; /* a second descriptor without it, where that became necessary; -1 */
    size_t blocks_left;
} pk_read_file;

typedef struct {
    size_t block_count, piece_count, file_count;
    pk_read_block *blocks;
    pk_read_piece *pieces;
    pk_read_file *files;
    size_t buffer_bytes;  /* of the largest block */
    uint64_t total_bytes; /* of all pieces */
    uint64_t done_bytes;

    /* The rest of pk_reader_read's arguments, for the engines. */
    pk_reader *reader;
    pk_reader_rows deliver;
} pk_read_plan;

/* PK_NOMEM. The caller calls fini in any case. */
pk_err pk_read_plan_init(pk_read_plan *plan, const pk_read_request *requests, size_t count, size_t piece_bytes);
void pk_read_plan_fini(pk_read_plan *plan);

/* The open descriptor for a block: opens its file at the first one and checks that it is the file whose header was
 * read. */
pk_err pk_read_plan_file(pk_read_plan *plan, const pk_read_block *block, pk_read_file **out);

/* Reads what is missing of a block, from got_bytes on, without O_DIRECT: the end of short reads, and all that a file
 * system refuses to read directly. */
pk_err pk_read_plan_complete(pk_read_plan *plan, const pk_read_block *block, void *buffer, size_t got_bytes);

/* Hands a complete block's pieces to the callback, and closes and checks its file after its last block. */
pk_err pk_read_plan_deliver(pk_read_plan *plan, const pk_read_block *block, void *buffer);

/* The engines: they read all blocks. `refused` is set, with PK_OK, when nothing was read because io_uring is not to be
 * had; the thread's error text then says why. */
pk_err pk_read_by_pread(pk_read_plan *plan);
pk_err pk_read_by_uring(pk_read_plan *plan, unsigned depth, bool *refused);

/* For the engines, in reader.c: counters, and the note (the first one of a read stays). */
pk_reader_counters *pk_reader_counters_of(pk_reader *reader);
void pk_reader_note_set(pk_reader *reader, const char *format, ...) __attribute__((format(printf, 2, 3)));
void pk_reader_progress(pk_reader *reader, uint64_t done, uint64_t total);

/* Buffers that O_DIRECT accepts, on huge pages where there are any. NULL when there is no memory. */
void *pk_read_buffers_alloc(size_t bytes);
void pk_read_buffers_free(void *buffers, size_t bytes);

#endif
