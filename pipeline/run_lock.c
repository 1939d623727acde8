#include "pipeline/run_lock.h"

#include "loader/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

static const char busy[] = "in use by another coordinator";

static pk_err lock(int fd)
{
    while (flock(fd, LOCK_EX | LOCK_NB)) {
        if (errno == EWOULDBLOCK)
            return PK_AGAIN;
        if (errno != EINTR)
            return pk_fail_errno(PK_IO, "lock");
    }
    return PK_OK;
}

pk_err pk_run_lock_file(int fd)
{
    pk_err err = lock(fd);
    return err == PK_AGAIN ? pk_fail(err, "%s", busy) : err;
}

/* The owner may stand between taking the lock and writing its id: then there is none to tell. */
static pk_err fail_busy(int fd)
{
    char text[16];
    ssize_t got = pread(fd, text, sizeof text - 1, 0);
    text[got > 0 ? got : 0] = '\0';
    long pid = strtol(text, NULL, 10);
    if (pid <= 0)
        return pk_fail(PK_AGAIN, "%s", busy);
    return pk_fail(PK_AGAIN, "%s (pid %ld)", busy, pid);
}

static pk_err write_owner(int fd)
{
    char text[16];
    int length = snprintf(text, sizeof text, "%ld\n", (long)getpid());
    if (ftruncate(fd, 0))
        return pk_fail_errno(PK_IO, "truncate");
    return pk_file_write_at(fd, text, (size_t)length, 0);
}

pk_err pk_run_lock_take(pk_run_lock *out, const char *run_dir)
{
    pk_err err = PK_OK;
    char *path = NULL;
    int fd = -1;

    *out = PK_RUN_LOCK_NONE;
    if (asprintf(&path, "%s/lock", run_dir) < 0)
        return pk_fail(PK_NOMEM, "no memory for a path");
    if ((fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0666)) < 0) {
        err = pk_fail_errno(PK_IO, "open %s", path);
        goto out;
    }
    if ((err = lock(fd))) {
        err = err == PK_AGAIN ? fail_busy(fd) : pk_pass(err, "%s", path);
        goto out;
    }
    if ((err = pk_pass(write_owner(fd), "%s", path)))
        goto out;
    out->fd = fd;
    fd = -1;
out:
    pk_file_close(&fd);
    free(path);
    return pk_pass(err, "%s", run_dir);
}

void pk_run_lock_drop(pk_run_lock *held)
{
    pk_file_close(&held->fd);
}
