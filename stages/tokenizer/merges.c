#include "stages/tokenizer/merges.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

_Static_assert(PK_TOKENIZER_IDS <= 1 << 20, "ids and ranks have 20 bits in a slot");

enum {
    SHORT_BYTES = 128, /* the longest piece for the plain search; its places must fit into 8 bits */
    KEYS_AT_ONCE = 8,
    ID_BITS = 20, /* of an id and of a rank */
    RANK_MASK = (1 << ID_BITS) - 1,
    NO_RANK = 1 << ID_BITS, /* above every rank */
    NO_KEY = NO_RANK << 8,
    FILTER_BITS = 21,   /* 256 KiB; of 200,000 merges one pair in ten passes that does not merge */
    PROGRESS_STEPS = 1 << 16, /* merges between two signs of life: some 30 ms */
    INSIDE = INT32_MIN, /* a tag on a byte where no token starts or ends any more */
};

static const uint64_t EMPTY = UINT64_MAX; /* no slot: its left would be above every id */

static uint64_t pair_of(int32_t left, int32_t right)
{
    return (uint64_t)(uint32_t)left << ID_BITS | (uint32_t)right;
}

/* Fibonacci hashing: the high bits are the mixed ones. */
static uint64_t mixed(uint64_t pair)
{
    return pair * 0x9E3779B97F4A7C15ull;
}

/* The bit of the filter that stands for this pair, and for others. */
static uint64_t filter_bit(uint64_t pair)
{
    return mixed(pair) >> (64 - FILTER_BITS);
}

/* The slot of the pair, or the empty one where it would stand. There is always an empty one. */
static size_t find_slot(const pk_merges *merges, uint64_t pair)
{
    size_t at = (size_t)(mixed(pair) >> 32) & (merges->slot_count - 1);
    while (merges->slots[at] != EMPTY && merges->slots[at] >> ID_BITS != pair)
        at = (at + 1) & (merges->slot_count - 1);
    return at;
}

/* On huge pages where the system gives them: the table is read at random, and a page walk for each slot is dear, most
 * of all in a virtual machine. */
static void *allocate_slots(size_t bytes)
{
    enum { HUGE_PAGE = 2 << 20 };
    void *slots = NULL;
    if (bytes < HUGE_PAGE)
        return malloc(bytes);
    if (posix_memalign(&slots, HUGE_PAGE, bytes))
        return NULL;
    (void)madvise(slots, bytes, MADV_HUGEPAGE);
    return slots;
}

pk_err pk_merges_init(pk_merges *merges, size_t count)
{
    assert(count < PK_TOKENIZER_IDS);
    size_t slots = 2;
    while (slots / 2 < count + 1)
        slots *= 2;
    merges->slots = allocate_slots(slots * sizeof *merges->slots);
    merges->results = malloc((count + 1) * sizeof *merges->results);
    merges->filter = calloc(1 << (FILTER_BITS - 6), sizeof *merges->filter);
    if (!merges->slots || !merges->results || !merges->filter)
        return pk_fail(PK_NOMEM, "no memory for %zu merges", count);
    merges->slot_count = slots;
    memset(merges->slots, 0xFF, slots * sizeof *merges->slots);
    memset(merges->results, 0xFF, (count + 1) * sizeof *merges->results);
    return PK_OK;
}

pk_err pk_merges_add(pk_merges *merges, pk_merge merge)
{
    uint64_t pair = pair_of(merge.left, merge.right), bit = filter_bit(pair);
    uint64_t *slot = &merges->slots[find_slot(merges, pair)];
    if (*slot != EMPTY)
        return pk_fail(PK_CORRUPT, "the pair of merge %u again", (unsigned)(*slot & RANK_MASK));
    if (merges->results[merge.rank] >= 0)
        return pk_fail(PK_CORRUPT, "a second merge %u", merge.rank);
    *slot = pair << ID_BITS | merge.rank;
    merges->results[merge.rank] = merge.result;
    merges->filter[bit >> 6] |= 1ull << (bit & 63);
    return PK_OK;
}

bool pk_merges_at(const pk_merges *merges, size_t at, pk_merge *out)
{
    uint64_t slot = merges->slots[at];
    if (slot == EMPTY)
        return false;
    *out = (pk_merge){.left = (int32_t)(slot >> (2 * ID_BITS)),
                      .right = (int32_t)(slot >> ID_BITS & RANK_MASK),
                      .rank = (uint32_t)(slot & RANK_MASK),
                      .result = merges->results[slot & RANK_MASK]};
    return true;
}

static uint32_t rank_of(const pk_merges *merges, int32_t left, int32_t right)
{
    uint64_t pair = pair_of(left, right), bit = filter_bit(pair);
    if (!(merges->filter[bit >> 6] >> (bit & 63) & 1))
        return NO_RANK;
    uint64_t slot = merges->slots[find_slot(merges, pair)];
    if (slot == EMPTY)
        return NO_RANK;
    uint32_t rank = (uint32_t)(slot & RANK_MASK);
    __builtin_prefetch(&merges->results[rank]); /* it will be asked for when the pair merges */
    return rank;
}

