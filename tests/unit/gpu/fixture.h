/* fixture.h - what the tests of the device share: a generator with a printed seed, values ordinary and special,
 * comparison of bits, matrices, and sequences of both attentions that can be fed in any cuts. Failures of the device
 * end the test program. */
#ifndef PK_TESTS_UNIT_GPU_FIXTURE_H
#define PK_TESTS_UNIT_GPU_FIXTURE_H

#include "gpu/ops.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

/* Sanitizer builds are some 20 times slower: there a test takes every SHARE-th of its cases, kinds mixed as before (7 has
 * no factor in common with the 11 row counts, 5 dtypes and 4 variants that cases cycle through). */
#ifdef __SANITIZE_ADDRESS__
enum { SHARE = 7 };
#else
enum { SHARE = 1 };
#endif

typedef struct {
    uint64_t state;
} rng;

/* From PK_SEED, or fixed; `salt` tells tests apart. Prints what was taken. */
rng rng_open(const char *name, uint64_t salt);
uint64_t rng_next(rng *);
size_t rng_below(rng *, size_t end);
float rng_float(rng *); /* uniform in (-1, 1) */

void fill(rng *, float *x, size_t count);
/* Puts about count / every of ±inf, NaN, ±0, subnormals, huge and tiny values among the others. */
void sprinkle(rng *, float *x, size_t count, size_t every);

/* First index at which the bits differ, all NaN taken as one; `count` if none. */
size_t first_difference(const float *a, const float *b, size_t count);
#define assert_same_bits(a, b, count) assert_int_equal(first_difference(a, b, count), count)

float *floats(size_t count); /* zeroed; free() */

/* Whether this processor runs the backend. */
bool backend_runs(const char *backend);
pk_device *device_of(const char *backend, unsigned threads);

/* A packed matrix of random weights, and the same weights as stored rows and in float32. */
typedef struct {
    pk_device *device;
    pk_matrix packed;
    void *rows;
    float *scales; /* [outputs][groups], of a quantised one */
    float *values; /* [outputs][inputs] */
} matrix;

/* special: among the weights are Inf, NaN, -0 and subnormals. Packed for `device` in random ranges. */
void matrix_init(matrix *, pk_device *, rng *, pk_dtype dtype, size_t outputs, size_t inputs, bool special);
/* The same weights for another device. */
void matrix_copy(matrix *, pk_device *, rng *, const matrix *from);
void matrix_fini(matrix *);

/* One sequence at one lightning layer: its input and, after feeding, its output and state. */
typedef struct {
    size_t heads, dim, rows, fed;
    float *qkv, *out, *decay;
    float *matrix, *keys, *values;
} lightning_sequence;

void lightning_init(lightning_sequence *, size_t heads, size_t dim, size_t rows);
void lightning_feed(lightning_sequence *, pk_device *, size_t rows);
void lightning_fini(lightning_sequence *);

/* One sequence at one softmax layer. */
typedef struct {
    size_t heads, kv_heads, dim, rows, fed;
    float *q, *k, *v, *out, *cache;
} softmax_sequence;

void softmax_init(softmax_sequence *, size_t heads, size_t kv_heads, size_t dim, size_t rows);
void softmax_feed(softmax_sequence *, pk_device *, size_t rows);
void softmax_fini(softmax_sequence *);

#endif
