#include "pipeline/probe.h"

#include "ipc/clock.h"
#include "pipeline/libexec.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ANSWER_BYTES_MAX = 64 << 10, ANSWER_VALUES_MAX = 1024 };
static const uint64_t patience_ns = 60000000000;

extern char **environ;

/* Its standard output becomes `to`. */
static pk_err spawn(pid_t *pid, int to, const char *what, uint32_t threads)
{
    char path[PATH_MAX], count[16];
    const char *argv[] = {"penstock-probe", what, threads ? count : NULL, NULL};
    posix_spawn_file_actions_t actions;
    snprintf(count, sizeof count, "%" PRIu32, threads);
    if (snprintf(path, sizeof path, "%s/penstock-probe", pk_libexec_dir()) >= (int)sizeof path)
        return pk_fail(PK_INVALID, "the folder of the stage programs has too long a name");
    if (posix_spawn_file_actions_init(&actions))
        return pk_fail(PK_NOMEM, "no memory to start %s", path);
    errno = posix_spawn_file_actions_adddup2(&actions, to, STDOUT_FILENO);
    if (!errno)
        errno = posix_spawn(pid, path, &actions, NULL, (char *const *)(uintptr_t)argv, environ);
    int why = errno;
    posix_spawn_file_actions_destroy(&actions);
    errno = why;
    return why ? pk_fail_errno(PK_IO, "start %s", path) : PK_OK;
}

/* Up to its end. */
static pk_err read_answer(int fd, char *answer, size_t *used)
{
    uint64_t deadline = pk_clock_ns() + patience_ns;
    for (;;) {
        struct pollfd item = {.fd = fd, .events = POLLIN};
        uint64_t now = pk_clock_ns();
        if (now >= deadline || poll(&item, 1, (int)((deadline - now) / 1000000) + 1) == 0)
            return pk_fail(PK_IO, "no answer after %d s", (int)(patience_ns / 1000000000));
        ssize_t got = read(fd, answer + *used, ANSWER_BYTES_MAX - *used);
        if (got < 0 && errno != EINTR)
            return pk_fail_errno(PK_IO, "read its answer");
        if (got == 0)
            return PK_OK;
        *used += got > 0 ? (size_t)got : 0;
        if (*used == ANSWER_BYTES_MAX)
            return pk_fail(PK_IO, "an answer of more than %d bytes", ANSWER_BYTES_MAX);
    }
}

static pk_err reap(pid_t pid, pk_err err)
{
    int status = 0;
    if (err)
        kill(pid, SIGKILL);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (!err && WIFSIGNALED(status))
        return pk_fail(PK_IO, "ended by signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
    if (!err && WEXITSTATUS(status))
        return pk_fail(PK_IO, "ended with exit status %d", WEXITSTATUS(status));
    return err;
}

pk_err pk_probe_ask(pk_json **out, const char *what, uint32_t threads)
{
    int ends[2] = {-1, -1};
    pid_t pid;
    size_t used = 0;
    char *answer = malloc(ANSWER_BYTES_MAX);
    pk_err err = answer ? PK_OK : pk_fail(PK_NOMEM, "no memory for an answer");
    *out = NULL;
    if (!err && pipe2(ends, O_CLOEXEC))
        err = pk_fail_errno(PK_IO, "pipe");
    if (!err && !(err = spawn(&pid, ends[1], what, threads))) {
        close(ends[1]);
        ends[1] = -1;
        err = reap(pid, read_answer(ends[0], answer, &used));
    }
    if (!err)
        err = pk_json_open(out, answer, used, ANSWER_VALUES_MAX);
    for (int i = 0; i < 2; i++)
        if (ends[i] >= 0)
            close(ends[i]);
    free(answer);
    return pk_pass(err, "penstock-probe %s", what);
}

/* Fills one side of every figure. */
static pk_err take_side(pk_speeds *out, const pk_json *answer, bool all)
{
    const pk_json *speeds = pk_json_member(answer, "speeds");
    double value;
#define X(key, one_thread, all_threads, words)                                                                         \
    if (!pk_json_number(pk_json_member(speeds, #key), &value))                                                         \
        return pk_fail(PK_IO, "penstock-probe gave no %s", #key);                                                      \
    *(all ? &out->key.all : &out->key.one) = value;
    PK_SPEEDS(X)
#undef X
    return PK_OK;
}

static pk_err measure_side(pk_speeds *out, uint32_t threads, bool all, char device[PK_SPEED_NAME_BYTES])
{
    pk_json *answer = NULL;
    pk_err err = pk_probe_ask(&answer, "speeds", threads);
    if (!err)
        err = take_side(out, answer, all);
    const char *name = err ? NULL : pk_json_string(pk_json_member(answer, "device"));
    snprintf(device, PK_SPEED_NAME_BYTES, "%s", name ? name : "unknown");
    pk_json_close(&answer);
    return err;
}

pk_err pk_probe_speeds(pk_speeds *out, uint32_t cores, char device[PK_SPEED_NAME_BYTES])
{
    *out = (pk_speeds){.threads = cores, .measured = true, .source = "measured just now"};
    pk_err err = measure_side(out, 1, false, device);
    return err ? err : measure_side(out, cores, true, device);
}
