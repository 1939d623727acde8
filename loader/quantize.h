/* quantize.h - writes a checkpoint again with its matrices as integers (quantization.h).
 *
 * Each file of the source becomes one of the same name; tensors go through in pieces of some rows, so that memory holds
 * a few of the reader's buffers, whatever the model's size. What is not quantised is copied to the byte, as are the
 * tokenizer's files; what the model has no use for is left out. Tensors get the published names, also those that lay
 * fused in the source. The same source gives the same bytes. */
#ifndef PK_LOADER_QUANTIZE_H
#define PK_LOADER_QUANTIZE_H

#include "loader/names.h"
#include "loader/quantization.h"
#include "loader/survey.h"

#include <stddef.h>
#include <stdint.h>

typedef struct {
    const char *source, *dir; /* dir: new or empty */
    pk_dtype dtype;           /* PK_I8 or PK_I4 */
    pk_quantize_what what;
    /* Called now and then with bytes read and bytes in all; may be NULL. */
    void (*progress)(void *context, uint64_t done, uint64_t total);
    void *progress_context;
} pk_quantize_options;

/* What rounding did to one matrix. */
typedef struct {
    char name[PK_WEIGHT_NAME_BYTES];
    pk_survey_part part;
    uint64_t rows, columns;
    double relative; /* |difference| / |weights|, both Frobenius norms; 0 where all weights are 0 */
    double largest;  /* difference */
} pk_quantize_error;

typedef struct {
    pk_quantize_error *errors; /* of the quantised matrices, in the order of the files */
    size_t count;
    uint64_t source_bytes, bytes; /* of the model's tensors, before and after */
} pk_quantize_report;

typedef struct pk_quantizer pk_quantizer;

/* Reads the source's config and headers. The options' views live as long as *out. PK_INVALID: the source is quantised
 * already, or of a kind that is not in this version; PK_CORRUPT, PK_IO, PK_NOMEM. */
pk_err pk_quantizer_open(pk_quantizer **out, const pk_quantize_options *options);
void pk_quantizer_close(pk_quantizer **quantizer);

/* Writes under a temporary name beside `dir` and renames when all is there; on failure nothing is left. Once.
 * PK_INVALID: `dir` is taken; PK_CORRUPT: the source is damaged, or a weight that is to be rounded is not finite;
 * PK_IO; PK_NOMEM. The caller calls fini in any case. */
pk_err pk_quantizer_write(pk_quantizer *quantizer, pk_quantize_report *report);
void pk_quantize_fini(pk_quantize_report *report);

/* Whether this matrix is among `what`. */
bool pk_quantize_takes(pk_quantize_what what, pk_weight_role role);

#endif
