/* Many reads in flight through one io_uring. The ring has no polling thread (it costs a core) and, where the kernel
 * can, may do nothing but read. Buffers are registered, which saves pinning them for every read, unless MEMLOCK forbids
 * it. */
#include "loader/reader_plan.h"

#include <errno.h>
#include <liburing.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { READ_BYTES_MAX = 1 << 30 };

struct slot {
    const pk_read_block *block;
    pk_read_file *file;
    void *buffer;
};

struct engine {
    pk_read_plan *plan;
    struct io_uring ring;
    unsigned depth;
    bool restrictable; /* the ring begins disabled, so that restrictions can be set */
    bool registered;
    void *buffers;
    struct slot *slots;
    size_t next_block, in_flight;
};

static pk_err fail_with(int cause, const char *what)
{
    errno = cause;
    return pk_fail_errno(PK_IO, "%s", what);
}

/* liburing declares functions for these two registrations, but Debian's does not export them. -errno on failure. */
static int register_with_ring(const struct engine *engine, unsigned what, const void *argument, unsigned count)
{
    long result = syscall(SYS_io_uring_register, engine->ring.ring_fd, what, argument, count);
    return result < 0 ? -errno : 0;
}

/* What a compromised or mistaken program could do with the ring is then no more than reading from its own descriptors.
 */
static void restrict_ring(struct engine *engine)
{
    struct io_uring_restriction rules[] = {
        {.opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = IORING_OP_READ},
        {.opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = IORING_OP_READ_FIXED},
    };
    if (engine->restrictable) /* hardening only: a refusal changes nothing */
        (void)register_with_ring(engine, IORING_REGISTER_RESTRICTIONS, rules, sizeof rules / sizeof *rules);
}

static pk_err open_ring(struct engine *engine)
{
    struct io_uring_params disabled = {.flags = IORING_SETUP_R_DISABLED}, plain = {0};
    int result = io_uring_queue_init_params(engine->depth, &engine->ring, &disabled);
    engine->restrictable = result == 0;
    if (result == -EINVAL) /* before Linux 5.10 */
        result = io_uring_queue_init_params(engine->depth, &engine->ring, &plain);
    return result < 0 ? fail_with(-result, "io_uring_setup") : PK_OK;
}

static void register_buffers(struct engine *engine)
{
    struct iovec *vectors = calloc(engine->depth, sizeof *vectors);
    if (!vectors)
        return;
    for (unsigned i = 0; i < engine->depth; i++)
        vectors[i] = (struct iovec){engine->slots[i].buffer, engine->plan->buffer_bytes};
    engine->registered = !io_uring_register_buffers(&engine->ring, vectors, engine->depth);
    free(vectors);
}

static pk_err open_buffers(struct engine *engine)
{
    size_t bytes = engine->plan->buffer_bytes;
    engine->slots = calloc(engine->depth, sizeof *engine->slots);
    engine->buffers = pk_read_buffers_alloc(engine->depth * bytes);
    if (!engine->slots || !engine->buffers)
        return pk_fail(PK_NOMEM, "no memory for %u buffers of %zu bytes", engine->depth, bytes);
    for (unsigned i = 0; i < engine->depth; i++)
        engine->slots[i].buffer = (char *)engine->buffers + i * bytes;
    return PK_OK;
}

static pk_err enable_ring(struct engine *engine)
{
    register_buffers(engine);
    restrict_ring(engine);
    int result = engine->restrictable ? register_with_ring(engine, IORING_REGISTER_ENABLE_RINGS, NULL, 0) : 0;
    return result < 0 ? fail_with(-result, "io_uring_enable_rings") : PK_OK;
}

/* Queues the read of a slot's block; it goes out with the next submit. There is always room: one entry for each slot.
 */
static void queue_read(struct engine *engine, unsigned index)
{
    struct slot *slot = &engine->slots[index];
    struct io_uring_sqe *sqe = io_uring_get_sqe(&engine->ring);
    size_t block_bytes = slot->block->bytes; /* a read stops below 2 GiB; pk_read_plan_complete brings the rest */
    unsigned bytes = block_bytes < READ_BYTES_MAX ? (unsigned)block_bytes : READ_BYTES_MAX;
    if (engine->registered)
        io_uring_prep_read_fixed(sqe, slot->file->fd, slot->buffer, bytes, slot->block->offset, (int)index);
    else
        io_uring_prep_read(sqe, slot->file->fd, slot->buffer, bytes, slot->block->offset);
    io_uring_sqe_set_data64(sqe, index);
}

