/* sample.h - choosing the next token from one row of logits.
 *
 * A pure function of the logits, the request's numbers and the position: the random number of a draw comes from a
 * counter-based generator, so nothing is remembered from one token to the next, and a batch's company changes nothing.
 * The arithmetic is docs/numerics.md, "Head". */
#ifndef PK_STAGES_SAMPLE_H
#define PK_STAGES_SAMPLE_H

#include "ipc/wire.h"

/* Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011). */
void pk_philox(uint32_t out[4], const uint32_t counter[4], const uint32_t key[2]);

/* The 53 bits of one draw as a number in [0, 1). position: of the token being sampled. */
double pk_sample_uniform(const pk_sample *sample, uint32_t position);

/* Room to sort a vocabulary in. One thread. */
typedef struct pk_sampler pk_sampler;

pk_err pk_sampler_open(pk_sampler **out, size_t vocabulary);
void pk_sampler_close(pk_sampler **sampler);

/* Chooses from logits [vocabulary]. temperature 0: the best, the lowest id among equals. Else drawn from the candidates
 * that top_k (0: all), top_p (1: all) and min_p (0: all) leave, always at least one. */
pk_answer pk_sampler_choose(pk_sampler *sampler, const float *logits, const pk_sample *sample, uint32_t position);

#endif