pk_err pk_merges_finish(pk_merges *merges)
{
    merges->byte_ranks = malloc(256 * 256 * sizeof *merges->byte_ranks);
    if (!merges->byte_ranks)
        return pk_fail(PK_NOMEM, "no memory for the merges of bytes");
    for (size_t pair = 0; pair < 256 * 256; pair++)
        merges->byte_ranks[pair] = rank_of(merges, merges->byte_ids[pair >> 8], merges->byte_ids[pair & 0xFF]);
    return PK_OK;
}

/* A short piece: the tokens stay at the bytes where they start and are linked, so that nothing moves. */
typedef struct {
    int32_t ids[SHORT_BYTES];
    uint8_t next[SHORT_BYTES], before[SHORT_BYTES]; /* starts of the neighbours */
    int32_t keys[SHORT_BYTES]; /* rank << 8 | start of the pair that starts here: the least is the next to merge */
} short_row;

/* The least of `count` keys; a multiple of KEYS_AT_ONCE, for the sake of vector instructions. */
static int32_t least_of(const int32_t *keys, size_t count)
{
    int32_t least[KEYS_AT_ONCE];
    memcpy(least, keys, sizeof least);
    for (size_t i = KEYS_AT_ONCE; i < count; i += KEYS_AT_ONCE)
        for (size_t lane = 0; lane < KEYS_AT_ONCE; lane++)
            least[lane] = keys[i + lane] < least[lane] ? keys[i + lane] : least[lane];
    for (size_t lane = 1; lane < KEYS_AT_ONCE; lane++)
        least[0] = least[lane] < least[0] ? least[lane] : least[0];
    return least[0];
}

static int32_t key_of(uint32_t rank, size_t start)
{
    return (int32_t)(rank << 8 | (uint32_t)start);
}

/* Merges the pair that `key` names. */
static void merge_short(const pk_merges *merges, short_row *row, int32_t key, size_t bytes)
{
    size_t at = (size_t)key & 0xFF, gone = row->next[at], next = row->next[gone];
    row->ids[at] = merges->results[key >> 8];
    row->keys[gone] = NO_KEY;
    row->next[at] = (uint8_t)next;
    row->keys[at] = NO_KEY;
    if (next < bytes) {
        row->before[next] = (uint8_t)at;
        row->keys[at] = key_of(rank_of(merges, row->ids[at], row->ids[next]), at);
    }
    if (at > 0) {
        size_t before = row->before[at];
        row->keys[before] = key_of(rank_of(merges, row->ids[before], row->ids[at]), before);
    }
}

static pk_err apply_short(const pk_merges *merges, const unsigned char *piece, size_t bytes, pk_ids *out)
{
    short_row row;
    size_t keys = (bytes + KEYS_AT_ONCE - 1) / KEYS_AT_ONCE * KEYS_AT_ONCE;
    pk_err err = pk_ids_reserve(out, bytes);
    if (err)
        return err;
    for (size_t i = 0; i < bytes; i++) {
        row.ids[i] = merges->byte_ids[piece[i]];
        row.next[i] = (uint8_t)(i + 1);
        row.before[i] = (uint8_t)(i - 1);
    }
    for (size_t i = 0; i + 1 < bytes; i++)
        row.keys[i] = key_of(merges->byte_ranks[piece[i] << 8 | piece[i + 1]], i);
    for (size_t i = bytes - 1; i < keys; i++)
        row.keys[i] = NO_KEY;
    for (int32_t key; (key = least_of(row.keys, keys)) < NO_KEY;)
        merge_short(merges, &row, key, bytes);
    for (size_t at = 0; at < bytes; at = row.next[at])
        out->ids[out->count++] = row.ids[at];
    return PK_OK;
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
static uint32_t pair_rank(const row *self, size_t start)
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
    uint32_t rank = pair_rank(self, start);
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
        uint32_t rank = pair_rank(self, i);
        if (rank != NO_RANK)
            self->heap[self->heap_count++] = (uint64_t)rank << 32 | i;
    }
    for (size_t i = self->heap_count / 2; i-- > 0;)
        sift_down(self->heap, self->heap_count, i);
}

static void merge_at(row *self, size_t start, uint32_t rank)
{
    size_t next = start + length_at(self, start);
    size_t length = next - start + length_at(self, next);
    int32_t merged = self->merges->results[rank];

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

static pk_err apply_long(row self, const unsigned char *piece, _Atomic uint64_t *progress, pk_ids *out)
{
    fill_row(&self, piece);
    for (uint32_t step = 1; self.heap_count > 0; step++) {
        if (progress && step % PROGRESS_STEPS == 0)
            atomic_fetch_add(progress, 1);
        uint64_t lowest = pop_lowest(&self);
        size_t start = lowest & UINT32_MAX;
        uint32_t rank = (uint32_t)(lowest >> 32);
        if (self.tags[start] >= 0 && pair_rank(&self, start) == rank)
            merge_at(&self, start, rank);
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
    return apply_long(self, piece, scratch->progress, out);
}

void pk_merges_fini(pk_merges *merges)
{
    free(merges->slots);
    free(merges->results);
    free(merges->byte_ranks);
    free(merges->filter);
    *merges = (pk_merges){0};
}

void pk_merge_scratch_fini(pk_merge_scratch *scratch)
{
    free(scratch->tags);
    free(scratch->heap);
    *scratch = (pk_merge_scratch){.progress = scratch->progress};
}
