/* safetensors.h - the table of contents of one safetensors file, and a writer of such files.
 *
 * A file is an 8-byte little-endian length N, N bytes of JSON that name each tensor's dtype, shape and byte range, and
 * the data. The JSON is untrusted: everything a header can get wrong is refused here, so that whoever holds an entry
 * may believe it: its range lies inside the file as it was, has exactly shape × dtype bytes and overlaps no other.
 *
 * Nothing stays open: a pk_safetensors remembers path and identity (size, mtime, inode), and the reader checks them
 * again when it opens the file for its data. Immutable after opening, so any thread may look. */
#ifndef PK_LOADER_SAFETENSORS_H
#define PK_LOADER_SAFETENSORS_H

#include "ipc/dtype.h"
#include "ipc/error.h"
#include "loader/digest.h"
#include "loader/file.h"

#include <stddef.h>
#include <stdint.h>

enum {
    PK_SAFETENSORS_HEADER_MAX = 100 * 1000 * 1000, /* bytes; the public library's own ceiling */
    PK_SAFETENSORS_TENSORS_MAX = 262144,
    PK_TENSOR_RANK_MAX = 8,
    PK_TENSOR_NAME_MAX = 512, /* bytes, without the NUL */
};

typedef struct pk_safetensors pk_safetensors;

/* One tensor as it lies in a file. Views, valid as long as the pk_safetensors that they came from. */
typedef struct {
    const char *name;
    const pk_safetensors *file;
    pk_dtype dtype;         /* 0: a dtype of the format that this program does not compute with */
    const char *dtype_name; /* as the header says: "BF16", "F8_E4M3", … */
    unsigned rank;          /* 0: a scalar */
    uint64_t shape[PK_TENSOR_RANK_MAX];
    uint64_t offset; /* of its first byte, from the start of the file */
    uint64_t bytes;
} pk_tensor_entry;

/* Reads the header of the file at `path`. PK_IO when the system refuses, PK_CORRUPT when the file lies about itself
 * (also when it is no regular file); the text names the file and the tensor. The caller closes *out. */
pk_err pk_safetensors_open(pk_safetensors **out, const char *path);
void pk_safetensors_close(pk_safetensors **file);

/* The same check on a header in memory: `text` of `bytes`, from a file of `file_bytes` in all (8 + bytes + data).
 * `path` is only for messages. The entries can be looked at, not read. */
pk_err pk_safetensors_parse(pk_safetensors **out, const char *path, const char *text, size_t bytes,
                            uint64_t file_bytes);

const char *pk_safetensors_path(const pk_safetensors *file);                 /* view */
const pk_file_identity *pk_safetensors_identity(const pk_safetensors *file); /* view; as when the header was read */
pk_digest pk_safetensors_digest(const pk_safetensors *file);                 /* of the header's length and text */
uint64_t pk_safetensors_data_offset(const pk_safetensors *file);

/* Entries in order of their offset. */
size_t pk_safetensors_count(const pk_safetensors *file);
const pk_tensor_entry *pk_safetensors_at(const pk_safetensors *file, size_t index);       /* index < count; view */
const pk_tensor_entry *pk_safetensors_find(const pk_safetensors *file, const char *name); /* NULL: not there; view */

/* What a tensor may be called, in a header or in an index. PK_CORRUPT. */
pk_err pk_tensor_name_check(const char *name);

/* A *row* is the innermost dimension: rank 0 and 1 are one row, [a, b] is a rows, [a, b, c] is a·b rows. */
uint64_t pk_tensor_rows(const pk_tensor_entry *tensor);
uint64_t pk_tensor_row_bytes(const pk_tensor_entry *tensor);

/* "[6144, 8192]" into out; returns out. Cut, never overrun. */
enum { PK_TENSOR_SHAPE_TEXT = 192 };
const char *pk_tensor_shape_text(char out[PK_TENSOR_SHAPE_TEXT], unsigned rank, const uint64_t *shape);

#endif
