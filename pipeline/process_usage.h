/* process_usage.h - what a process takes of the machine, as /proc says it. */
#ifndef PK_PIPELINE_PROCESS_USAGE_H
#define PK_PIPELINE_PROCESS_USAGE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

typedef struct {
    char state; /* as proc(5) has it: R, S, D, T (stopped), Z, … */
    uint64_t resident_bytes;
    uint64_t cpu_ns; /* all threads, user and system */
} pk_process_usage;

/* false, and zeros: there is no such process. */
bool pk_process_usage_read(pid_t pid, pk_process_usage *out);

#endif
