/* added.h - added tokens: texts that are tokens of their own wherever they stand, found before anything is merged.
 *
 * As in Hugging Face's `tokenizers` there are two sets, searched one after the other: first those with normalized
 * false, then, in what is left between them, those with normalized true (there is no normalizer here, so both are
 * compared with the text as it is). Within a set the leftmost match counts, the longest of those that start there. */
#ifndef PK_STAGES_TOKENIZER_ADDED_H
#define PK_STAGES_TOKENIZER_ADDED_H

#include "stages/tokenizer/pattern.h"
#include "stages/tokenizer/vocabulary.h"

enum {
    PK_ADDED_BYTES = 1024, /* the longest content; it bounds the time to find one */
    PK_ADDED_SETS = 2,
};

typedef struct {
    int32_t id; /* the vocabulary has its content, and whether it is special */
    bool single_word, lstrip, rstrip, normalized;
} pk_added_token;

typedef struct {
    pk_added_token *tokens; /* sorted by content */
    size_t count, capacity;
    bool starts[256]; /* the first bytes of all contents */
} pk_added_set;

typedef struct {
    pk_added_set sets[PK_ADDED_SETS];
    pk_pattern *exceptions; /* characters that are of a word against their class; there when a token has single_word */
    uint8_t *classes;       /* of characters; there when a token has single_word, lstrip or rstrip */
} pk_added_tokens;          /* zeroed is none */

/* Adds one; its content is in the vocabulary. */
pk_err pk_added_tokens_put(pk_added_tokens *added, pk_added_token token);

/* After the last one: makes them ready to be searched. */
void pk_added_tokens_finish(pk_added_tokens *added, const pk_vocabulary *vocabulary);

typedef struct {
    const char *text; /* UTF-8 */
    size_t bytes;
    size_t at;     /* where to go on searching */
    size_t done;   /* what lies before was given to a match */
} pk_added_search; /* begins with at = done = 0 */

/* The next token of a set: text[*start, *end) becomes *id, with the blanks that it strips. PK_AGAIN (no error trail):
 * there is no more. `special`: whether special tokens are found or passed over. */
pk_err pk_added_tokens_next(const pk_added_tokens *added, size_t set, const pk_vocabulary *vocabulary, bool special,
                            pk_added_search *search, size_t *start, size_t *end, int32_t *id);

void pk_added_tokens_fini(pk_added_tokens *added);

#endif
