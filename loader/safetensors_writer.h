/* safetensors_writer.h - writes one safetensors file whose tensors are known beforehand.
 *
 * The header goes out first, then data, in order (write) or at any place (put). The file grows under a temporary name
 * beside its own and gets its name only in finish, complete and synced: a reader never sees half of it. Large
 * files that are written in order bypass the page cache where the file system allows it. One thread per writer. */
#ifndef PK_LOADER_SAFETENSORS_WRITER_H
#define PK_LOADER_SAFETENSORS_WRITER_H

#include "ipc/dtype.h"
#include "ipc/error.h"
#include "loader/safetensors.h"

#include <stddef.h>
#include <stdint.h>

typedef struct pk_safetensors_writer pk_safetensors_writer;

typedef struct {
    const char *name; /* view, valid during the call; unique, 1 … PK_TENSOR_NAME_MAX bytes of printable UTF-8 */
    pk_dtype dtype;
    unsigned rank;
    uint64_t shape[PK_TENSOR_RANK_MAX];
} pk_tensor_spec;

/* Bytes of shape × dtype. PK_INVALID: a rank above PK_TENSOR_RANK_MAX, no such dtype, or more than 2^62 bytes. */
pk_err pk_tensor_spec_bytes(uint64_t *out, const pk_tensor_spec *spec);

/* Tensors lie in the file in the order of `specs`. PK_INVALID for specs that cannot be written, PK_IO. */
pk_err pk_safetensors_writer_open(pk_safetensors_writer **out, const char *path, const pk_tensor_spec *specs,
                                  size_t count);

/* Appends `bytes` of the concatenated data, wherever tensors begin and end. Not to be mixed with put. */
pk_err pk_safetensors_writer_write(pk_safetensors_writer *writer, const void *data, size_t bytes);

/* Bytes [offset, offset + bytes) of tensor `index`, in any order; each byte exactly once. Not to be mixed with write.
 */
pk_err pk_safetensors_writer_put(pk_safetensors_writer *writer, size_t index, uint64_t offset, const void *data,
                                 size_t bytes);

/* Syncs, renames and closes. PK_INVALID when not exactly the promised bytes were written; PK_IO, also when an earlier
 * write failed. *writer is closed and NULL in any case, and after a failure no file is left. */
pk_err pk_safetensors_writer_finish(pk_safetensors_writer **writer);

/* Without finish: removes what was written. */
void pk_safetensors_writer_close(pk_safetensors_writer **writer);

#endif
