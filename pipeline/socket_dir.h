/* socket_dir.h - the place of a run's sockets: $XDG_RUNTIME_DIR/penstock/RUN or /tmp/penstock-UID/RUN, readable by
 * nobody else. A path there is short enough for a Unix socket.
 *
 * Whoever has a folder holds a lock on it (flock), which ends with the process however that ends. So a folder without a
 * lock belongs to the dead, and the next open removes it. */
#ifndef PK_PIPELINE_SOCKET_DIR_H
#define PK_PIPELINE_SOCKET_DIR_H

#include "ipc/error.h"

enum { PK_SOCKET_DIR_BYTES = 72 }; /* sun_path has 108, and a stage's name needs its part */

typedef struct {
    char path[PK_SOCKET_DIR_BYTES]; /* "": not open */
    int lock;                       /* descriptor of the folder; -1 */
} pk_socket_dir;

#define PK_SOCKET_DIR_NONE ((pk_socket_dir){.lock = -1})

/* Makes a fresh folder, mode 0700, and removes those of runs that are no more. May wait for another process that is
 * just doing so. PK_IO; PK_INVALID when the parent belongs to somebody else or is open to others. After a failure *out
 * is PK_SOCKET_DIR_NONE. */
pk_err pk_socket_dir_open(pk_socket_dir *out);

/* Removes it with everything in it; accepts PK_SOCKET_DIR_NONE. */
void pk_socket_dir_close(pk_socket_dir *dir);

#endif
