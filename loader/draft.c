#include "loader/draft.h"

#include "loader/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { COPY_BYTES_MAX = 256 << 20 };

struct pk_draft {
    char *dir, *partial; /* the final name without slashes behind it, and the one until then */
    bool made;           /* there is something to remove */
};

/* Refuses a directory with anything in it; one that does not exist is fine. */
static pk_err check_free(const char *dir)
{
    struct dirent *entry;
    DIR *listing = opendir(dir);
    if (!listing && errno == ENOENT)
        return PK_OK;
    if (!listing)
        return pk_fail_errno(PK_INVALID, "%s", dir);
    pk_err err = PK_OK;
    while (!err && (entry = readdir(listing)))
        if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
            err = pk_fail(PK_INVALID, "%s: is not empty, expected a new or an empty directory", dir);
    closedir(listing);
    return err;
}

static pk_err make(pk_draft *draft)
{
    pk_err err = check_free(draft->dir);
    if (err)
        return err;
    if (asprintf(&draft->partial, "%s.partial-%ld", draft->dir, (long)getpid()) < 0) {
        draft->partial = NULL;
        return pk_fail(PK_NOMEM, "no memory for a path");
    }
    if (mkdir(draft->partial, 0777))
        return pk_fail_errno(PK_IO, "mkdir %s", draft->partial);
    draft->made = true;
    return PK_OK;
}

pk_err pk_draft_open(pk_draft **out, const char *dir)
{
    size_t length = dir ? strlen(dir) : 0;
    *out = NULL;
    while (length > 1 && dir[length - 1] == '/')
        length--;
    if (length == 0)
        return pk_fail(PK_INVALID, "no directory is named");
    pk_draft *draft = calloc(1, sizeof *draft);
    if (!draft || !(draft->dir = strndup(dir, length))) {
        pk_draft_close(&draft);
        return pk_fail(PK_NOMEM, "no memory for a path");
    }
    pk_err err = make(draft);
    if (err)
        pk_draft_close(&draft);
    *out = draft;
    return err;
}

static void remove_partial(const pk_draft *draft)
{
    struct dirent *entry;
    DIR *listing = opendir(draft->partial);
    if (!listing)
        return;
    while ((entry = readdir(listing)))
        if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
            unlinkat(dirfd(listing), entry->d_name, 0);
    closedir(listing);
    rmdir(draft->partial);
}

void pk_draft_close(pk_draft **draft)
{
    pk_draft *held = *draft;
    *draft = NULL;
    if (!held)
        return;
    if (held->made)
        remove_partial(held);
    free(held->dir);
    free(held->partial);
    free(held);
}

const char *pk_draft_path(const pk_draft *draft)
{
    return draft->partial;
}

pk_err pk_draft_write(const pk_draft *draft, const char *name, const char *text, size_t bytes)
{
    pk_err err = PK_OK;
    char *path = NULL;
    int fd = -1;
    if (asprintf(&path, "%s/%s", draft->partial, name) < 0)
        return pk_fail(PK_NOMEM, "no memory for a path");
    if ((fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666)) < 0)
        err = pk_fail_errno(PK_IO, "create");
    else if (!(err = pk_file_write_at(fd, text, bytes, 0)) && fdatasync(fd))
        err = pk_fail_errno(PK_IO, "sync");
    pk_file_close(&fd);
    err = pk_pass(err, "%s", path);
    free(path);
    return err;
}

pk_err pk_draft_copy(const pk_draft *draft, const char *from, const char *name)
{
    char *text = NULL;
    size_t bytes = 0;
    pk_err err = pk_file_read_all(&text, &bytes, from, COPY_BYTES_MAX);
    if (!err)
        err = pk_draft_write(draft, name, text, bytes);
    free(text);
    return err;
}

pk_err pk_draft_publish(pk_draft *draft)
{
    int fd = open(draft->partial, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd)) {
        pk_err err = pk_fail_errno(PK_IO, "sync %s", draft->partial);
        pk_file_close(&fd);
        return err;
    }
    pk_file_close(&fd);
    if (rename(draft->partial, draft->dir))
        return pk_fail_errno(errno == ENOTEMPTY || errno == EEXIST ? PK_INVALID : PK_IO, "rename %s to %s",
                             draft->partial, draft->dir);
    draft->made = false;
    return PK_OK;
}
