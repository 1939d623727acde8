#include "pipeline/console_pointer.h"
#include "loader/file.h"
#include "pipeline/folder.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { POINTER_BYTES = 512 };

static const char file_name[] = "console";

static pk_err pointer_path(char out[PATH_MAX], const char *run_dir)
{
    if (snprintf(out, PATH_MAX, "%s/%s", run_dir, file_name) >= PATH_MAX)
        return pk_fail(PK_INVALID, "%s: the name is too long", run_dir);
    return PK_OK;
}

static void own_host(char out[PK_HOST_BYTES])
{
    if (gethostname(out, PK_HOST_BYTES))
        out[0] = 0;
    out[PK_HOST_BYTES - 1] = 0;
}

pk_err pk_console_pointer_write(const char *run_dir, const pk_console_pointer *pointer)
{
    char text[POINTER_BYTES], host[PK_HOST_BYTES];
    own_host(host);
    int bytes = snprintf(text, sizeof text, "%s\n%d\n%s\n", pointer->socket, (int)getpid(), host);
    return pk_folder_refresh(run_dir, file_name, text, (size_t)bytes);
}

void pk_console_pointer_remove(const char *run_dir)
{
    char path[PATH_MAX];
    if (!pointer_path(path, run_dir))
        unlink(path);
}

/* The next line of *text into out, of which there must be room; false: there is none. */
static bool take_line(const char **text, char *out, size_t capacity)
{
    size_t bytes = strcspn(*text, "\n");
    if ((*text)[bytes] != '\n' || bytes >= capacity)
        return false;
    memcpy(out, *text, bytes);
    out[bytes] = 0;
    *text += bytes + 1;
    return true;
}

pk_err pk_console_pointer_read(const char *run_dir, pk_console_pointer *out)
{
    char path[PATH_MAX], pid[16], *text = NULL;
    size_t bytes = 0;
    pk_err err = pointer_path(path, run_dir);
    if (err)
        return err;
    if (access(path, F_OK) && errno == ENOENT)
        return pk_fail(PK_CLOSED, "no run is live in %s", run_dir);
    if ((err = pk_file_read_all(&text, &bytes, path, POINTER_BYTES)))
        return err;
    const char *at = text;
    if (!take_line(&at, out->socket, sizeof out->socket) || !take_line(&at, pid, sizeof pid) ||
        !take_line(&at, out->host, sizeof out->host) || out->socket[0] != '/')
        err = pk_fail(PK_CORRUPT, "%s: a socket's path, a process id and a host on three lines were expected", path);
    else
        out->pid = atoi(pid);
    free(text);
    return err;
}

pk_err pk_console_pointer_probe(const pk_console_pointer *pointer)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char host[PK_HOST_BYTES];
    own_host(host);
    if (strcmp(host, pointer->host) != 0)
        return pk_fail(PK_PEER, "the run (pid %d) was started on host %s; its console answers only there", pointer->pid,
                       pointer->host);
    memcpy(address.sun_path, pointer->socket, strlen(pointer->socket) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return pk_fail_errno(PK_IO, "socket");
    bool refused = connect(fd, (struct sockaddr *)&address, sizeof address) && errno != EAGAIN;
    pk_file_close(&fd);
    return refused ? pk_fail(PK_CLOSED, "the run (pid %d) is no more", pointer->pid) : PK_OK;
}
