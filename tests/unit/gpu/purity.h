/* purity.h - row purity of the device as properties: each gives the number of rows whose bits are not what they should
 * be, so that the same property can be seen to hold for the product and to fail for the builds with a fault. */
#ifndef PK_TESTS_UNIT_GPU_PURITY_H
#define PK_TESTS_UNIT_GPU_PURITY_H

#include "tests/unit/gpu/fixture.h"

/* Products of every dtype: all rows at once against random cuts, and against each row alone. */
size_t matmul_rows_changed_by_cuts(const char *backend, unsigned threads, rng *);
/* The same rows in groups with matrices of their own. */
size_t grouped_rows_changed_by_grouping(const char *backend, unsigned threads, rng *);
/* A lightning sequence token by token against random cuts; the final state counts as rows too. */
size_t lightning_rows_changed_by_cuts(const char *backend, unsigned threads, rng *);
/* `together` rows first, then `rest` rows token by token against random cuts. */
size_t softmax_rows_changed_by_cuts(const char *backend, unsigned threads, rng *, size_t together, size_t rest);
/* Several sequences in one call against each alone. */
size_t lightning_rows_changed_by_neighbours(const char *backend, unsigned threads, rng *);
size_t softmax_rows_changed_by_neighbours(const char *backend, unsigned threads, rng *);
/* An infinity or NaN in a key or value of a later row of the same call. */
size_t lightning_rows_reached_by_the_future(const char *backend, rng *);
size_t softmax_rows_reached_by_the_future(const char *backend, rng *);

#endif
