/* exit.h - what the command answers to the shell; the one place where an error becomes an exit code. */
#ifndef PK_CLI_EXIT_H
#define PK_CLI_EXIT_H

#include "ipc/error.h"

#define PK_EXITS(X)                                                                                                    \
    X(OK, 0, "every request has a good result")                                                                        \
    X(INTERNAL, 1, "internal error")                                                                                   \
    X(USAGE, 2, "usage or pipeline file (nothing was started)")                                                        \
    X(PARTIAL, 3, "finished; some requests failed, each with its reason")                                              \
    X(FIT, 4, "does not fit")                                                                                          \
    X(STAGE, 5, "a stage died")                                                                                        \
    X(MODEL, 6, "model files missing, damaged or of another shape")                                                    \
    X(BUSY, 73, "the run directory is in use by another coordinator")                                                  \
    X(DISK, 74, "disk full or failing")                                                                                \
    X(DRAINED, 75, "drained before the end; the same command resumes")                                                 \
    X(INTERRUPTED, 130, "second interrupt")                                                                            \
    X(TERMINATED, 143, "terminated")

typedef enum {
#define X(name, code, text) PK_EXIT_##name = code,
    PK_EXITS(X)
#undef X
} pk_exit;

/* What the command was doing when it failed: the same pk_err is another person's business in each. */
typedef enum {
    PK_DOING_USAGE,  /* reading options, the pipeline file, questions: what the person typed */
    PK_DOING_MODEL,  /* reading model files */
    PK_DOING_OUTPUT, /* writing results or a checkpoint */
    PK_DOING_RUN,    /* running the pipeline */
} pk_doing;

pk_exit pk_exit_of(pk_doing doing, pk_err err);

/* Says the thread's error trail on stderr as "penstock: …" and returns pk_exit_of; on PK_OK silent. */
pk_exit pk_exit_report(pk_doing doing, pk_err err);

#endif
