/* One read after the other into one buffer. The plain engine: the fallback where io_uring is forbidden. */
#include "loader/reader_plan.h"

#include <errno.h>
#include <unistd.h>

/* One read; what it does not bring, pk_read_plan_complete does. */
static pk_err read_some(pk_read_plan *plan, const pk_read_block *block, const pk_read_file *file, void *buffer,
                        size_t *got_bytes)
{
    ssize_t got;
    do
        got = pread(file->fd, buffer, block->bytes, (off_t)block->offset);
    while (got < 0 && errno == EINTR);
    *got_bytes = got < 0 ? 0 : (size_t)got;
    if (got < 0 && !(errno == EINVAL && file->direct))
        return pk_fail_errno(PK_IO, "%s: read %zu bytes at byte %ju", pk_safetensors_path(file->table), block->bytes,
                             (uintmax_t)block->offset);
    if (got < 0)
        pk_reader_note_set(plan->reader, "O_DIRECT is refused for %s; reading through the page cache",
                           pk_safetensors_path(file->table));
    pk_reader_counters *counters = pk_reader_counters_of(plan->reader);
    counters->reads++;
    counters->file_bytes += *got_bytes;
    return PK_OK;
}

pk_err pk_read_by_pread(pk_read_plan *plan)
{
    pk_err err = PK_OK;
    pk_read_file *file;
    size_t got_bytes;
    void *buffer = pk_read_buffers_alloc(plan->buffer_bytes);
    if (!buffer)
        return pk_fail(PK_NOMEM, "no memory for a buffer of %zu bytes", plan->buffer_bytes);
    for (size_t i = 0; i < plan->block_count && !err; i++) {
        const pk_read_block *block = &plan->blocks[i];
        if (!(err = pk_read_plan_file(plan, block, &file)) &&
            !(err = read_some(plan, block, file, buffer, &got_bytes)) &&
            !(err = pk_read_plan_complete(plan, block, buffer, got_bytes)))
            err = pk_read_plan_deliver(plan, block, buffer);
    }
    pk_read_buffers_free(buffer, plan->buffer_bytes);
    return err;
}
