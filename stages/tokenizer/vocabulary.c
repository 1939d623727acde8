#include "stages/tokenizer/vocabulary.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* Makes the table reach past `id`; what is new is a hole. */
static pk_err reach(pk_vocabulary *vocabulary, size_t id)
{
    size_t capacity = vocabulary->capacity ? vocabulary->capacity : 1024;
    while (capacity <= id)
        capacity *= 2;
    if (capacity > vocabulary->capacity) {
        pk_token *grown = realloc(vocabulary->tokens, capacity * sizeof *grown);
        if (!grown)
            return pk_fail(PK_NOMEM, "no memory for a vocabulary of %zu ids", capacity);
        memset(grown + vocabulary->capacity, 0, (capacity - vocabulary->capacity) * sizeof *grown);
        vocabulary->tokens = grown;
        vocabulary->capacity = capacity;
    }
    if (id >= vocabulary->count)
        vocabulary->count = id + 1;
    return PK_OK;
}

pk_err pk_vocabulary_put(pk_vocabulary *vocabulary, int32_t id, const void *bytes, size_t count, uint32_t flags)
{
    assert(id >= 0 && id < PK_TOKENIZER_IDS && count <= PK_TOKENIZER_FILE_BYTES);
    if (pk_vocabulary_at(vocabulary, id))
        return pk_fail(PK_CORRUPT, "id %d is given to two tokens", id);
    size_t offset = vocabulary->block.count;
    pk_err err = reach(vocabulary, (size_t)id);
    if (!err)
        err = pk_text_append(&vocabulary->block, bytes, count);
    if (!err)
        vocabulary->tokens[id] =
            (pk_token){.offset = offset, .bytes = (uint32_t)count, .flags = flags | PK_TOKEN_PRESENT};
    return err;
}

const pk_token *pk_vocabulary_at(const pk_vocabulary *vocabulary, int64_t id)
{
    if (id < 0 || (uint64_t)id >= vocabulary->count || !vocabulary->tokens[id].flags)
        return NULL;
    return &vocabulary->tokens[id];
}

void pk_vocabulary_fini(pk_vocabulary *vocabulary)
{
    free(vocabulary->tokens);
    pk_text_fini(&vocabulary->block);
    *vocabulary = (pk_vocabulary){0};
}
