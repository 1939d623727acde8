/* console_pointer.h - the file `console` in a run directory: where the run's console listens, and who it is.
 *
 * Three lines: the socket's path, the process id, the host's name. Written aside and renamed, so that it is whole. A
 * pointer that outlived its run is no harm: nobody listens there. */
#ifndef PK_PIPELINE_CONSOLE_POINTER_H
#define PK_PIPELINE_CONSOLE_POINTER_H

#include "ipc/error.h"

#include <stdbool.h>

enum { PK_SOCKET_PATH_BYTES = 108, PK_HOST_BYTES = 65 };

typedef struct {
    char socket[PK_SOCKET_PATH_BYTES];
    int pid; /* written and read, never given */
    char host[PK_HOST_BYTES];
} pk_console_pointer;

pk_err pk_console_pointer_write(const char *run_dir, const pk_console_pointer *pointer); /* PK_IO */
void pk_console_pointer_remove(const char *run_dir);

/* PK_CLOSED: there is none; PK_CORRUPT: it is not what it should be; PK_IO. */
pk_err pk_console_pointer_read(const char *run_dir, pk_console_pointer *out);

/* Whether somebody listens there. PK_CLOSED: nobody; PK_PEER: the run is on another host. */
pk_err pk_console_pointer_probe(const pk_console_pointer *pointer);

#endif
