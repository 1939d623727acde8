#include "loader/file.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

bool pk_file_is_there(const char *dir, const char *name)
{
    char *path = NULL;
    bool there = asprintf(&path, "%s/%s", dir, name) >= 0 && !access(path, F_OK);
    free(path);
    return there;
}

bool pk_file_same(const pk_file_identity *a, const pk_file_identity *b)
{
    return a->device == b->device && a->inode == b->inode && a->bytes == b->bytes && a->mtime_s == b->mtime_s &&
           a->mtime_ns == b->mtime_ns;
}

static pk_file_identity identity_of(const struct stat *status)
{
    return (pk_file_identity){
        .device = status->st_dev,
        .inode = status->st_ino,
        .bytes = (uint64_t)status->st_size,
        .mtime_s = status->st_mtim.tv_sec,
        .mtime_ns = status->st_mtim.tv_nsec,
    };
}

static pk_err fail_keeping_errno(const char *what, const char *path)
{
    int cause = errno;
    pk_err err = pk_fail_errno(PK_IO, "%s %s", what, path);
    errno = cause;
    return err;
}

pk_err pk_file_open(int *fd, pk_file_identity *identity, const char *path, int flags)
{
    struct stat status;
    *fd = -1;
    /* O_NONBLOCK: opening a FIFO would otherwise wait for a writer. It means nothing for a regular file. */
    int opened = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | flags);
    if (opened < 0)
        return fail_keeping_errno("open", path);
    if (fstat(opened, &status)) {
        int cause = errno;
        close(opened);
        errno = cause;
        return fail_keeping_errno("fstat", path);
    }
    if (!S_ISREG(status.st_mode)) {
        close(opened);
        return pk_fail(PK_CORRUPT, "%s: is not a regular file", path);
    }
    if (identity)
        *identity = identity_of(&status);
    *fd = opened;
    return PK_OK;
}

pk_err pk_file_identify(int fd, pk_file_identity *out)
{
    struct stat status;
    if (fstat(fd, &status))
        return pk_fail_errno(PK_IO, "fstat");
    *out = identity_of(&status);
    return PK_OK;
}

pk_err pk_file_read_at(int fd, void *out, size_t bytes, uint64_t offset)
{
    size_t done = 0;
    while (done < bytes) {
        ssize_t got = pread(fd, (char *)out + done, bytes - done, (off_t)(offset + done));
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return pk_fail_errno(PK_IO, "read %zu bytes at byte %" PRIu64, bytes - done, offset + done);
        if (got == 0)
            return pk_fail(PK_CORRUPT, "the file ends at byte %" PRIu64 ", expected %zu more bytes", offset + done,
                           bytes - done);
        done += (size_t)got;
    }
    return PK_OK;
}

pk_err pk_file_write_at(int fd, const void *data, size_t bytes, uint64_t offset)
{
    size_t done = 0;
    while (done < bytes) {
        ssize_t put = pwrite(fd, (const char *)data + done, bytes - done, (off_t)(offset + done));
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0) {
            int cause = errno;
            pk_err err = pk_fail_errno(PK_IO, "write %zu bytes at byte %" PRIu64, bytes - done, offset + done);
            errno = cause;
            return err;
        }
        done += (size_t)put;
    }
    return PK_OK;
}

pk_err pk_file_read_all(char **text, size_t *bytes, const char *path, size_t bytes_max)
{
    pk_err err = PK_OK;
    pk_file_identity identity = {0};
    char *held = NULL;
    int fd = -1;

    *text = NULL;
    *bytes = 0;
    if ((err = pk_file_open(&fd, &identity, path, 0)))
        return err; /* names the path already */
    if (identity.bytes > bytes_max) {
        err = pk_fail(PK_CORRUPT, "has %" PRIu64 " bytes, expected at most %zu", identity.bytes, bytes_max);
        goto out;
    }
    if (!(held = malloc((size_t)identity.bytes + 1))) {
        err = pk_fail(PK_NOMEM, "no memory for %" PRIu64 " bytes", identity.bytes);
        goto out;
    }
    if ((err = pk_file_read_at(fd, held, (size_t)identity.bytes, 0)))
        goto out;
    held[identity.bytes] = '\0';
    *text = held;
    *bytes = (size_t)identity.bytes;
    held = NULL;
out:
    free(held);
    pk_file_close(&fd);
    return pk_pass(err, "%s", path);
}

void pk_file_close(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}
