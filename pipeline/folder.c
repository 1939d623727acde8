#include "pipeline/folder.h"

#include "loader/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* One name for whatever is being written: there is one writer, and what a killed one left is easily found. */
static const char aside[] = ".partial";

static pk_err fail_to_make(const char *path)
{
    bool disk = errno == ENOSPC || errno == EDQUOT || errno == EIO;
    return pk_fail_errno(disk ? PK_IO : PK_INVALID, "make the directory %s", path);
}

pk_err pk_folder_open(int *fd, const char *path)
{
    *fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return *fd < 0 ? pk_fail_errno(PK_IO, "open the directory %s", path) : PK_OK;
}

pk_err pk_folder_sync(int folder)
{
    /* Some network file systems cannot sync a directory, and need not. */
    if (fsync(folder) && errno != EINVAL)
        return pk_fail_errno(PK_IO, "sync the directory");
    return PK_OK;
}

static pk_err sync_path(const char *path)
{
    pk_err err;
    int fd;
    if ((err = pk_folder_open(&fd, path)))
        return err;
    err = pk_pass(pk_folder_sync(fd), "%s", path);
    pk_file_close(&fd);
    return err;
}

/* Makes `path`, whose parent exists, and syncs the parent when it had to. */
static pk_err make_one(const char *path)
{
    struct stat status;
    if (mkdir(path, 0777)) {
        if (errno != EEXIST)
            return fail_to_make(path);
        if (stat(path, &status))
            return fail_to_make(path);
        if (!S_ISDIR(status.st_mode))
            return pk_fail(PK_INVALID, "%s is a file, expected a directory", path);
        return PK_OK;
    }
    char *parent = strdup(path);
    if (!parent)
        return pk_fail(PK_NOMEM, "no memory for a path");
    char *slash = strrchr(parent, '/');
    if (slash)
        slash[slash == parent] = '\0';
    pk_err err = sync_path(slash ? parent : ".");
    free(parent);
    return err;
}

pk_err pk_folder_make(const char *path)
{
    pk_err err = PK_OK;
    char *head = strdup(path);
    if (!head)
        return pk_fail(PK_NOMEM, "no memory for a path");
    size_t length = strlen(head);
    while (length > 1 && head[length - 1] == '/')
        head[--length] = '\0';
    for (char *at = head + (*head == '/'); (at = strchr(at, '/')) && !err; at++) {
        *at = '\0';
        err = make_one(head);
        *at = '/';
    }
    if (!err)
        err = make_one(head);
    free(head);
    return err;
}

static pk_err write_aside(int folder, const char *name, pk_folder_data data)
{
    pk_err err;
    int fd = openat(folder, aside, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0666);
    if (fd < 0)
        return pk_fail_errno(PK_IO, "%s: create %s", name, aside);
    if ((err = pk_file_write_at(fd, data.head, data.head_bytes, 0)) ||
        (err = pk_file_write_at(fd, data.tail, data.tail_bytes, data.head_bytes)))
        goto out;
    if (fsync(fd))
        err = pk_fail_errno(PK_IO, "sync");
out:
    pk_file_close(&fd);
    return pk_pass(err, "%s", name);
}

pk_err pk_folder_put(int folder, const char *name, pk_folder_data data)
{
    pk_err err = write_aside(folder, name, data);
    if (!err && renameat(folder, aside, folder, name))
        err = pk_fail_errno(PK_IO, "%s: rename", name);
    if (err) {
        unlinkat(folder, aside, 0); /* what cannot be removed now, the next open removes */
        return err;
    }
    return pk_pass(pk_folder_sync(folder), "%s", name);
}

static pk_err write_text(const char *path, const char *text, size_t bytes)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0666);
    if (fd < 0)
        return pk_fail_errno(PK_IO, "create %s", path);
    pk_err err = pk_file_write_at(fd, text, bytes, 0);
    pk_file_close(&fd);
    return pk_pass(err, "%s", path);
}

pk_err pk_folder_refresh(const char *folder, const char *name, const char *text, size_t bytes)
{
    char path[PATH_MAX], beside[PATH_MAX];
    if (snprintf(path, sizeof path, "%s/%s", folder, name) >= PATH_MAX ||
        snprintf(beside, sizeof beside, "%s/%s.new", folder, name) >= PATH_MAX)
        return pk_fail(PK_IO, "%s: the name is too long", folder);
    pk_err err = write_text(beside, text, bytes);
    if (!err && rename(beside, path))
        err = pk_fail_errno(PK_IO, "rename to %s", path);
    if (err)
        unlink(beside);
    return err;
}

pk_err pk_folder_clean(int folder)
{
    if (unlinkat(folder, aside, 0) && errno != ENOENT)
        return pk_fail_errno(PK_IO, "remove %s", aside);
    return PK_OK;
}
