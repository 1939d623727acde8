#include "loader/reader.h"

#include "loader/reader_plan.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    DEPTH_DEFAULT = 8,
    DEPTH_MAX = 256,
    PIECE_DEFAULT = 4 << 20,
    PIECE_MAX = 64 << 20,
};

struct pk_reader {
    pk_reader_options options;
    pk_reader_counters counters;
    char refusal[256]; /* why io_uring is not to be had, found out once; "" while it is */
    bool noted;
    char note[512];
};

pk_err pk_reader_open(pk_reader **out, pk_reader_options options)
{
    *out = NULL;
    if (!options.depth)
        options.depth = DEPTH_DEFAULT;
    if (!options.piece_bytes)
        options.piece_bytes = PIECE_DEFAULT;
    if (options.depth > DEPTH_MAX)
        return pk_fail(PK_INVALID, "a reader's depth is %u, expected 1 to %d", options.depth, DEPTH_MAX);
    if (options.piece_bytes < PK_READ_ALIGN || options.piece_bytes > PIECE_MAX)
        return pk_fail(PK_INVALID, "a reader's piece has %zu bytes, expected %d to %d", options.piece_bytes,
                       PK_READ_ALIGN, PIECE_MAX);
    if (options.kind != PK_READER_AUTO && options.kind != PK_READER_URING && options.kind != PK_READER_PREAD)
        return pk_fail(PK_INVALID, "%d is not a kind of reader", (int)options.kind);
    pk_reader *reader = calloc(1, sizeof *reader);
    if (!reader)
        return pk_fail(PK_NOMEM, "no memory for a reader");
    reader->options = options;
    *out = reader;
    return PK_OK;
}

void pk_reader_close(pk_reader **reader)
{
    free(*reader);
    *reader = NULL;
}

/* Rows longer than a piece make larger buffers: fewer of them, then. */
static unsigned depth_for(const pk_reader *reader, const pk_read_plan *plan)
{
    size_t depth = reader->options.depth * reader->options.piece_bytes / plan->buffer_bytes;
    if (depth > reader->options.depth)
        depth = reader->options.depth;
    return depth ? (unsigned)depth : 1;
}

static pk_err read_by_uring(pk_reader *reader, pk_read_plan *plan, bool *refused)
{
    pk_err err = pk_read_by_uring(plan, depth_for(reader, plan), refused);
    if (err || !*refused)
        return err;
    if (reader->options.kind == PK_READER_URING)
        return pk_pass(PK_IO, "io_uring is refused here");
    snprintf(reader->refusal, sizeof reader->refusal, "%s", pk_error_text());
    return PK_OK;
}

static pk_err read_plan(pk_reader *reader, pk_read_plan *plan)
{
    bool by_pread = reader->options.kind == PK_READER_PREAD || reader->refusal[0];
    pk_err err = PK_OK;
    reader->counters.uring = reader->counters.registered = false;
    if (!plan->block_count)
        return PK_OK;
    if (!by_pread && ((err = read_by_uring(reader, plan, &by_pread)) || !by_pread))
        return err;
    if (reader->refusal[0])
        pk_reader_note_set(reader, "io_uring is refused here (%s); reading with pread", reader->refusal);
    return pk_read_by_pread(plan);
}

pk_err pk_reader_read(pk_reader *reader, const pk_read_request *requests, size_t count, pk_reader_rows deliver)
{
    pk_read_plan plan;
    reader->noted = false;
    pk_err err = pk_read_plan_init(&plan, requests, count, reader->options.piece_bytes);
    plan.reader = reader;
    plan.deliver = deliver;
    if (!err && !(err = read_plan(reader, &plan)))
        reader->counters.tensors += count;
    pk_read_plan_fini(&plan);
    return err;
}

const char *pk_reader_note(const pk_reader *reader)
{
    return reader->noted ? reader->note : NULL;
}

pk_reader_counters pk_reader_count(const pk_reader *reader)
{
    return reader->counters;
}

pk_reader_counters *pk_reader_counters_of(pk_reader *reader)
{
    return &reader->counters;
}

void pk_reader_note_set(pk_reader *reader, const char *format, ...)
{
    va_list arguments;
    if (reader->noted)
        return;
    va_start(arguments, format);
    vsnprintf(reader->note, sizeof reader->note, format, arguments);
    va_end(arguments);
    reader->noted = true;
}

void pk_reader_progress(pk_reader *reader, uint64_t done, uint64_t total)
{
    if (reader->options.progress)
        reader->options.progress(reader->options.progress_context, done, total);
}
