/* unpack.h - reads msgpack that somebody else wrote, without believing it.
 *
 * A cursor over a view of bytes. It allocates nothing and reserves nothing on a message's word (msgpack-c 4.0 reserves
 * 512 MiB for five hostile bytes); every read says what was expected and at which byte. */
#ifndef PK_IPC_UNPACK_H
#define PK_IPC_UNPACK_H

#include "ipc/error.h"

#include <stddef.h>
#include <stdint.h>

typedef struct {
    const uint8_t *bytes; /* view, the caller keeps it */
    size_t size, at;
} pk_unpacker;

/* Every one of these answers PK_CORRUPT for another type, a value above `most`, or an end in mid-value. `what` names
 * the value in the message. */
pk_err pk_unpack_array(pk_unpacker *u, const char *what, uint32_t *elements);
pk_err pk_unpack_map(pk_unpacker *u, const char *what, uint32_t *pairs);
pk_err pk_unpack_uint(pk_unpacker *u, const char *what, uint64_t most, uint64_t *value);
pk_err pk_unpack_int(pk_unpacker *u, const char *what, int64_t *value);
pk_err pk_unpack_f32(pk_unpacker *u, const char *what, float *value); /* a msgpack float32 only */
/* A view of the text inside the message, not terminated. */
pk_err pk_unpack_text(pk_unpacker *u, const char *what, const char **text, uint32_t *bytes);
pk_err pk_unpack_bin_header(pk_unpacker *u, const char *what, uint32_t *bytes);
/* Passes over one value of any type, at most `depth` deep. */
pk_err pk_unpack_skip(pk_unpacker *u, unsigned depth);

#endif
