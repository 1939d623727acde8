/* random.h - numbers for tests, drawn from a seed that is printed, so that a failure can be repeated:
 * PENSTOCK_TEST_SEED=N takes the place of the test's own seed. */
#ifndef PK_TESTS_IPC_RANDOM_H
#define PK_TESTS_IPC_RANDOM_H

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct {
    uint64_t state;
} random_source;

static inline random_source random_open(const char *what, uint64_t seed)
{
    const char *given = getenv("PENSTOCK_TEST_SEED");
    if (given)
        seed = strtoull(given, NULL, 10);
    fprintf(stderr, "%s: seed %" PRIu64 "\n", what, seed);
    return (random_source){seed};
}

/* splitmix64 */
static inline uint64_t random_u64(random_source *random)
{
    uint64_t z = random->state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/* 0 to most, both included. */
static inline uint32_t random_to(random_source *random, uint32_t most)
{
    return (uint32_t)(random_u64(random) % ((uint64_t)most + 1));
}

/* Any number of at most `bits` bits, every length as likely as another: so every form of msgpack is met. */
static inline uint64_t random_bits(random_source *random, unsigned bits)
{
    unsigned length = random_to(random, bits);
    return length ? random_u64(random) >> (64 - length) : 0;
}

#endif
