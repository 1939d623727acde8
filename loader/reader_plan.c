#include "loader/reader_plan.h"

#include "loader/file.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static int compare_requests(const void *left, const void *right)
{
    const pk_tensor_entry *a = (*(const pk_read_request *const *)left)->tensor,
                          *b = (*(const pk_read_request *const *)right)->tensor;
    if (a->file != b->file) {
        int order = strcmp(pk_safetensors_path(a->file), pk_safetensors_path(b->file));
        return order ? order : (a->file < b->file ? -1 : 1);
    }
    return a->offset < b->offset ? -1 : a->offset > b->offset;
}

/* How many rows one read can take of a tensor at this place; at least one. */
static uint64_t rows_that_fit(const pk_read_piece *rest, uint64_t row_bytes, uint64_t room)
{
    uint64_t rows = room / row_bytes;
    if (rows == 0)
        rows = 1;
    return rows < rest->row_count ? rows : rest->row_count;
}

/* Grows an array by doubling. */
static void *grow(void *array, size_t count, size_t size)
{
    if (count & (count - 1))
        return array; /* not at a power of two: there is room */
    return reallocarray(array, count ? 2 * count : 1, size);
}

static pk_err add_piece(pk_read_plan *plan, const pk_read_piece *piece)
{
    pk_read_piece *pieces = grow(plan->pieces, plan->piece_count, sizeof *pieces);
    if (!pieces)
        return pk_fail(PK_NOMEM, "no memory for a list of %zu pieces", plan->piece_count);
    plan->pieces = pieces;
    plan->pieces[plan->piece_count++] = *piece;
    plan->total_bytes += piece->bytes;
    return PK_OK;
}

static pk_err add_file(pk_read_plan *plan, const pk_safetensors *table)
{
    if (plan->file_count && plan->files[plan->file_count - 1].table == table)
        return PK_OK;
    pk_read_file *files = grow(plan->files, plan->file_count, sizeof *files);
    if (!files)
        return pk_fail(PK_NOMEM, "no memory for a list of %zu files", plan->file_count);
    plan->files = files;
    plan->files[plan->file_count++] = (pk_read_file){.table = table, .fd = -1, .buffered_fd = -1};
    return PK_OK;
}

/* The last block, if the next bytes at `offset` may join it. */
static pk_read_block *open_block(pk_read_plan *plan, uint64_t offset, size_t piece_bytes)
{
    if (!plan->block_count)
        return NULL;
    pk_read_block *block = &plan->blocks[plan->block_count - 1];
    uint64_t end = block->offset + block->needed_bytes;
    bool joins = block->file == plan->file_count - 1 && offset >= end && offset - end <= PK_READ_GAP &&
                 offset - block->offset < piece_bytes;
    return joins ? block : NULL;
}

static pk_err add_block(pk_read_plan *plan, uint64_t offset)
{
    pk_read_block *blocks = grow(plan->blocks, plan->block_count, sizeof *blocks);
    if (!blocks)
        return pk_fail(PK_NOMEM, "no memory for a list of %zu reads", plan->block_count);
    plan->blocks = blocks;
    plan->blocks[plan->block_count++] = (pk_read_block){
        .file = plan->file_count - 1,
        .offset = offset / PK_READ_ALIGN * PK_READ_ALIGN,
        .first_piece = plan->piece_count,
    };
    plan->files[plan->file_count - 1].blocks_left++;
    return PK_OK;
}

/* Takes the next rows of `rest` into the open block, or into a new one. */
static pk_err place_rows(pk_read_plan *plan, pk_read_piece *rest, uint64_t row_bytes, size_t piece_bytes)
{
    pk_err err;
    pk_read_block *block = open_block(plan, rest->offset, piece_bytes);
    if (block && block->offset + piece_bytes - rest->offset < row_bytes)
        block = NULL; /* not even one row fits behind the others */
    if (!block) {
        if ((err = add_block(plan, rest->offset)))
            return err;
        block = &plan->blocks[plan->block_count - 1];
    }
    pk_read_piece piece = *rest;
    uint64_t used = rest->offset - block->offset;
    piece.row_count = rows_that_fit(rest, row_bytes, used < piece_bytes ? piece_bytes - used : 0);
    piece.bytes = piece.row_count * row_bytes;
    if (used + piece.bytes > SIZE_MAX / 2)
        return pk_fail(PK_NOMEM, "tensor %s: a row of %" PRIu64 " bytes", rest->request->tensor->name, row_bytes);
    block->needed_bytes = (size_t)(used + piece.bytes);
    block->bytes = (block->needed_bytes + PK_READ_ALIGN - 1) / PK_READ_ALIGN * PK_READ_ALIGN;
    block->piece_count++;
    if (block->bytes > plan->buffer_bytes)
        plan->buffer_bytes = block->bytes;
    rest->first_row += piece.row_count;
    rest->row_count -= piece.row_count;
    rest->offset += piece.bytes;
    return add_piece(plan, &piece);
}

static pk_err place_request(pk_read_plan *plan, const pk_read_request *request, size_t piece_bytes)
{
    const pk_tensor_entry *tensor = request->tensor;
    pk_read_piece rest = {.request = request, .row_count = pk_tensor_rows(tensor), .offset = tensor->offset};
    if (!tensor->bytes)
        return PK_OK;
    pk_err err = add_file(plan, tensor->file);
    while (!err && rest.row_count)
        err = place_rows(plan, &rest, pk_tensor_row_bytes(tensor), piece_bytes);
    return err;
}

