#include "stages/tokenizer/merges.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum {
    SHORT_BYTES =
        48, /* longest piece for the plain search: words are about 5 bytes, and 48 x 48 steps are still cheap */
    NO_RANK = -1,
    INSIDE = INT32_MIN, /* a tag on a byte where no token starts or ends any more */
};

static size_t slot_of(const pk_merges *merges, int32_t left, int32_t right)
{
    uint64_t key = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    key *= 0x9E3779B97F4A7C15ull; /* Fibonacci hashing: the high bits are the mixed ones */
    return (size_t)(key >> 32) & (merges->slot_count - 1);
}

/* The slot of the pair, or the empty one where it would stand. There is always an empty one. */
static pk_merge *find_slot(const pk_merges *merges, int32_t left, int32_t right)
{
    size_t at = slot_of(merges, left, right);
    for (;; at = (at + 1) & (merges->slot_count - 1)) {
        pk_merge *slot = &merges->slots[at];
        if (slot->result < 0 || (slot->left == left && slot->right == right))
            return slot;
    }
}

pk_err pk_merges_init(pk_merges *merges, size_t count)
{
    size_t slots = 2;
    while (slots / 2 < count + 1)
        slots *= 2;
    merges->slots = malloc(slots * sizeof *merges->slots);
    if (!merges->slots)
        return pk_fail(PK_NOMEM, "no memory for %zu merges", count);
    merges->slot_count = slots;
    for (size_t i = 0; i < slots; i++)
        merges->slots[i].result = -1;
    return PK_OK;
}

pk_err pk_merges_add(pk_merges *merges, pk_merge merge)
{
    pk_merge *slot = find_slot(merges, merge.left, merge.right);
    if (slot->result >= 0)
        return pk_fail(PK_CORRUPT, "the pair of merge %u again", slot->rank);
    *slot = merge;
    return PK_OK;
}

/* Ranks are below 2^20 or so: a signed 64-bit rank leaves room for "none". */
static int64_t rank_of(const pk_merges *merges, int32_t left, int32_t right)
{
    const pk_merge *slot = find_slot(merges, left, right);
    return slot->result < 0 ? NO_RANK : (int64_t)slot->rank;
}

/* Where the pair of lowest rank starts, the leftmost among equals; `pairs` when nothing merges. */
static size_t lowest_rank(const int64_t *ranks, size_t pairs)
{
    size_t best = pairs;
    for (size_t i = 0; i < pairs; i++)
        if (ranks[i] != NO_RANK && (best == pairs || ranks[i] < ranks[best]))
            best = i;
    return best;
}

static pk_err apply_short(const pk_merges *merges, const unsigned char *piece, size_t bytes, pk_ids *out)
{
    int32_t ids[SHORT_BYTES];
    int64_t ranks[SHORT_BYTES]; /* ranks[i]: of ids[i] with ids[i + 1] */
    size_t count = bytes, at;

    for (size_t i = 0; i < count; i++)
        ids[i] = merges->byte_ids[piece[i]];
    for (size_t i = 0; i + 1 < count; i++)
        ranks[i] = rank_of(merges, ids[i], ids[i + 1]);
    while ((at = lowest_rank(ranks, count - 1)) < count - 1) {
        ids[at] = find_slot(merges, ids[at], ids[at + 1])->result;
        count--;
        memmove(ids + at + 1, ids + at + 2, (count - at - 1) * sizeof *ids);
        memmove(ranks + at, ranks + at + 1, (count - at - 1) * sizeof *ranks);
        if (at > 0)
            ranks[at - 1] = rank_of(merges, ids[at - 1], ids[at]);
        if (at + 1 < count)
            ranks[at] = rank_of(merges, ids[at], ids[at + 1]);
    }
    pk_err err = PK_OK;
    for (size_t i = 0; i < count && !err; i++)
        err = pk_ids_append(out, ids[i]);
    return err;
}

/* A long piece is a row of tags, one for each byte, that link the tokens without pointers (boundary tags, 4 bytes a
 * byte):
 *
 *     token       "abc"              "d"     "ef"
 *     tags    id  INSIDE  -3         id      id  -2
 *
 * A token's first byte bears its id, its last byte minus its length unless that is the first byte too. The next token
 * starts at start + length(id); the one before ends at start - 1, whose tag says where it starts.
 *
 * The heap holds rank << 32 | start of pairs that merge. An entry is stale when its token was merged meanwhile: then no
 * token starts there, or the pair there has another rank (a rank belongs to one pair), and it is skipped. */
typedef struct {
    const pk_merges *merges;
    const pk_vocabulary *vocabulary;
    int32_t *tags;
    size_t bytes;
    uint64_t *heap;
    size_t heap_count;
} row;

static size_t length_at(const row *self, size_t start)
{
    return self->vocabulary->tokens[self->tags[start]].bytes;
}

