/* slots.h - which sequence has which place, and where it stands: a fixed number of slots, each free or taken by a
 * sequence id, with its position and the room that it was given.
 *
 * What lies in a slot belongs to the caller, who keeps arrays of his own indexed by slot. All places are made at open;
 * nothing grows afterwards. This is the guard of positions: rows go into a slot only where they follow. One thread. */
#ifndef PK_STAGES_SLOTS_H
#define PK_STAGES_SLOTS_H

#include "ipc/wire.h"

#include <stddef.h>

typedef struct pk_slots pk_slots;

pk_err pk_slots_open(pk_slots **out, size_t count);
void pk_slots_close(pk_slots **slots);

/* Gives the sequence a free slot, at position 0, with room for so many. PK_PEER: it has one already, or none is free.
 */
pk_err pk_slots_take(pk_slots *slots, uint32_t sequence, uint32_t room, size_t *slot);

/* PK_PEER: there is no such sequence. */
pk_err pk_slots_find(const pk_slots *slots, uint32_t sequence, size_t *slot);

/* The slot of a sequence that stands exactly at `position`. PK_PEER: there is none, or it stands elsewhere. */
pk_err pk_slots_at(const pk_slots *slots, uint32_t sequence, uint64_t position, size_t *slot);

/* Checks that the span's rows follow and have room. PK_PEER. */
pk_err pk_slots_follow(const pk_slots *slots, const pk_span *span, size_t *slot);

/* So many rows, which follow, are in the slot. */
void pk_slots_advance(pk_slots *slots, size_t slot, uint32_t count);

/* Makes a taken slot free again. */
void pk_slots_give(pk_slots *slots, size_t slot);

/* Makes the next taken slot from *slot on free and says which it was; false when all are free. Begin with 0. */
bool pk_slots_give_next(pk_slots *slots, size_t *slot);

#endif
