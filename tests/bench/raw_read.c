#include "tests/bench/raw_read.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { DEPTH = 32, PIECE_BYTES = 4 << 20, BLOCK_BYTES = 4096 };

/* A file being read: pieces go out in order. */
typedef struct {
    int fd;
    uint64_t file_bytes, asked, got;
    char *buffers;
    struct io_uring ring;
    bool registered;
} job;

static bool say(const char *what, int error)
{
    fprintf(stderr, "raw read: %s: %s\n", what, strerror(error));
    return false;
}

/* Direct reads are whole blocks, also of the last piece. */
static unsigned next_bytes(const job *j)
{
    uint64_t left = (j->file_bytes - j->asked + BLOCK_BYTES - 1) / BLOCK_BYTES * BLOCK_BYTES;
    return left < PIECE_BYTES ? (unsigned)left : PIECE_BYTES;
}

static void ask(job *j, unsigned slot)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&j->ring);
    unsigned bytes = next_bytes(j);
    char *buffer = j->buffers + (size_t)slot * PIECE_BYTES;
    if (j->registered)
        io_uring_prep_read_fixed(sqe, 0, buffer, bytes, j->asked, (int)slot);
    else
        io_uring_prep_read(sqe, 0, buffer, bytes, j->asked);
    io_uring_sqe_set_flags(sqe, IOSQE_FIXED_FILE);
    io_uring_sqe_set_data64(sqe, slot);
    j->asked += bytes;
}

static bool take_one(job *j, unsigned *slot)
{
    struct io_uring_cqe *cqe = NULL;
    int failed = io_uring_wait_cqe(&j->ring, &cqe);
    if (failed)
        return failed == -EINTR || say("io_uring_wait_cqe", -failed);
    int result = cqe->res;
    *slot = (unsigned)io_uring_cqe_get_data64(cqe);
    io_uring_cqe_seen(&j->ring, cqe);
    if (result <= 0)
        return say("io_uring read", -result);
    j->got += (unsigned)result;
    return true;
}

static bool run_ring(job *j)
{
    unsigned slot = 0;
    for (; slot < DEPTH && j->asked < j->file_bytes; slot++)
        ask(j, slot);
    while (j->got < j->file_bytes) {
        int submitted = io_uring_submit(&j->ring);
        if (submitted < 0)
            return say("io_uring_submit", -submitted);
        if (!take_one(j, &slot))
            return false;
        if (j->asked < j->file_bytes)
            ask(j, slot);
    }
    return true;
}

static bool read_by_uring(job *j)
{
    struct iovec vectors[DEPTH];
    int failed = io_uring_queue_init(DEPTH, &j->ring, 0);
    if (failed)
        return say("io_uring_setup", -failed);
    for (size_t i = 0; i < DEPTH; i++)
        vectors[i] = (struct iovec){j->buffers + i * PIECE_BYTES, PIECE_BYTES};
    j->registered = !io_uring_register_buffers(&j->ring, vectors, DEPTH);
    failed = io_uring_register_files(&j->ring, &j->fd, 1);
    bool done = failed ? say("io_uring_register_files", -failed) : run_ring(j);
    io_uring_queue_exit(&j->ring);
    return done;
}

static bool read_by_pread(job *j)
{
    while (j->got < j->file_bytes) {
        ssize_t got = pread(j->fd, j->buffers, PIECE_BYTES, (off_t)j->got);
        if (got <= 0)
            return say("pread", got ? errno : EIO);
        j->got += (uint64_t)got;
    }
    return true;
}

/* Kept for the process's life, so that only the first call pays for its pages. */
static char *buffers_once(void)
{
    static char *buffers;
    if (buffers)
        return buffers;
    size_t bytes = (size_t)PIECE_BYTES * DEPTH;
    char *fresh = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (fresh == MAP_FAILED)
        return NULL;
    (void)madvise(fresh, bytes, MADV_HUGEPAGE);
    memset(fresh, 1, bytes);
    return buffers = fresh;
}

uint64_t raw_read(const char *path, raw_way way)
{
    struct stat status;
    job j = {.fd = open(path, O_RDONLY | O_CLOEXEC | (way == RAW_BUFFERED ? 0 : O_DIRECT)), .buffers = buffers_once()};
    bool done = false;
    if (j.fd < 0 || fstat(j.fd, &status))
        say(path, errno);
    else if (!j.buffers)
        say("buffers", ENOMEM);
    else {
        j.file_bytes = (uint64_t)status.st_size;
        if (way == RAW_BUFFERED)
            posix_fadvise(j.fd, 0, 0, POSIX_FADV_DONTNEED);
        done = way == RAW_URING ? read_by_uring(&j) : read_by_pread(&j);
    }
    if (j.fd >= 0)
        close(j.fd);
    return done ? j.file_bytes : 0;
}
