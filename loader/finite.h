/* finite.h - looks for NaN and Inf in tensors whose bytes come in pieces. */
#ifndef PK_LOADER_FINITE_H
#define PK_LOADER_FINITE_H

#include "ipc/dtype.h"

#include <stddef.h>
#include <stdint.h>

/* Zeroed, then `dtype` set, before the first piece of a tensor. A dtype without NaN and Inf that we know is passed
 * over. */
typedef struct {
    pk_dtype dtype;
    uint64_t nan_count, inf_count;
    uint64_t first; /* index of the first of either, with one of the counts above 0 */
    uint64_t seen;  /* elements so far */
    uint8_t carry[4];
    size_t carried; /* bytes of an element that the last piece cut */
} pk_finite;

/* The next bytes of the tensor, in order; at any alignment. */
void pk_finite_feed(pk_finite *finite, const void *data, size_t bytes);

#endif
