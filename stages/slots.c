#include "stages/slots.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>

struct pk_slots {
    size_t count;
    struct {
        uint32_t sequence, position, room;
        bool taken;
    } at[];
};

pk_err pk_slots_open(pk_slots **out, size_t count)
{
    pk_slots *slots = calloc(1, sizeof *slots + count * sizeof slots->at[0]);
    if (!slots)
        return pk_fail(PK_NOMEM, "slots for %zu sequences", count);
    slots->count = count;
    *out = slots;
    return PK_OK;
}

void pk_slots_close(pk_slots **slots)
{
    free(*slots);
    *slots = NULL;
}

/* slots->count when it has none. */
static size_t slot_of(const pk_slots *slots, uint32_t sequence)
{
    size_t slot = 0;
    while (slot < slots->count && !(slots->at[slot].taken && slots->at[slot].sequence == sequence))
        slot++;
    return slot;
}

pk_err pk_slots_take(pk_slots *slots, uint32_t sequence, uint32_t room, size_t *slot)
{
    size_t place = 0;
    if (slot_of(slots, sequence) < slots->count)
        return pk_fail(PK_PEER, "sequence %" PRIu32 " starts, but it is here already", sequence);
    while (place < slots->count && slots->at[place].taken)
        place++;
    if (place == slots->count)
        return pk_fail(PK_PEER, "sequence %" PRIu32 " starts, but all %zu slots are taken", sequence, slots->count);
    slots->at[place].sequence = sequence;
    slots->at[place].position = 0;
    slots->at[place].room = room;
    slots->at[place].taken = true;
    *slot = place;
    return PK_OK;
}

pk_err pk_slots_find(const pk_slots *slots, uint32_t sequence, size_t *slot)
{
    *slot = slot_of(slots, sequence);
    if (*slot == slots->count)
        return pk_fail(PK_PEER, "sequence %" PRIu32 " was never started here, or has ended", sequence);
    return PK_OK;
}

pk_err pk_slots_at(const pk_slots *slots, uint32_t sequence, uint64_t position, size_t *slot)
{
    pk_err err = pk_slots_find(slots, sequence, slot);
    if (err)
        return err;
    if (slots->at[*slot].position != position)
        return pk_fail(PK_PEER, "sequence %" PRIu32 ": position %" PRIu64 " came where %" PRIu32 " was expected",
                       sequence, position, slots->at[*slot].position);
    return PK_OK;
}

pk_err pk_slots_follow(const pk_slots *slots, const pk_span *span, size_t *slot)
{
    pk_err err = pk_slots_at(slots, span->sequence, span->position, slot);
    if (!err && (uint64_t)span->position + span->count > slots->at[*slot].room)
        err = pk_fail(PK_PEER,
                      "sequence %" PRIu32 ": %" PRIu32 " tokens came at position %" PRIu32
                      ", there is room for %" PRIu32 " positions",
                      span->sequence, span->count, span->position, slots->at[*slot].room);
    return err;
}

void pk_slots_advance(pk_slots *slots, size_t slot, uint32_t count)
{
    assert(count <= slots->at[slot].room - slots->at[slot].position);
    slots->at[slot].position += count;
}

void pk_slots_give(pk_slots *slots, size_t slot)
{
    assert(slot < slots->count && slots->at[slot].taken);
    slots->at[slot].taken = false;
}

bool pk_slots_give_next(pk_slots *slots, size_t *slot)
{
    while (*slot < slots->count && !slots->at[*slot].taken)
        ++*slot;
    if (*slot == slots->count)
        return false;
    pk_slots_give(slots, *slot);
    return true;
}
