/* merges.h - byte-pair merging: which two neighbouring tokens become one, in which order, and doing it to a piece.
 *
 * The order is a pure property of the piece: among all neighbours that merge, the pair of lowest rank goes first, the
 * leftmost among equals. A short piece is merged by looking for that pair again after each merge; a long one with a
 * heap, so that a piece of n bytes takes n log n steps. Both give the same ids. */
#ifndef PK_STAGES_TOKENIZER_MERGES_H
#define PK_STAGES_TOKENIZER_MERGES_H

#include "stages/tokenizer/vocabulary.h"

typedef struct {
    int32_t left, right;
    uint32_t rank;
    int32_t result; /* -1: an empty slot */
} pk_merge;

typedef struct {
    int32_t byte_ids[256]; /* where merging starts: the token of each byte */
    pk_merge *slots;       /* open addressing, at most half full; a power of two */
    size_t slot_count;
} pk_merges; /* zeroed has no merges */

/* Memory for long pieces, kept from one to the next. Zeroed is empty. One thread at a time. */
typedef struct {
    int32_t *tags;
    uint64_t *heap;
    size_t bytes; /* the piece that both have room for */
} pk_merge_scratch;

/* Makes room for `count` merges. Once, before the first add. */
pk_err pk_merges_init(pk_merges *merges, size_t count);

/* Adds the next merge; the ranks are in [0, count of init). PK_CORRUPT when the pair is there already. */
pk_err pk_merges_add(pk_merges *merges, pk_merge merge);

/* Appends the ids of one piece of at most PK_TOKENIZER_PIECE_BYTES bytes. `vocabulary` knows the length of every token
 * that merges make: left + right. */
pk_err pk_merges_apply(const pk_merges *merges, const pk_vocabulary *vocabulary, pk_merge_scratch *scratch,
                       const void *piece, size_t bytes, pk_ids *out);

void pk_merges_fini(pk_merges *merges);
void pk_merge_scratch_fini(pk_merge_scratch *scratch);

#endif
