#include "loader/digest.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

static pk_digest digest_of_hash(XXH128_hash_t hash)
{
    XXH128_canonical_t canonical;
    pk_digest digest;
    XXH128_canonicalFromHash(&canonical, hash);
    memcpy(digest.bytes, canonical.digest, sizeof digest.bytes);
    return digest;
}

pk_digest pk_digest_of(const void *data, size_t bytes)
{
    return digest_of_hash(XXH3_128bits(data, bytes));
}

struct pk_digest_stream {
    XXH3_state_t *state;
};

pk_err pk_digest_stream_open(pk_digest_stream **out)
{
    pk_digest_stream *stream = calloc(1, sizeof *stream);
    *out = stream;
    if (stream && (stream->state = XXH3_createState()) && XXH3_128bits_reset(stream->state) == XXH_OK)
        return PK_OK;
    pk_digest_stream_close(out);
    return pk_fail(PK_NOMEM, "no memory for a digest");
}

void pk_digest_stream_feed(pk_digest_stream *stream, const void *data, size_t bytes)
{
    XXH3_128bits_update(stream->state, data, bytes);
}

pk_digest pk_digest_stream_end(const pk_digest_stream *stream)
{
    return digest_of_hash(XXH3_128bits_digest(stream->state));
}

void pk_digest_stream_close(pk_digest_stream **stream)
{
    if (*stream)
        XXH3_freeState((*stream)->state);
    free(*stream);
    *stream = NULL;
}

const char *pk_digest_text(char out[PK_DIGEST_TEXT], pk_digest digest)
{
    for (size_t i = 0; i < sizeof digest.bytes; i++)
        snprintf(out + 2 * i, 3, "%02x", digest.bytes[i]);
    return out;
}

uint64_t pk_digest_ids(const int32_t *ids, size_t count)
{
    return XXH64(ids, count * sizeof *ids, 0);
}