static pk_err start_next(struct engine *engine, unsigned index)
{
    struct slot *slot = &engine->slots[index];
    if (engine->next_block == engine->plan->block_count)
        return PK_OK;
    slot->block = &engine->plan->blocks[engine->next_block];
    pk_err err = pk_read_plan_file(engine->plan, slot->block, &slot->file);
    if (err)
        return err;
    queue_read(engine, index);
    engine->next_block++;
    engine->in_flight++;
    return PK_OK;
}

static pk_err submit(struct engine *engine)
{
    int result = 0;
    do
        result = io_uring_submit(&engine->ring);
    while (result == -EINTR || result == -EAGAIN || result == -EBUSY);
    return result < 0 ? fail_with(-result, "io_uring_enter") : PK_OK;
}

static pk_err wait_one(struct engine *engine, unsigned *index, int *result)
{
    struct io_uring_cqe *cqe = NULL;
    int waited;
    do
        waited = io_uring_wait_cqe(&engine->ring, &cqe);
    while (waited == -EINTR || waited == -EAGAIN);
    if (waited < 0)
        return fail_with(-waited, "io_uring_enter");
    *index = (unsigned)io_uring_cqe_get_data64(cqe);
    *result = cqe->res;
    io_uring_cqe_seen(&engine->ring, cqe);
    engine->in_flight--;
    return PK_OK;
}

/* What the kernel or the file system does not do this way, and will do by an ordinary read. */
static bool is_refusal(int result)
{
    return result == -EINVAL || result == -EOPNOTSUPP || result == -EACCES || result == -EPERM;
}

static pk_err finish_read(struct engine *engine, const struct slot *slot, int result)
{
    pk_err err;
    const char *path = pk_safetensors_path(slot->file->table);
    pk_reader_counters *counters = pk_reader_counters_of(engine->plan->reader);
    if (result < 0 && !is_refusal(result))
        return pk_pass(fail_with(-result, "read"), "%s", path);
    if (result < 0)
        pk_reader_note_set(engine->plan->reader, "direct reads are refused for %s; reading through the page cache",
                           path);
    size_t got_bytes = result < 0 ? 0 : (size_t)result;
    counters->reads++;
    counters->file_bytes += got_bytes;
    if ((err = pk_read_plan_complete(engine->plan, slot->block, slot->buffer, got_bytes)))
        return err;
    return pk_read_plan_deliver(engine->plan, slot->block, slot->buffer);
}

/* A finished slot is refilled and submitted at once: the disk must not wait for the next block's callback. */
static pk_err read_blocks(struct engine *engine)
{
    pk_err err = PK_OK;
    unsigned index = 0;
    int result = 0;
    for (index = 0; index < engine->depth && !err; index++)
        err = start_next(engine, index);
    while (!err && engine->in_flight) {
        if ((err = submit(engine)) || (err = wait_one(engine, &index, &result)))
            break;
        if (result == -EINTR || result == -EAGAIN) {
            queue_read(engine, index);
            engine->in_flight++;
        } else if (!(err = finish_read(engine, &engine->slots[index], result)))
            err = start_next(engine, index);
    }
    return err;
}

/* After an error reads may still be on their way into the buffers. */
static void drain(struct engine *engine)
{
    struct io_uring_cqe *cqe;
    unsigned unsubmitted = io_uring_sq_ready(&engine->ring);
    while (engine->in_flight > unsubmitted) {
        int waited = io_uring_wait_cqe(&engine->ring, &cqe);
        if (waited == -EINTR || waited == -EAGAIN)
            continue;
        if (waited < 0)
            break;
        io_uring_cqe_seen(&engine->ring, cqe);
        engine->in_flight--;
    }
}

static pk_err run(struct engine *engine, bool *refused)
{
    pk_err err = open_buffers(engine);
    if (err)
        return err;
    if (enable_ring(engine)) {
        *refused = true;
        return PK_OK;
    }
    pk_reader_counters *counters = pk_reader_counters_of(engine->plan->reader);
    counters->uring = true;
    counters->registered = engine->registered;
    err = read_blocks(engine);
    drain(engine);
    return err;
}

pk_err pk_read_by_uring(pk_read_plan *plan, unsigned depth, bool *refused)
{
    struct engine engine = {.plan = plan, .depth = depth};
    *refused = false;
    if (depth > plan->block_count)
        engine.depth = (unsigned)plan->block_count;
    if (open_ring(&engine)) {
        *refused = true;
        return PK_OK;
    }
    pk_err err = run(&engine, refused);
    io_uring_queue_exit(&engine.ring);
    pk_read_buffers_free(engine.buffers, engine.depth * plan->buffer_bytes);
    free(engine.slots);
    return err;
}
