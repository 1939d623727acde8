/* run_lock.h - one coordinator for each run directory.
 *
 * An advisory lock on the file `lock`, which holds the owner's process id for people to read. The lock is the kernel's:
 * it ends with the process, however that ends. The file stays. */
#ifndef PK_PIPELINE_RUN_LOCK_H
#define PK_PIPELINE_RUN_LOCK_H

#include "ipc/error.h"

typedef struct {
    int fd; /* -1: not locked */
} pk_run_lock;

#define PK_RUN_LOCK_NONE ((pk_run_lock){-1})

/* Never waits. PK_AGAIN: "in use by another coordinator (pid N)"; PK_IO. */
pk_err pk_run_lock_take(pk_run_lock *out, const char *run_dir);

/* The same for any open file, without an id. PK_AGAIN; PK_IO. The lock ends when the file is closed. */
pk_err pk_run_lock_file(int fd);

void pk_run_lock_drop(pk_run_lock *lock); /* nothing for PK_RUN_LOCK_NONE */

#endif
