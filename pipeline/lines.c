#include "pipeline/lines.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int compare_head(const void *line, const void *head)
{
    const char *words = *(char *const *)head;
    return strncmp(line, words, strlen(words));
}

static bool is_dropped(const pk_lines_without_options *o, const char *line)
{
    return bsearch(line, o->heads, o->head_count, sizeof *o->heads, compare_head);
}

static FILE *open_in(int folder, const char *name, int flags, const char *mode)
{
    int fd = openat(folder, name, flags | O_NOFOLLOW | O_CLOEXEC, 0666);
    FILE *file = fd < 0 ? NULL : fdopen(fd, mode);
    if (!file && fd >= 0)
        close(fd);
    return file;
}

static pk_err copy(const pk_lines_without_options *o, FILE *from, FILE *to, uint64_t *kept)
{
    char *line = NULL;
    size_t capacity = 0;
    pk_err err = PK_OK;
    for (uint64_t done = 0; done < o->length && !err;) {
        ssize_t bytes = getline(&line, &capacity, from);
        if (bytes <= 0) {
            err = pk_fail_errno(PK_IO, "read at byte %ju", (uintmax_t)done);
            break;
        }
        done += (uint64_t)bytes;
        if (done > o->length || is_dropped(o, line)) /* beyond the length: a line that nobody counts */
            continue;
        *kept += (uint64_t)bytes;
        if (fwrite(line, 1, (size_t)bytes, to) != (size_t)bytes)
            err = pk_fail_errno(PK_IO, "write %s", o->to);
    }
    free(line);
    return err;
}

pk_err pk_lines_without(pk_lines_without_options o, uint64_t *kept)
{
    pk_err err = PK_OK;
    FILE *from = open_in(o.folder, o.from, O_RDONLY, "r");
    FILE *to = from ? open_in(o.folder, o.to, O_WRONLY | O_CREAT | O_TRUNC, "w") : NULL;
    *kept = 0;
    if (!to) {
        err = pk_fail_errno(PK_IO, "open");
        goto out;
    }
    if (!(err = copy(&o, from, to, kept)) && (fflush(to) || fsync(fileno(to))))
        err = pk_fail_errno(PK_IO, "sync %s", o.to);
out:
    if (from)
        fclose(from);
    if (to && fclose(to) && !err)
        err = pk_fail_errno(PK_IO, "close %s", o.to);
    return pk_pass(err, "%s", o.from);
}