pk_err pk_read_plan_init(pk_read_plan *plan, const pk_read_request *requests, size_t count, size_t piece_bytes)
{
    pk_err err = PK_OK;
    memset(plan, 0, sizeof *plan);
    const pk_read_request **sorted = calloc(count + 1, sizeof *sorted);
    if (!sorted)
        return pk_fail(PK_NOMEM, "no memory for %zu requests", count);
    for (size_t i = 0; i < count; i++)
        sorted[i] = &requests[i];
    qsort(sorted, count, sizeof *sorted, compare_requests);
    for (size_t i = 0; i < count && !err; i++)
        err = place_request(plan, sorted[i], piece_bytes);
    free(sorted);
    return err;
}

static void close_file(pk_read_file *file)
{
    pk_file_close(&file->fd);
    pk_file_close(&file->buffered_fd);
}

void pk_read_plan_fini(pk_read_plan *plan)
{
    for (size_t i = 0; i < plan->file_count; i++)
        close_file(&plan->files[i]);
    free(plan->blocks);
    free(plan->pieces);
    free(plan->files);
    memset(plan, 0, sizeof *plan);
}

static pk_err check_identity(const pk_read_file *file, const pk_file_identity *now)
{
    const pk_file_identity *before = pk_safetensors_identity(file->table);
    if (pk_file_same(now, before))
        return PK_OK;
    return pk_fail(PK_CORRUPT, "%s: has changed since its header was read (%" PRIu64 " bytes then, %" PRIu64 " now)",
                   pk_safetensors_path(file->table), before->bytes, now->bytes);
}

static pk_err open_file(pk_read_plan *plan, pk_read_file *file)
{
    pk_file_identity now;
    const char *path = pk_safetensors_path(file->table);
    pk_err err = pk_file_open(&file->fd, &now, path, O_DIRECT);
    file->direct = !err;
    if (err == PK_IO && errno == EINVAL) {
        pk_reader_note_set(plan->reader, "O_DIRECT is refused for %s; reading through the page cache", path);
        err = pk_file_open(&file->fd, &now, path, 0);
    }
    return err ? err : check_identity(file, &now);
}

pk_err pk_read_plan_file(pk_read_plan *plan, const pk_read_block *block, pk_read_file **out)
{
    *out = &plan->files[block->file];
    return (*out)->fd >= 0 ? PK_OK : open_file(plan, *out);
}

static pk_err buffered_descriptor(pk_read_file *file, int *fd)
{
    pk_err err = PK_OK;
    pk_file_identity now;
    if (file->direct && file->buffered_fd < 0 &&
        !(err = pk_file_open(&file->buffered_fd, &now, pk_safetensors_path(file->table), 0)))
        err = check_identity(file, &now);
    *fd = file->direct ? file->buffered_fd : file->fd;
    return err;
}

pk_err pk_read_plan_complete(pk_read_plan *plan, const pk_read_block *block, void *buffer, size_t got_bytes)
{
    int fd;
    pk_read_file *file = &plan->files[block->file];
    if (got_bytes >= block->needed_bytes)
        return PK_OK;
    pk_err err = buffered_descriptor(file, &fd);
    if (err)
        return err;
    pk_reader_counters *counters = pk_reader_counters_of(plan->reader);
    counters->reads++;
    counters->file_bytes += block->needed_bytes - got_bytes;
    err = pk_file_read_at(fd, (char *)buffer + got_bytes, block->needed_bytes - got_bytes, block->offset + got_bytes);
    return pk_pass(err, "%s: tensor %s", pk_safetensors_path(file->table),
                   plan->pieces[block->first_piece].request->tensor->name);
}

/* Rows begin where the file put them, which need not be a multiple of the element. Moving them down a few bytes
 * overwrites only what was delivered before, or the slack in front. */
static const void *align_rows(char *rows, const pk_read_piece *piece)
{
    size_t element = pk_dtype_bytes(piece->request->tensor->dtype);
    size_t excess = element ? (uintptr_t)rows % element : 0;
    return excess ? memmove(rows - excess, rows, piece->bytes) : rows;
}

static pk_err finish_block(pk_read_file *file)
{
    pk_file_identity now;
    if (--file->blocks_left)
        return PK_OK;
    pk_err err = pk_file_identify(file->fd, &now);
    close_file(file);
    return err ? pk_pass(err, "%s", pk_safetensors_path(file->table)) : check_identity(file, &now);
}

pk_err pk_read_plan_deliver(pk_read_plan *plan, const pk_read_block *block, void *buffer)
{
    pk_err err;
    pk_reader_counters *counters = pk_reader_counters_of(plan->reader);
    for (size_t i = 0; i < block->piece_count; i++) {
        const pk_read_piece *piece = &plan->pieces[block->first_piece + i];
        const void *rows = align_rows((char *)buffer + (piece->offset - block->offset), piece);
        err = plan->deliver(piece->request->user, piece->request->tensor, piece->first_row, piece->row_count, rows);
        if (err)
            return err;
        counters->bytes += piece->bytes;
        plan->done_bytes += piece->bytes;
        pk_reader_progress(plan->reader, plan->done_bytes, plan->total_bytes);
    }
    return finish_block(&plan->files[block->file]);
}

void *pk_read_buffers_alloc(size_t bytes)
{
    void *buffers = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (buffers == MAP_FAILED)
        return NULL;
    (void)madvise(buffers, bytes, MADV_HUGEPAGE); /* only a hint: first touch is 6 times faster on huge pages */
    return buffers;
}

void pk_read_buffers_free(void *buffers, size_t bytes)
{
    if (buffers)
        munmap(buffers, bytes);
}
