/* synth_fill.h - the random numbers of a synthetic checkpoint. Inside the loader only. */
#ifndef PK_LOADER_SYNTH_FILL_H
#define PK_LOADER_SYNTH_FILL_H

#include "ipc/dtype.h"

#include <stddef.h>
#include <stdint.h>

/* Elements of one tensor: uniform in center ± spread, in steps of spread / 2^15. */
typedef struct {
    uint64_t key;         /* pk_synth_key */
    pk_dtype dtype;       /* PK_F32, PK_BF16 or PK_F16 */
    float center, spread; /* |center| + spread < 65504 */
} pk_synth_tensor;

enum { PK_SYNTH_GROUP = 4 }; /* elements from one draw */

/* Different tensors and different seeds draw from different streams. */
uint64_t pk_synth_key(uint64_t seed, const char *name);

/* Elements [first, first + count) into out; first is a multiple of PK_SYNTH_GROUP. Each element depends on key and
 * index alone. */
void pk_synth_fill(const pk_synth_tensor *tensor, uint64_t first, size_t count, void *out);

#endif
