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

enum { ID_BITS = 21 }; /* of an id + 1 */

_Static_assert(PK_TOKENIZER_IDS < 1 << ID_BITS, "a slot has room for any id + 1");
_Static_assert(PK_TOKENIZER_FILE_BYTES <= 1 << 28, "a token's length has 28 bits");

static uint64_t digest_of(const void *bytes, size_t count)
{
    uint64_t mixed = count;
    const unsigned char *at = bytes;
    for (uint64_t word; count >= sizeof word; at += sizeof word, count -= sizeof word) {
        memcpy(&word, at, sizeof word);
        mixed = (mixed ^ word) * 0x9E3779B97F4A7C15ull;
        mixed ^= mixed >> 32;
    }
    uint64_t last = 0;
    memcpy(&last, at, count);
    mixed = (mixed ^ last) * 0x9E3779B97F4A7C15ull;
    return mixed ^ mixed >> 32;
}

/* What a slot bears of the digest. Its low bits choose the slot. */
static uint32_t mark_of(uint64_t digest)
{
    return (uint32_t)(digest >> 48) << ID_BITS;
}

/* The slot of the token with these bytes, or the empty one where it would stand. */
static uint32_t *find_slot(const pk_vocabulary *vocabulary, uint64_t digest, const void *bytes, size_t count,
                           bool mergeable)
{
    uint32_t mark = mark_of(digest);
    for (size_t at = digest & (vocabulary->slot_count - 1);; at = (at + 1) & (vocabulary->slot_count - 1)) {
        uint32_t *slot = &vocabulary->slots[at];
        if (*slot == 0)
            return slot;
        if ((*slot ^ mark) >> ID_BITS)
            continue;
        const pk_token *token = &vocabulary->tokens[(*slot & ((1u << ID_BITS) - 1)) - 1];
        if (token->bytes == count && !(token->flags & PK_TOKEN_MERGEABLE) == !mergeable &&
            memcmp(pk_vocabulary_bytes(vocabulary, token), bytes, count) == 0)
            return slot;
    }
}

/* Puts all tokens into new slots. */
static pk_err make_slots(pk_vocabulary *vocabulary, size_t slot_count)
{
    uint32_t *slots = calloc(slot_count, sizeof *slots);
    if (!slots)
        return pk_fail(PK_NOMEM, "no memory to find %zu tokens", slot_count / 2);
    free(vocabulary->slots);
    vocabulary->slots = slots;
    vocabulary->slot_count = slot_count;
    for (size_t id = 0; id < vocabulary->count; id++) {
        const pk_token *token = pk_vocabulary_at(vocabulary, (int64_t)id);
        if (!token)
            continue;
        uint64_t digest = digest_of(pk_vocabulary_bytes(vocabulary, token), token->bytes);
        size_t at = digest & (slot_count - 1);
        while (slots[at])
            at = (at + 1) & (slot_count - 1);
        slots[at] = mark_of(digest) | (uint32_t)(id + 1);
    }
    return PK_OK;
}

pk_err pk_vocabulary_reserve(pk_vocabulary *vocabulary, size_t count)
{
    size_t slot_count = 1 << 10;
    while (slot_count < 2 * count)
        slot_count *= 2;
    return slot_count > vocabulary->slot_count ? make_slots(vocabulary, slot_count) : PK_OK;
}

int32_t pk_vocabulary_find(const pk_vocabulary *vocabulary, const void *bytes, size_t count, bool mergeable)
{
    if (vocabulary->slot_count == 0)
        return -1;
    uint32_t slot = *find_slot(vocabulary, digest_of(bytes, count), bytes, count, mergeable);
    return (int32_t)(slot & ((1u << ID_BITS) - 1)) - 1;
}

pk_err pk_vocabulary_put(pk_vocabulary *vocabulary, int32_t id, const void *bytes, size_t count, uint32_t flags)
{
    assert(id >= 0 && id < PK_TOKENIZER_IDS && count <= PK_TOKENIZER_FILE_BYTES);
    if (pk_vocabulary_at(vocabulary, id))
        return pk_fail(PK_CORRUPT, "id %d is given to two tokens", id);
    if (vocabulary->block.count + count > UINT32_MAX)
        return pk_fail(PK_CORRUPT, "the tokens have more than 4 GiB");
    pk_err err = pk_vocabulary_reserve(vocabulary, vocabulary->used + 1);
    if (!err)
        err = reach(vocabulary, (size_t)id);
    if (err)
        return err;
    uint64_t digest = digest_of(bytes, count);
    uint32_t *slot = find_slot(vocabulary, digest, bytes, count, flags & PK_TOKEN_MERGEABLE);
    if (*slot)
        return pk_fail(PK_CORRUPT, "a duplicate of id %u", (*slot & ((1u << ID_BITS) - 1)) - 1);
    uint32_t offset = (uint32_t)vocabulary->block.count;
    if ((err = pk_text_append(&vocabulary->block, bytes, count)))
        return err;
    vocabulary->tokens[id] =
        (pk_token){.offset = offset, .bytes = count & 0xFFFFFFF, .flags = (flags | PK_TOKEN_PRESENT) & 0xF};
    *slot = mark_of(digest) | (uint32_t)(id + 1);
    vocabulary->used++;
    return PK_OK;
}

void pk_vocabulary_mark(pk_vocabulary *vocabulary, int32_t id, uint32_t flags)
{
    vocabulary->tokens[id].flags = (vocabulary->tokens[id].flags | flags) & 0xF;
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
    free(vocabulary->slots);
    pk_text_fini(&vocabulary->block);
    *vocabulary = (pk_vocabulary){0};
}
