/* model.h - the toy model: what a stage's state is after a row, and which token follows. A function of the tokens so
 * far and of nothing else, so that whatever differs after a replay was broken by the protocol. */
#ifndef PK_TESTS_SIMULATE_MODEL_H
#define PK_TESTS_SIMULATE_MODEL_H

#include <stdint.h>

enum { MODEL_VOCABULARY = 61, MODEL_END = 5 };

/* The state of one stage of one sequence after one more row; the new state is also what goes on to the next stage. */
static inline uint64_t model_row(uint64_t state, uint64_t row, int stage)
{
    uint64_t z = state * UINT64_C(0x9e3779b97f4a7c15) + row + (uint64_t)stage + 1;
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static inline int32_t model_token(uint64_t row)
{
    return (int32_t)(row % MODEL_VOCABULARY);
}

#endif
