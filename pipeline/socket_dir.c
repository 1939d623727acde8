#include "pipeline/socket_dir.h"
#include "loader/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static const char name_template[] = "XXXXXX"; /* of mkdtemp */

/* A folder that others may write into lets them swap our sockets. */
static pk_err own(const char *path)
{
    struct stat info;
    if (mkdir(path, 0700) && errno != EEXIST)
        return pk_fail_errno(PK_IO, "make %s", path);
    if (lstat(path, &info))
        return pk_fail_errno(PK_IO, "look at %s", path);
    if (!S_ISDIR(info.st_mode) || info.st_uid != getuid() || (info.st_mode & 077))
        return pk_fail(PK_INVALID, "%s: a folder of ours that nobody else may enter (mode 0700) was expected", path);
    return PK_OK;
}

static pk_err choose_parent(char *path, size_t bytes)
{
    const char *runtime = getenv("XDG_RUNTIME_DIR");
    int used = -1;
    if (runtime && runtime[0] == '/')
        used = snprintf(path, bytes, "%s/penstock", runtime);
    if (used < 0 || (size_t)used >= bytes)
        snprintf(path, bytes, "/tmp/penstock-%u", (unsigned)getuid());
    return own(path);
}

static bool lock(int fd, int how)
{
    int failed;
    while ((failed = flock(fd, how)) && errno == EINTR)
        ;
    return !failed;
}

static int open_folder(int parent, const char *name)
{
    return openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

/* The stream's descriptor is a copy: `fd` stays the caller's. */
static void empty(int fd)
{
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    DIR *dir = copy < 0 ? NULL : fdopendir(copy);
    struct dirent *entry;
    if (!dir) {
        pk_file_close(&copy);
        return;
    }
    rewinddir(dir);
    while ((entry = readdir(dir)))
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            unlinkat(fd, entry->d_name, 0);
    closedir(dir);
}

/* What cannot be removed harms nobody: the next start tries again. */
static void remove_if_dead(int parent, const char *name)
{
    int fd = open_folder(parent, name);
    if (fd >= 0 && lock(fd, LOCK_EX | LOCK_NB)) {
        empty(fd);
        unlinkat(parent, name, AT_REMOVEDIR);
    }
    pk_file_close(&fd);
}

static void remove_dead(int parent)
{
    int copy = fcntl(parent, F_DUPFD_CLOEXEC, 0);
    DIR *dir = copy < 0 ? NULL : fdopendir(copy);
    struct dirent *entry;
    if (!dir) {
        pk_file_close(&copy);
        return;
    }
    while ((entry = readdir(dir)))
        if (entry->d_name[0] != '.' && strlen(entry->d_name) == sizeof name_template - 1)
            remove_if_dead(parent, entry->d_name);
    closedir(dir);
}

/* A folder made but not yet locked would look like one of the dead. */
static pk_err make_locked(pk_socket_dir *out, const char *parent)
{
    snprintf(out->path, sizeof out->path, "%s/%s", parent, name_template);
    if (!mkdtemp(out->path)) {
        out->path[0] = 0;
        return pk_fail_errno(PK_IO, "make a folder in %s", parent);
    }
    out->lock = open_folder(AT_FDCWD, out->path);
    if (out->lock < 0 || !lock(out->lock, LOCK_EX | LOCK_NB)) {
        pk_err err = pk_fail_errno(PK_IO, "lock %s", out->path);
        pk_socket_dir_close(out);
        return err;
    }
    return PK_OK;
}

/* All is done under the parent's lock, so that no other start finds the new folder before its lock. */
pk_err pk_socket_dir_open(pk_socket_dir *out)
{
    char parent[PK_SOCKET_DIR_BYTES - 8];
    *out = PK_SOCKET_DIR_NONE;
    pk_err err = choose_parent(parent, sizeof parent);
    if (err)
        return err;
    int fd = open_folder(AT_FDCWD, parent);
    if (fd < 0 || !lock(fd, LOCK_EX))
        err = pk_fail_errno(PK_IO, "lock %s", parent);
    if (!err) {
        remove_dead(fd);
        err = make_locked(out, parent);
    }
    pk_file_close(&fd);
    return err;
}

void pk_socket_dir_close(pk_socket_dir *dir)
{
    if (dir->lock >= 0)
        empty(dir->lock);
    if (dir->path[0])
        rmdir(dir->path);
    pk_file_close(&dir->lock);
    dir->path[0] = 0;
}
