/* quantization.h - quantised weights in checkpoints, by the published conventions of *compressed-tensors*.
 *
 * config.json says by quantization_config that and how weights are quantised; which of them are, the tensors tell. A
 * quantised matrix X.weight [out, in] is integers and, beside them, a scale for each output and group of PK_GROUP
 * inputs:
 *
 *     int-quantized   X.weight I8 [out, in]                                  X.weight_scale [out, ceil(in / 64)]
 *     pack-quantized  X.weight_packed I32 [out, ceil(in / 8)], eight int4    X.weight_scale [out, ceil(in / 64)]
 *                     in a word, the first lowest, each as value + 8         X.weight_shape I64 [2]: out, in
 *
 * Scales are F32, BF16 or F16. weight_shape follows from the config and is not read. */
#ifndef PK_LOADER_QUANTIZATION_H
#define PK_LOADER_QUANTIZATION_H

#include "ipc/dtype.h"
#include "ipc/error.h"
#include "loader/json.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PK_QUANTIZED_PACKED "_packed" /* behind the name of the weight */
#define PK_QUANTIZED_SCALE  "_scale"
#define PK_QUANTIZED_SHAPE  "_shape"

/* Reads config.json's quantization_config: *out is PK_I8 or PK_I4. PK_CORRUPT: a member is not what it must be;
 * PK_INVALID: well-formed, but another scheme than these two; the text names the member. */
pk_err pk_quantization_parse(pk_dtype *out, const pk_json *value);

/* Which matrices are quantised when a model is. */
typedef enum {
    PK_QUANTIZE_LINEAR = 0, /* all but router, embedding, head and the shared expert's coefficient */
    PK_QUANTIZE_EXPERTS,    /* those of routed experts only */
} pk_quantize_what;

/* The value of quantization_config for such a model, as JSON; static. */
const char *pk_quantization_text(pk_dtype dtype, pk_quantize_what what);

/* Columns of the tensor of integers of a matrix of `inputs`, and its type in the file. */
uint64_t pk_quantized_columns(pk_dtype dtype, uint64_t inputs);
pk_dtype pk_quantized_stored(pk_dtype dtype);

/* How many bytes at the end of a name are one of the endings above, behind ".weight"; 0: none. */
size_t pk_quantized_ending(const char *name);

#endif
