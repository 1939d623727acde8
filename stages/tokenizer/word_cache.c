#include "stages/tokenizer/word_cache.h"

#include <stdlib.h>
#include <sys/mman.h>

_Static_assert(sizeof(pk_word) == 64, "a word fills a cache line");

enum { CACHE_BYTES = sizeof(pk_word) << PK_WORD_CACHE_BITS, HUGE_PAGE = 2 << 20 };

/* On huge pages where the system gives them, as it is read at random. */
pk_err pk_word_cache_init(pk_word_cache *cache)
{
    void *words = NULL;
    if (posix_memalign(&words, HUGE_PAGE, CACHE_BYTES))
        return pk_fail(PK_NOMEM, "no memory for the cache of words");
    (void)madvise(words, CACHE_BYTES, MADV_HUGEPAGE);
    cache->words = memset(words, 0, CACHE_BYTES);
    return PK_OK;
}

void pk_word_cache_fini(pk_word_cache *cache)
{
    free(cache->words);
    *cache = (pk_word_cache){0};
}
