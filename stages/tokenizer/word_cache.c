#include "stages/tokenizer/word_cache.h"

#include <sys/mman.h>

_Static_assert(sizeof(pk_word) == 64, "a word fills a cache line");

enum { CACHE_BYTES = sizeof(pk_word) << PK_WORD_CACHE_BITS };

/* Mapped, and not allocated: pages that no word comes to are never made. */
pk_err pk_word_cache_init(pk_word_cache *cache)
{
    void *words = mmap(NULL, CACHE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (words == MAP_FAILED)
        return pk_fail_errno(PK_NOMEM, "no memory for the cache of words");
    cache->words = words;
    return PK_OK;
}

void pk_word_cache_fini(pk_word_cache *cache)
{
    if (cache->words)
        munmap(cache->words, CACHE_BYTES);
    *cache = (pk_word_cache){0};
}
