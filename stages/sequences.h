/* sequences.h - what a layers stage remembers of each sequence: its position, and its state at each of the layers.
 *
 * There is a fixed number of slots; a sequence has one from its START to its END. A slot's memory is address space
 * reserved at open: the boundary matrix and tail of every lightning layer, the KV cache of the whole context of every
 * softmax layer. Pages come as they are touched and go back at END, so a short sequence costs what it uses. One
 * thread. */
#ifndef PK_STAGES_SEQUENCES_H
#define PK_STAGES_SEQUENCES_H

#include "gpu/ops.h"
#include "ipc/wire.h"
#include "loader/config.h"

typedef struct pk_sequences pk_sequences;

typedef struct {
    pk_device *device;              /* outlives the sequences */
    const pk_model_config *model;   /* view, valid during open */
    size_t first_layer, last_layer; /* inclusive */
    size_t sequences;               /* slots */
    uint64_t context;               /* most positions of a sequence */
} pk_sequences_options;

/* PK_INVALID: a context beyond 2^32 - 1; PK_NOMEM: no address space. */
pk_err pk_sequences_open(pk_sequences **out, pk_sequences_options options);
void pk_sequences_close(pk_sequences **sequences);

/* The sequence begins at position 0, with room for `room` positions. PK_PEER: room beyond the context, a sequence that
 * is here already, no slot left. */
pk_err pk_sequences_start(pk_sequences *sequences, uint32_t sequence, uint32_t room);

/* The sequence is forgotten. PK_PEER: there is none. */
pk_err pk_sequences_end(pk_sequences *sequences, uint32_t sequence);

/* All of them are forgotten. */
void pk_sequences_reset(pk_sequences *sequences);

/* The slot of a sequence whose state stands exactly at `position`. PK_PEER: there is none, or it stands elsewhere. */
pk_err pk_sequences_at(const pk_sequences *sequences, uint32_t sequence, uint64_t position, size_t *slot);

/* Checks that the span's tokens follow and have room. PK_PEER. */
pk_err pk_sequences_follow(const pk_sequences *sequences, const pk_span *span, size_t *slot);

/* The layers have taken `count` tokens into the slot's states. */
void pk_sequences_advance(pk_sequences *sequences, size_t slot, uint32_t count);

/* The states; views, valid until close. `layer` counts the model's layers, is of this stage and of the right kind. */
pk_lightning_state pk_sequences_lightning(const pk_sequences *sequences, size_t slot, size_t layer);
float *pk_sequences_cache(const pk_sequences *sequences, size_t slot, size_t layer);

#endif
