/* vocabulary.h - what each id stands for: the tokens of one tokenizer, their bytes in one block of memory.
 *
 * Filled once while the file is read, then only looked at. */
#ifndef PK_STAGES_TOKENIZER_VOCABULARY_H
#define PK_STAGES_TOKENIZER_VOCABULARY_H

#include "ipc/error.h"
#include "stages/tokenizer/tokenizer.h"

enum {
    PK_TOKEN_PRESENT = 1,   /* zero flags are a hole */
    PK_TOKEN_MERGEABLE = 2, /* spelled in the byte alphabet: merges may use it */
    PK_TOKEN_ADDED = 4,
    PK_TOKEN_SPECIAL = 8,
};

typedef struct {
    size_t offset; /* into the vocabulary's block */
    uint32_t bytes;
    uint32_t flags;
} pk_token;

typedef struct {
    pk_token *tokens; /* by id */
    size_t count;     /* one more than the largest id */
    size_t capacity;
    pk_text block;
} pk_vocabulary; /* zeroed is empty */

/* Puts a token at `id`, which the caller has checked to be in [0, PK_TOKENIZER_IDS). PK_CORRUPT when it is taken. */
pk_err pk_vocabulary_put(pk_vocabulary *vocabulary, int32_t id, const void *bytes, size_t count, uint32_t flags);

/* The token at `id`, or NULL where there is none. View, valid until the next put. */
const pk_token *pk_vocabulary_at(const pk_vocabulary *vocabulary, int64_t id);

/* Its bytes; view, valid until the next put. */
static inline const char *pk_vocabulary_bytes(const pk_vocabulary *vocabulary, const pk_token *token)
{
    return vocabulary->block.bytes + token->offset;
}

void pk_vocabulary_fini(pk_vocabulary *vocabulary);

#endif
