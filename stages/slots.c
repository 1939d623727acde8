#include "stages/slots.h"

#include <assert.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>

struct pk_slots {
    size_t count;
    struct {
        uint32_t sequence;
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

pk_err pk_slots_take(pk_slots *slots, uint32_t sequence, size_t *slot)
{
    size_t place = 0;
    if (slot_of(slots, sequence) < slots->count)
        return pk_fail(PK_PEER, "sequence %" PRIu32 " starts, but it is here already", sequence);
    while (place < slots->count && slots->at[place].taken)
        place++;
    if (place == slots->count)
        return pk_fail(PK_PEER, "sequence %" PRIu32 " starts, but all %zu slots are taken", sequence, slots->count);
    slots->at[place].sequence = sequence;
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

void pk_slots_give(pk_slots *slots, size_t slot)
{
    assert(slot < slots->count && slots->at[slot].taken);
    slots->at[slot].taken = false;
}
