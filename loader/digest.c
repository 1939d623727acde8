#include "loader/digest.h"

#include <stdio.h>
#include <string.h>
#include <xxhash.h>

pk_digest pk_digest_of(const void *data, size_t bytes)
{
    XXH128_canonical_t canonical;
    pk_digest digest;
    XXH128_canonicalFromHash(&canonical, XXH3_128bits(data, bytes));
    memcpy(digest.bytes, canonical.digest, sizeof digest.bytes);
    return digest;
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
