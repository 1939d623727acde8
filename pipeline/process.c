#include "pipeline/process.h"
#include "loader/file.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* Between fork and exec: only async-signal-safe calls. Every descriptor of ours is close-on-exec. */
static void become(const pk_process_options *options, pid_t parent, int stderr_end, int failure_end)
{
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) /* it died before the line above */
        _exit(1);
    int in = open("/dev/null", O_RDONLY | O_CLOEXEC), out = open("/dev/null", O_WRONLY | O_CLOEXEC);
    /* The failure end must survive the place that the lifeline takes. */
    int failure = fcntl(failure_end, F_DUPFD_CLOEXEC, PK_PROCESS_LIFELINE_FD + 1);
    int lifeline = fcntl(options->lifeline, F_DUPFD_CLOEXEC, PK_PROCESS_LIFELINE_FD + 1);
    int err = fcntl(stderr_end, F_DUPFD_CLOEXEC, PK_PROCESS_LIFELINE_FD + 1);
    if (in >= 0 && out >= 0 && failure >= 0 && lifeline >= 0 && err >= 0 && dup2(in, 0) >= 0 && dup2(out, 1) >= 0 &&
        dup2(err, 2) >= 0 && dup2(lifeline, PK_PROCESS_LIFELINE_FD) >= 0)
        execv(options->path, (char *const *)(uintptr_t)options->argv);
    int cause = errno;
    if (write(failure, &cause, sizeof cause) < 0)
        _exit(126);
    _exit(127);
}

/* The exec's errno, or 0 when the pipe closed because it succeeded. */
static int exec_failure(int fd)
{
    int cause = 0;
    ssize_t got;
    while ((got = read(fd, &cause, sizeof cause)) < 0 && errno == EINTR)
        ;
    return got == (ssize_t)sizeof cause ? cause : 0;
}

pk_err pk_process_start(pk_process *process, pk_process_options options)
{
    int err_pipe[2] = {-1, -1}, failure[2] = {-1, -1};
    pk_err err = PK_OK;
    pid_t parent = getpid();
    process->open = true;
    process->pidfd = process->stderr_fd = -1;
    if (pipe2(err_pipe, O_CLOEXEC) || pipe2(failure, O_CLOEXEC)) {
        err = pk_fail_errno(PK_IO, "pipes for %s", options.path);
        goto out;
    }
    if ((err = pk_stage_log_open(&process->log, options.log_path)))
        goto out;
    fflush(NULL);
    if ((process->pid = fork()) == 0)
        become(&options, parent, err_pipe[1], failure[1]);
    if (process->pid < 0) {
        process->pid = 0;
        err = pk_fail_errno(PK_IO, "fork for %s", options.path);
        goto out;
    }
    setpgid(process->pid, process->pid); /* in the child as well: whoever is first */
    pk_file_close(&failure[1]);
    int cause = exec_failure(failure[0]);
    process->pidfd = (int)syscall(SYS_pidfd_open, process->pid, 0);
    if (cause) {
        errno = cause;
        err = pk_fail_errno(PK_IO, "start %s", options.path);
    } else if (process->pidfd < 0)
        err = pk_fail_errno(PK_IO, "pidfd of %s", options.path);
    process->stderr_fd = err_pipe[0];
    err_pipe[0] = -1;
    fcntl(process->pidfd, F_SETFD, FD_CLOEXEC);
    fcntl(process->stderr_fd, F_SETFL, O_NONBLOCK);
out:
    pk_file_close(&err_pipe[0]);
    pk_file_close(&err_pipe[1]);
    pk_file_close(&failure[0]);
    pk_file_close(&failure[1]);
    return err;
}

void pk_process_read_log(pk_process *process, pk_stage_log_seen seen, void *context)
{
    char bytes[16 << 10];
    size_t taken = 0;
    ssize_t got;
    while (process->stderr_fd >= 0 && taken < PK_PROCESS_READ_BYTES) {
        got = read(process->stderr_fd, bytes, sizeof bytes);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return; /* EAGAIN: no more for now */
        if (got == 0) {
            pk_stage_log_end(&process->log, seen, context);
            pk_file_close(&process->stderr_fd);
            return;
        }
        pk_stage_log_take(&process->log, bytes, (size_t)got, seen, context);
        taken += (size_t)got;
    }
}

bool pk_process_reap(pk_process *process, bool wait)
{
    if (!process->pid)
        return true;
    pid_t got;
    while ((got = waitpid(process->pid, &process->status, wait ? 0 : WNOHANG)) < 0 && errno == EINTR)
        ;
    if (got == 0)
        return false;
    process->pid = 0;
    pk_file_close(&process->pidfd);
    return true;
}

bool pk_process_failed(const pk_process *process)
{
    return WIFEXITED(process->status) && WEXITSTATUS(process->status) != 0;
}

void pk_process_describe_end(const pk_process *process, char *out, size_t capacity)
{
    if (WIFSIGNALED(process->status))
        snprintf(out, capacity, "signal %d (%s)", WTERMSIG(process->status), strsignal(WTERMSIG(process->status)));
    else
        snprintf(out, capacity, "exit status %d", WEXITSTATUS(process->status));
}

void pk_process_close(pk_process *process)
{
    if (!process->open)
        return;
    if (process->pid) {
        kill(-process->pid, SIGKILL);
        kill(process->pid, SIGKILL);
        pk_process_reap(process, true);
    }
    pk_stage_log_close(&process->log);
    pk_file_close(&process->pidfd);
    pk_file_close(&process->stderr_fd);
    *process = (pk_process){0};
}
