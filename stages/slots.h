/* slots.h - which sequence has which place: a fixed number of slots, each free or taken by a sequence id.
 *
 * What lies in a slot belongs to the caller, who keeps arrays of his own indexed by slot. All places are made at open;
 * nothing grows afterwards. One thread. */
#ifndef PK_STAGES_SLOTS_H
#define PK_STAGES_SLOTS_H

#include "ipc/error.h"

#include <stddef.h>
#include <stdint.h>

typedef struct pk_slots pk_slots;

pk_err pk_slots_open(pk_slots **out, size_t count);
void pk_slots_close(pk_slots **slots);

/* Gives the sequence a free slot. PK_PEER: it has one already, or none is free. */
pk_err pk_slots_take(pk_slots *slots, uint32_t sequence, size_t *slot);

/* PK_PEER: there is no such sequence. */
pk_err pk_slots_find(const pk_slots *slots, uint32_t sequence, size_t *slot);

/* Makes a taken slot free again. */
void pk_slots_give(pk_slots *slots, size_t slot);

#endif