/* The rank of the token at `start` with the next one. */
static int64_t pair_rank(const row *self, size_t start)
{
    size_t next = start + length_at(self, start);
    return next < self->bytes ? rank_of(self->merges, self->tags[start], self->tags[next]) : NO_RANK;
}

static void sift_up(uint64_t *heap, size_t at)
{
    uint64_t key = heap[at];
    for (; at > 0 && heap[(at - 1) / 2] > key; at = (at - 1) / 2)
        heap[at] = heap[(at - 1) / 2];
    heap[at] = key;
}

static void sift_down(uint64_t *heap, size_t count, size_t at)
{
    uint64_t key = heap[at];
    for (size_t child; (child = 2 * at + 1) < count; at = child) {
        if (child + 1 < count && heap[child + 1] < heap[child])
            child++;
        if (heap[child] >= key)
            break;
        heap[at] = heap[child];
    }
    heap[at] = key;
}

static void push_pair(row *self, size_t start)
{
    int64_t rank = pair_rank(self, start);
    if (rank == NO_RANK)
        return;
    /* bytes - 1 entries at first, and a merge takes one for at most two new ones: never above 2 x bytes. */
    assert(self->heap_count < 2 * self->bytes);
    self->heap[self->heap_count] = (uint64_t)rank << 32 | start;
    sift_up(self->heap, self->heap_count++);
}

static uint64_t pop_lowest(row *self)
{
    uint64_t lowest = self->heap[0];
    self->heap[0] = self->heap[--self->heap_count];
    if (self->heap_count > 0)
        sift_down(self->heap, self->heap_count, 0);
    return lowest;
}

static void fill_row(row *self, const unsigned char *piece)
{
    for (size_t i = 0; i < self->bytes; i++)
        self->tags[i] = self->merges->byte_ids[piece[i]];
    for (size_t i = 0; i + 1 < self->bytes; i++) {
        int64_t rank = pair_rank(self, i);
        if (rank != NO_RANK)
            self->heap[self->heap_count++] = (uint64_t)rank << 32 | i;
    }
    for (size_t i = self->heap_count / 2; i-- > 0;)
        sift_down(self->heap, self->heap_count, i);
}

static void merge_at(row *self, size_t start)
{
    size_t next = start + length_at(self, start);
    size_t length = next - start + length_at(self, next);
    int32_t merged = find_slot(self->merges, self->tags[start], self->tags[next])->result;

    self->tags[next] = INSIDE;
    self->tags[start + length - 1] = -(int32_t)length;
    self->tags[start] = merged;
    if (start > 0) {
        int32_t before = self->tags[start - 1];
        push_pair(self, before < 0 ? start - (size_t)-before : start - 1);
    }
    push_pair(self, start);
}

static pk_err reserve_scratch(pk_merge_scratch *scratch, size_t bytes)
{
    if (bytes <= scratch->bytes)
        return PK_OK;
    pk_merge_scratch_fini(scratch);
    scratch->tags = malloc(bytes * sizeof *scratch->tags);
    scratch->heap = malloc(2 * bytes * sizeof *scratch->heap); /* untouched pages cost nothing */
    if (!scratch->tags || !scratch->heap) {
        pk_merge_scratch_fini(scratch);
        return pk_fail(PK_NOMEM, "no memory to merge a piece of %zu bytes", bytes);
    }
    scratch->bytes = bytes;
    return PK_OK;
}

static pk_err apply_long(row self, const unsigned char *piece, pk_ids *out)
{
    fill_row(&self, piece);
    while (self.heap_count > 0) {
        uint64_t lowest = pop_lowest(&self);
        size_t start = lowest & UINT32_MAX;
        if (self.tags[start] >= 0 && pair_rank(&self, start) == (int64_t)(lowest >> 32))
            merge_at(&self, start);
    }
    pk_err err = PK_OK;
    for (size_t at = 0; at < self.bytes && !err; at += length_at(&self, at))
        err = pk_ids_append(out, self.tags[at]);
    return err;
}

pk_err pk_merges_apply(const pk_merges *merges, const pk_vocabulary *vocabulary, pk_merge_scratch *scratch,
                       const void *piece, size_t bytes, pk_ids *out)
{
    assert(bytes <= PK_TOKENIZER_PIECE_BYTES);
    if (bytes == 0)
        return PK_OK;
    if (bytes <= SHORT_BYTES)
        return apply_short(merges, piece, bytes, out);
    pk_err err = reserve_scratch(scratch, bytes);
    if (err)
        return err;
    row self = {
        .merges = merges, .vocabulary = vocabulary, .tags = scratch->tags, .bytes = bytes, .heap = scratch->heap};
    return apply_long(self, piece, out);
}

void pk_merges_fini(pk_merges *merges)
{
    free(merges->slots);
    *merges = (pk_merges){0};
}

void pk_merge_scratch_fini(pk_merge_scratch *scratch)
{
    free(scratch->tags);
    free(scratch->heap);
    *scratch = (pk_merge_scratch){0};
}
