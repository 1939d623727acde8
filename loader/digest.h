/* digest.h - 128-bit digests (xxh3-128) that tell contents apart. Not cryptographic: they find accidents, not
 * forgeries. */
#ifndef PK_LOADER_DIGEST_H
#define PK_LOADER_DIGEST_H

#include "ipc/error.h"

#include <stddef.h>
#include <stdint.h>

/* Canonical (big-endian) byte order: the same on every machine. */
typedef struct {
    uint8_t bytes[16];
} pk_digest;

pk_digest pk_digest_of(const void *data, size_t bytes);

/* The same digest of bytes that come in pieces. */
typedef struct pk_digest_stream pk_digest_stream;
pk_err pk_digest_stream_open(pk_digest_stream **out); /* PK_NOMEM */
void pk_digest_stream_feed(pk_digest_stream *stream, const void *data, size_t bytes);
pk_digest pk_digest_stream_end(const pk_digest_stream *stream); /* of all that was fed so far */
void pk_digest_stream_close(pk_digest_stream **stream);

/* 32 hexadecimal digits into out; returns out. */
enum { PK_DIGEST_TEXT = 33 };
const char *pk_digest_text(char out[PK_DIGEST_TEXT], pk_digest digest);

/* xxh64 of token ids as little-endian int32: the prompt hash that sampling is keyed by (docs/numerics.md, Head). */
uint64_t pk_digest_ids(const int32_t *ids, size_t count);

#endif
