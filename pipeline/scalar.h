/* scalar.h - words of a person turned into values, strictly: the whole word is the value or it is refused.
 *
 * Used for values of the pipeline file and of options alike, so that both take the same numbers. These functions leave
 * no error trail: the caller knows where the word stood and says what it expected. */
#ifndef PK_PIPELINE_SCALAR_H
#define PK_PIPELINE_SCALAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Decimal digits only: no sign, no blanks, no leading zero, no separators. */
bool pk_scalar_whole(const char *word, uint64_t *out);

/* Digits, at most one point, an optional exponent; finite; a sign is allowed. */
bool pk_scalar_real(const char *word, double *out);

/* A whole number or a decimal fraction with a unit: B, kB, MB, GB, TB (powers of 1000), KiB, MiB, GiB, TiB (powers of
 * 1024), or none (bytes). "230GiB", "1.5GB". The result is rounded down to a byte; 2^63 and more is refused. */
bool pk_scalar_bytes(const char *word, uint64_t *out);

/* The word of `words` (ended by NULL) that `word` is likely a slip of, or NULL when none is near: at most a third of
 * its letters, and at least one, inserted, dropped, changed or swapped with their neighbour. View into words. */
const char *pk_scalar_nearest(const char *word, const char *const *words);

#endif
