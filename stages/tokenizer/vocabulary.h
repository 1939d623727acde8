/* vocabulary.h - what each id stands for: the tokens of one tokenizer, their bytes in one block of memory.
 *
 * Filled once while the file is read, then only looked at. */
#ifndef PK_STAGES_TOKENIZER_VOCABULARY_H
#define PK_STAGES_TOKENIZER_VOCABULARY_H

#include "ipc/error.h"
#include "stages/tokenizer/tokenizer.h"

/* Some bytes of somebody else. */
typedef struct {
    const char *text;
    size_t bytes;
} pk_view;

enum {
    PK_TOKEN_PRESENT = 1,   /* zero flags are a hole */
    PK_TOKEN_MERGEABLE = 2, /* spelled in the byte alphabet: merges may use it */
    PK_TOKEN_ADDED = 4,
    PK_TOKEN_SPECIAL = 8,
};

/* Eight bytes, as opening a tokenizer looks at most tokens six times, in no order. */
typedef struct {
    uint32_t offset; /* into the vocabulary's block */
    uint32_t bytes : 28;
    uint32_t flags : 4;
} pk_token;

typedef struct {
    pk_token *tokens; /* by id */
    size_t count;     /* one more than the largest id */
    size_t capacity;
    pk_text block;
    uint32_t
        *slots; /* 11 bits of a digest of the bytes << 21 | id + 1; open addressing, at most half full; 0 is empty */
    size_t slot_count, used; /* of the slots */
} pk_vocabulary;             /* zeroed is empty */

/* Makes room to find `count` tokens; more are possible. */
pk_err pk_vocabulary_reserve(pk_vocabulary *vocabulary, size_t count);

/* Puts a token at `id`, which the caller has checked to be in [0, PK_TOKENIZER_IDS). PK_CORRUPT when the id is taken,
 * or there is a token of these bytes, mergeable like this one or not mergeable like it. */
pk_err pk_vocabulary_put(pk_vocabulary *vocabulary, int32_t id, const void *bytes, size_t count, uint32_t flags);

/* Adds flags to the token at `id`, which is there. */
void pk_vocabulary_mark(pk_vocabulary *vocabulary, int32_t id, uint32_t flags);

/* The id of the token with these bytes, of those that are PK_TOKEN_MERGEABLE or of those that are not; -1: none. */
int32_t pk_vocabulary_find(const pk_vocabulary *vocabulary, const void *bytes, size_t count, bool mergeable);

/* The token at `id`, or NULL where there is none. View, valid until the next put. */
const pk_token *pk_vocabulary_at(const pk_vocabulary *vocabulary, int64_t id);

/* Its bytes; view, valid until the next put. */
static inline const char *pk_vocabulary_bytes(const pk_vocabulary *vocabulary, const pk_token *token)
{
    return vocabulary->block.bytes + token->offset;
}

void pk_vocabulary_fini(pk_vocabulary *vocabulary);

#endif
