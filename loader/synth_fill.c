#include "loader/synth_fill.h"

#include "loader/digest.h"
#include "loader/half.h"

#include <assert.h>
#include <string.h>

/* The finalizer of splitmix64: a counter goes in, 64 well mixed bits come out. */
static uint64_t mix(uint64_t x)
{
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

uint64_t pk_synth_key(uint64_t seed, const char *name)
{
    uint64_t key = 0;
    pk_digest digest = pk_digest_of(name, strlen(name));
    for (unsigned i = 0; i < sizeof key; i++)
        key = key << 8 | digest.bytes[i];
    return mix(key ^ mix(seed + UINT64_C(0x9e3779b97f4a7c15)));
}

enum { CHUNK = 512 }; /* draws at a time: their bits stay in the first-level cache */

static void draw(uint64_t key, uint64_t first_group, uint16_t bits[CHUNK * PK_SYNTH_GROUP])
{
    uint64_t draws[CHUNK];
    for (size_t i = 0; i < CHUNK; i++)
        draws[i] = mix(key + (first_group + i) * UINT64_C(0x9e3779b97f4a7c15));
    memcpy(bits, draws, sizeof draws);
}

static inline float value_of(const pk_synth_tensor *tensor, uint16_t bits)
{
    return tensor->center + tensor->spread * (((float)bits - 32767.5f) * 0x1p-15f);
}

static void convert(const pk_synth_tensor *tensor, const uint16_t *bits, size_t count, void *out)
{
    const pk_synth_tensor about = *tensor;
    uint16_t *half = out;
    float *full = out;
    if (about.dtype == PK_F32)
        for (size_t i = 0; i < count; i++)
            full[i] = value_of(&about, bits[i]);
    else if (about.dtype == PK_BF16)
        for (size_t i = 0; i < count; i++)
            half[i] = pk_bf16_of(value_of(&about, bits[i]));
    else
        for (size_t i = 0; i < count; i++)
            half[i] = pk_f16_of(value_of(&about, bits[i]));
}

void pk_synth_fill(const pk_synth_tensor *tensor, uint64_t first, size_t count, void *out)
{
    uint16_t bits[CHUNK * PK_SYNTH_GROUP];
    size_t element = pk_dtype_bytes(tensor->dtype);
    assert(first % PK_SYNTH_GROUP == 0);
    for (size_t done = 0; done < count; done += CHUNK * PK_SYNTH_GROUP) {
        size_t now = count - done < CHUNK * PK_SYNTH_GROUP ? count - done : CHUNK * PK_SYNTH_GROUP;
        draw(tensor->key, (first + done) / PK_SYNTH_GROUP, bits);
        convert(tensor, bits, now, (char *)out + done * element);
    }
}
