/* index.h - model.safetensors.index.json: which tensor lies in which file. */
#ifndef PK_LOADER_INDEX_H
#define PK_LOADER_INDEX_H

#include "ipc/error.h"
#include "loader/json.h"

#include <stddef.h>
#include <stdint.h>

#define PK_INDEX_FILE "model.safetensors.index.json"

/* One line: this tensor lies in this file. Views into the index. */
typedef struct {
    const char *tensor, *file;
} pk_placement;

typedef struct {
    pk_json *root;
    size_t count;
    pk_placement *placements; /* in order of file */
    uint64_t total_bytes;     /* metadata.total_size: what it says of itself; 0 where it does not */
} pk_index;

/* Reads an index, which comes from outside: it may name files in its own directory and nothing else. Zeroed on failure.
 * PK_IO, PK_CORRUPT, PK_NOMEM. */
pk_err pk_index_read(pk_index *out, const char *path);
void pk_index_fini(pk_index *index);

/* How many placements from `first` on have the file that it has. */
size_t pk_index_run(const pk_index *index, size_t first);

#endif
