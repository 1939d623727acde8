/* census.h - what a checkpoint's weights amount to: parameters and bytes by part, without reading a weight.
 *
 * Counted are the weights that the architecture names (names.h), with the types that are found out from, in this order,
 * the headers of the safetensors files; where the directory has none of these files, the index, whose total size tells
 * the types; where there is no index either, the types of the published releases. A pk_census owns no memory: copy it
 * freely. */
#ifndef PK_LOADER_CENSUS_H
#define PK_LOADER_CENSUS_H

#include "ipc/dtype.h"
#include "loader/config.h"

#include <stdbool.h>
#include <stdint.h>

/* Where the types of the weights were learnt from; the words are for people. */
#define PK_CENSUS_SOURCES(X)                                                                                           \
    X(HEADERS, "the headers of its files")                                                                             \
    X(INDEX, "its index alone, no weight file is there")                                                               \
    X(CONFIG, "config.json alone, types assumed as in the published releases")

typedef enum {
#define X(name, words) PK_CENSUS_##name,
    PK_CENSUS_SOURCES(X)
#undef X
} pk_census_source;

/* One part of a model. */
typedef struct {
    uint64_t parameters;
    uint64_t stored_bytes;   /* in the files */
    uint64_t resident_bytes; /* in a stage: matrices in panels of 16 outputs, vectors expanded to float32 */
    uint64_t expert_bytes;   /* of the stored ones, those of routed experts, of which a token reads K of E */
} pk_census_part;

typedef struct {
    pk_census_source source;
    size_t weights;                 /* matrices and vectors */
    pk_dtype dtype, router_dtype;   /* of the experts' weights, of the router gates; 0: not all the same */
    size_t shared_inner;            /* inner size of the shared expert; 0: none */
    pk_census_part whole;           /* a tied head counts once */
    pk_census_part embedding, head; /* head: final norm and LM head, also where it is the embedding */
    pk_census_part layer[PK_MODEL_LAYERS_MAX];
} pk_census;

/* PK_IO: files cannot be read; PK_CORRUPT: a weight is missing or of another shape or type, or the index names another
 * model or a total that no types give. On failure *out is unspecified. */
pk_err pk_census_take(pk_census *out, const char *dir, const pk_model_config *config);

const char *pk_census_source_words(pk_census_source source); /* static */

#endif
