/* lines.h - a file of result lines, without some of them. */
#ifndef PK_PIPELINE_LINES_H
#define PK_PIPELINE_LINES_H

#include "ipc/error.h"

#include <stddef.h>
#include <stdint.h>

/* Writes the file `to` in the folder, synced: the first `length` bytes of its file `from` without the lines that begin
 * with one of the heads, which are sorted (strcmp) and none of which another begins with. *kept: its bytes. PK_IO;
 * PK_NOMEM. */
typedef struct {
    int folder;
    const char *from, *to;
    uint64_t length;
    char *const *heads;
    size_t head_count;
} pk_lines_without_options;

pk_err pk_lines_without(pk_lines_without_options options, uint64_t *kept);

#endif
