/* quantize_row.h - rounds a row of weights to integers with a scale for each group of PK_GROUP.
 *
 * Symmetric: weight = integer × scale. int8: the largest magnitude of the group becomes 127. int4 (-8 … 7): of some
 * scales around the largest magnitude the one with the least squared error is taken. Scales are rounded to their stored
 * type first, so that errors are those of what is written. Equal input gives equal bytes on every machine. */
#ifndef PK_LOADER_QUANTIZE_ROW_H
#define PK_LOADER_QUANTIZE_ROW_H

#include "ipc/dtype.h"

#include <stddef.h>
#include <stdint.h>

/* What rounding did to a row. */
typedef struct {
    double squares;       /* of the weights */
    double error_squares; /* of the differences */
    float largest;        /* difference */
} pk_quantize_loss;

/* row [inputs], finite. values: int8 [inputs], or words [ceil(inputs / 8)] of int4 (quantization.h); scales:
 * [pk_groups(inputs)] of scale_dtype, PK_F32, PK_BF16 or PK_F16. */
pk_quantize_loss pk_quantize_row(pk_dtype dtype, const float *row, size_t inputs, void *values, pk_dtype scale_dtype,
                                 void *scales);

#endif
