/* checkpoint.h - a Hugging Face model directory: which tensors there are and where they lie.
 *
 * Opening reads all headers, of model.safetensors or of the shards that model.safetensors.index.json names, and no
 * weights. Nothing depends on the order or the numbering of shards. Immutable after opening, so any thread may look;
 * entries are views that live as long as the checkpoint. */
#ifndef PK_LOADER_CHECKPOINT_H
#define PK_LOADER_CHECKPOINT_H

#include "ipc/error.h"
#include "loader/safetensors.h"

#include <stddef.h>
#include <stdint.h>

typedef struct pk_checkpoint pk_checkpoint;

enum { PK_CHECKPOINT_SHARDS_MAX = 16384 };

/* PK_IO: a file is missing or unreadable; PK_CORRUPT: a header, or the index, lies or the two disagree. */
pk_err pk_checkpoint_open(pk_checkpoint **out, const char *dir);
void pk_checkpoint_close(pk_checkpoint **checkpoint);

const char *pk_checkpoint_dir(const pk_checkpoint *checkpoint); /* view */

/* All tensors, in order of name. */
size_t pk_checkpoint_count(const pk_checkpoint *checkpoint);
const pk_tensor_entry *pk_checkpoint_at(const pk_checkpoint *checkpoint, size_t index); /* index < count; view */
uint64_t pk_checkpoint_bytes(const pk_checkpoint *checkpoint);                          /* of all tensors */

/* Its files, in order of file name. */
size_t pk_checkpoint_file_count(const pk_checkpoint *checkpoint);
const pk_safetensors *pk_checkpoint_file(const pk_checkpoint *checkpoint, size_t index); /* view */

const pk_tensor_entry *pk_checkpoint_find(const pk_checkpoint *checkpoint, const char *name); /* NULL: not there */

/* Finds `name` and checks it: exactly this shape, and a dtype of weights (F32, BF16, F16). shape[i] 0 stands for any
 * size ≥ 1. PK_CORRUPT names the tensor, what was found and what was expected. *out may be NULL to only check. */
pk_err pk_checkpoint_require(const pk_checkpoint *checkpoint, const char *name, unsigned rank, const uint64_t *shape,
                             const pk_tensor_entry **out);

/* The same for a tensor of exactly this type. */
pk_err pk_checkpoint_require_as(const pk_checkpoint *checkpoint, pk_dtype dtype, const char *name, unsigned rank,
                                const uint64_t *shape, const pk_tensor_entry **out);

/* Tells models apart: a digest of config.json, of the tokenizer's files and tokenizer_config.json (where they are
 * there), of all headers in order of file name, and of up to 16 samples of 4 KiB of each file's data (models of one
 * shape have equal headers). Not a checksum of all weights. Reads the samples now: PK_IO, PK_CORRUPT. */
pk_err pk_checkpoint_fingerprint(const pk_checkpoint *checkpoint, pk_digest *out);

#endif
