/* word_cache.h - short pieces and the ids that they became the last time: most pieces of a text have come before.
 *
 * Direct-mapped and of fixed size: a new word takes the place of whichever was there. A hit costs one cache line, and
 * since the word's bytes are compared, not a digest of them, it is never a wrong one. One thread at a time. */
#ifndef PK_STAGES_TOKENIZER_WORD_CACHE_H
#define PK_STAGES_TOKENIZER_WORD_CACHE_H

#include "ipc/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum {
    PK_WORD_BYTES = 24,      /* the longest word that is kept */
    PK_WORD_IDS = 9,         /* and the most ids: then a word fills a cache line */
    PK_WORD_CACHE_BITS = 16, /* 2^16 words: 4 MiB */
};

/* The bytes of a word, by which it is found. */
typedef struct {
    uint64_t bytes[PK_WORD_BYTES / 8]; /* zeros behind the end */
    uint32_t count;                    /* 0: no word */
} pk_word_key;

typedef struct {
    uint64_t bytes[PK_WORD_BYTES / 8];
    uint16_t byte_count, id_count;
    int32_t ids[PK_WORD_IDS];
} pk_word;

typedef struct {
    pk_word *words;
} pk_word_cache;

pk_err pk_word_cache_init(pk_word_cache *cache);
void pk_word_cache_fini(pk_word_cache *cache);

/* The key of `bytes` bytes at `text`, at most PK_WORD_BYTES. Of `text` `readable` bytes may be read. */
static inline pk_word_key pk_word_key_of(const char *text, size_t bytes, size_t readable)
{
    static const unsigned char ones_then_zeros[2 * PK_WORD_BYTES] = {[0 ... PK_WORD_BYTES - 1] = 0xFF};
    pk_word_key key = {.count = (uint32_t)bytes};
    uint64_t mask[PK_WORD_BYTES / 8];
    if (readable < PK_WORD_BYTES) {
        memcpy(key.bytes, text, bytes);
        return key;
    }
    memcpy(mask, ones_then_zeros + PK_WORD_BYTES - bytes, sizeof mask);
    memcpy(key.bytes, text, sizeof key.bytes);
    for (size_t i = 0; i < PK_WORD_BYTES / 8; i++)
        key.bytes[i] &= mask[i];
    return key;
}

/* Where a word of this key stands, if the cache has it; on its way from memory by the time it is asked for. */
static inline pk_word *pk_word_cache_place(const pk_word_cache *cache, const pk_word_key *key)
{
    uint64_t mixed = (key->bytes[0] ^ (uint64_t)key->count << 56) * 0x9E3779B97F4A7C15ull;
    mixed ^= (mixed >> 32) ^ (key->bytes[1] + key->bytes[2] * 0xC2B2AE3D27D4EB4Full);
    mixed *= 0x9E3779B97F4A7C15ull;
    pk_word *place = &cache->words[mixed >> (64 - PK_WORD_CACHE_BITS)];
    __builtin_prefetch(place);
    return place;
}

static inline bool pk_word_has_key(const pk_word *word, const pk_word_key *key)
{
    return !((word->bytes[0] ^ key->bytes[0]) | (word->bytes[1] ^ key->bytes[1]) | (word->bytes[2] ^ key->bytes[2]) |
             (word->byte_count ^ key->count));
}

#endif
