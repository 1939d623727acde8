/* process.h - one child process of the coordinator: started so that it can neither outlive us nor die unnoticed.
 *
 * It gets a process group of its own (Ctrl-C in a terminal reaches the coordinator alone, which decides), the read end
 * of a lifeline pipe that closes when we are gone, SIGKILL from the kernel when our thread dies, and a pipe for its
 * stderr. An exec that fails is reported with its cause, here, not by a mysterious exit status. Start from the main
 * thread. */
#ifndef PK_PIPELINE_PROCESS_H
#define PK_PIPELINE_PROCESS_H

#include "pipeline/stage_log.h"

#include <stdbool.h>
#include <sys/types.h>

typedef struct {
    bool open;     /* false: zeroed, nothing to close */
    pid_t pid;     /* 0: not started, or reaped */
    int pidfd;     /* readable when it has ended; -1 */
    int stderr_fd; /* non-blocking; -1 after its end */
    int status;    /* of waitpid, once reaped */
    pk_stage_log log;
} pk_process;

typedef struct {
    const char *path; /* of the executable */
    const char *const
        *argv;            /* ends with NULL; "--lifeline FD" is for the caller to put there: PK_PROCESS_LIFELINE_FD */
    int lifeline;         /* read end, ours; the child has it as PK_PROCESS_LIFELINE_FD */
    const char *log_path; /* appended to; NULL: none */
} pk_process_options;

enum { PK_PROCESS_LIFELINE_FD = 3 };

/* Starts into a zeroed process. PK_IO names what failed, the exec included. */
pk_err pk_process_start(pk_process *process, pk_process_options options);

/* Reads what there is on its stderr into its log, at most PK_PROCESS_READ_BYTES: who writes faster than that is read
 * finds the others served in between. After its end that is all there is. */
enum { PK_PROCESS_READ_BYTES = 256 << 10 };
void pk_process_read_log(pk_process *process, pk_stage_log_seen seen, void *context);

/* Reaps it if it has ended (wait: waits for the end); true when it is gone. */
bool pk_process_reap(pk_process *process, bool wait);

/* Whether a reaped process ended by itself with another status than 0. */
bool pk_process_failed(const pk_process *process);

/* "exit status 1", "signal 9 (Killed)"; of a reaped process. */
void pk_process_describe_end(const pk_process *process, char *out, size_t capacity);

/* Kills its whole group if it still runs, reaps it, closes everything; accepts a zeroed process. */
void pk_process_close(pk_process *process);

#endif
