/* merges.h - byte-pair merging: which two neighbouring tokens become one, in which order, and doing it to a piece.
 *
 * The order is a pure property of the piece: among all neighbours that merge, the pair of lowest rank goes first, the
 * leftmost among equals. A short piece is merged by looking for that pair again after each merge; a long one with a
 * heap, so that a piece of n bytes takes n log n steps. Both give the same ids. */
#ifndef PK_STAGES_TOKENIZER_MERGES_H
#define PK_STAGES_TOKENIZER_MERGES_H

#include "stages/tokenizer/vocabulary.h"

#include <stdatomic.h>

typedef struct {
    int32_t left, right; /* ids, below PK_TOKENIZER_IDS as all ids */
    uint32_t rank;
    int32_t result;
} pk_merge;

/* A slot is left << 40 | right << 20 | rank: one load answers "do these two merge, and how early". The table of a large
 * vocabulary is 4 MB instead of 8, and a cache line holds eight slots. */
typedef struct {
    int32_t byte_ids[256]; /* where merging starts: the token of each byte */
    uint64_t *slots;       /* open addressing, at most half full; a power of two; all ones is empty */
    size_t slot_count;
    int32_t *results;     /* by rank; -1: no such merge */
    uint32_t *byte_ranks; /* [256 * 256]: of each pair of bytes, where every piece begins */
    uint64_t *filter;     /* a bit for each merge, small enough to stay close: most pairs do not merge, and end here */
} pk_merges;              /* zeroed has no merges */

/* Memory for long pieces, kept from one to the next. Zeroed is empty. One thread at a time. */
typedef struct {
    _Atomic uint64_t *progress; /* bumped now and then in a long piece; the caller's; NULL: nobody looks */
    int32_t *tags;
    uint64_t *heap;
    size_t bytes; /* the piece that both have room for */
} pk_merge_scratch;

/* Makes room for `count` merges, below PK_TOKENIZER_IDS. Once, before the first add. */
pk_err pk_merges_init(pk_merges *merges, size_t count);

/* Adds the next merge; the ranks are in [0, count of init). PK_CORRUPT when the pair, or the rank,
 * is there already. */
pk_err pk_merges_add(pk_merges *merges, pk_merge merge);

/* The merge in slot `at`, below slot_count; false where there is none. */
bool pk_merges_at(const pk_merges *merges, size_t at, pk_merge *out);

/* After the last merge, and with byte_ids set: makes them ready to be applied. */
pk_err pk_merges_finish(pk_merges *merges);

/* Appends the ids of one piece of at most PK_TOKENIZER_PIECE_BYTES bytes. `vocabulary` knows the length of every token
 * that merges make: left + right. */
pk_err pk_merges_apply(const pk_merges *merges, const pk_vocabulary *vocabulary, pk_merge_scratch *scratch,
                       const void *piece, size_t bytes, pk_ids *out);

void pk_merges_fini(pk_merges *merges);
void pk_merge_scratch_fini(pk_merge_scratch *scratch);

#endif
