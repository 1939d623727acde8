/* ids_file.h - token ids from a JSON file: [[ids…], …], one array for each sequence. */
#ifndef PK_PIPELINE_IDS_FILE_H
#define PK_PIPELINE_IDS_FILE_H

#include "ipc/error.h"

#include <stddef.h>
#include <stdint.h>

/* The tree of a list takes some 40 bytes an id: bounded before it is made. */
enum { PK_IDS_FILE_BYTES = 1 << 28, PK_IDS_FILE_IDS = 1 << 24 };

typedef struct {
    int32_t *ids; /* owned */
    uint32_t count;
} pk_id_list;

typedef struct {
    pk_id_list *lists; /* owned */
    size_t count;
} pk_id_lists;

/* Every id is checked against the vocabulary; no list is empty. PK_IO; PK_CORRUPT names sequence and index. */
pk_err pk_ids_file_read(pk_id_lists *out, const char *path, size_t vocab);
void pk_id_lists_fini(pk_id_lists *lists);

#endif
