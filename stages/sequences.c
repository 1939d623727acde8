#include "stages/sequences.h"
#include "stages/slots.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>

enum {
    PART_ALIGNMENT = 64,
    SLOT_ALIGNMENT = 64 << 10, /* the largest page of a processor: pk_ops.forget gives back whole pages only */
};

struct pk_sequences {
    pk_device *device;
    const pk_ops *ops;
    pk_slots *slots;
    char **data; /* [count]: the memory of each slot */
    size_t count, slot_bytes;
    uint64_t context;
    size_t first_layer, layers, heads, dim;
    size_t *offsets; /* [layers], into a slot's data */
};

/* a + b rounded up; SIZE_MAX, which no allocation grants, when that is too much. */
static size_t add_aligned(size_t a, size_t b, size_t alignment)
{
    size_t sum;
    if (__builtin_add_overflow(a, b, &sum) || sum > SIZE_MAX - alignment)
        return SIZE_MAX;
    return (sum + alignment - 1) / alignment * alignment;
}

static size_t lightning_floats(const pk_sequences *s)
{
    return s->heads * s->dim * (s->dim + 2 * PK_LIGHTNING_BLOCK);
}

/* Where each layer's state lies in a slot. */
static void lay_out(pk_sequences *s, const pk_model_config *model)
{
    size_t bytes = 0;
    for (size_t i = 0; i < s->layers; i++) {
        bool lightning = model->kind[s->first_layer + i] == PK_LAYER_LIGHTNING;
        s->offsets[i] = bytes;
        bytes = add_aligned(bytes,
                            lightning ? lightning_floats(s) * sizeof(float)
                                      : pk_kv_bytes((size_t)s->context, model->kv_heads, s->dim),
                            PART_ALIGNMENT);
    }
    s->slot_bytes = add_aligned(bytes, 0, SLOT_ALIGNMENT);
}

static pk_err reserve_slots(pk_sequences *s)
{
    for (size_t i = 0; i < s->count; i++)
        if (!(s->data[i] = s->ops->alloc(s->device, s->slot_bytes)))
            return pk_fail(PK_NOMEM, "address space for %zu sequences of %" PRIu64 " positions (%zu bytes each)",
                           s->count, s->context, s->slot_bytes);
    return PK_OK;
}

pk_err pk_sequences_open(pk_sequences **out, pk_sequences_options options)
{
    if (options.context < 1 || options.context > UINT32_MAX)
        return pk_fail(PK_INVALID, "the context is %" PRIu64 " positions, expected 1 to %" PRIu32, options.context,
                       UINT32_MAX);
    pk_err err = PK_OK;
    pk_sequences *s = calloc(1, sizeof *s);
    if (!s)
        return pk_fail(PK_NOMEM, "sequences");
    *s = (pk_sequences){.device = options.device,
                        .ops = pk_device_ops(options.device),
                        .count = options.sequences,
                        .context = options.context,
                        .first_layer = options.first_layer,
                        .layers = options.last_layer - options.first_layer + 1,
                        .heads = options.model->heads,
                        .dim = options.model->head_dim};
    s->data = calloc(s->count, sizeof *s->data);
    s->offsets = calloc(s->layers, sizeof *s->offsets);
    if (!s->data || !s->offsets) {
        err = pk_fail(PK_NOMEM, "%zu sequences", s->count);
        goto out;
    }
    lay_out(s, options.model);
    if (!(err = pk_slots_open(&s->slots, s->count)))
        err = reserve_slots(s);
out:
    if (err)
        pk_sequences_close(&s);
    *out = s;
    return err;
}

void pk_sequences_close(pk_sequences **sequences)
{
    pk_sequences *s = *sequences;
    if (!s)
        return;
    for (size_t i = 0; s->data && i < s->count; i++)
        s->ops->free(s->device, s->data[i], s->slot_bytes);
    pk_slots_close(&s->slots);
    free(s->data);
    free(s->offsets);
    free(s);
    *sequences = NULL;
}

pk_err pk_sequences_start(pk_sequences *s, uint32_t sequence, uint32_t room)
{
    size_t slot;
    if (room > s->context)
        return pk_fail(PK_PEER,
                       "sequence %" PRIu32 ": room for %" PRIu32 " positions is asked, the context is %" PRIu64,
                       sequence, room, s->context);
    return pk_slots_take(s->slots, sequence, room, &slot);
}

/* Caches need no zeros, boundary matrices do: a slot is handed on as it was after open. */
static void forget(pk_sequences *s, size_t slot)
{
    s->ops->forget(s->device, s->data[slot], s->slot_bytes);
}

pk_err pk_sequences_end(pk_sequences *s, uint32_t sequence)
{
    size_t slot;
    pk_err err = pk_slots_find(s->slots, sequence, &slot);
    if (err)
        return err;
    forget(s, slot);
    pk_slots_give(s->slots, slot);
    return PK_OK;
}

void pk_sequences_reset(pk_sequences *s)
{
    for (size_t slot = 0; pk_slots_give_next(s->slots, &slot);)
        forget(s, slot);
}

pk_err pk_sequences_at(const pk_sequences *s, uint32_t sequence, uint64_t position, size_t *slot)
{
    return pk_slots_at(s->slots, sequence, position, slot);
}

pk_err pk_sequences_follow(const pk_sequences *s, const pk_span *span, size_t *slot)
{
    return pk_slots_follow(s->slots, span, slot);
}

void pk_sequences_advance(pk_sequences *s, size_t slot, uint32_t count)
{
    pk_slots_advance(s->slots, slot, count);
}

static float *part(const pk_sequences *s, size_t slot, size_t layer)
{
    assert(layer >= s->first_layer && layer - s->first_layer < s->layers);
    return (float *)(s->data[slot] + s->offsets[layer - s->first_layer]);
}

pk_lightning_state pk_sequences_lightning(const pk_sequences *s, size_t slot, size_t layer)
{
    float *matrix = part(s, slot, layer), *keys = matrix + s->heads * s->dim * s->dim;
    return (pk_lightning_state){
        .matrix = matrix, .keys = keys, .values = keys + s->heads * s->dim * PK_LIGHTNING_BLOCK};
}

float *pk_sequences_cache(const pk_sequences *s, size_t slot, size_t layer)
{
    return part(s, slot, layer);
}
