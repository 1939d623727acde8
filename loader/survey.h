/* survey.h - what lies in a checkpoint directory, told without insisting.
 *
 * Where pk_checkpoint_open refuses at the first thing that is wrong, a survey notes it as a *fault* and goes on. It
 * works on metadata alone: a config and an index whose files are somewhere else. Everything in it is its own, read-only
 * and lives until it is closed; tensors are views into shards or index. One thread. */
#ifndef PK_LOADER_SURVEY_H
#define PK_LOADER_SURVEY_H

#include "loader/index.h"
#include "loader/tokenizer_files.h"
#include "loader/weight_list.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct {
    const char *name;     /* of the file */
    bool absent;          /* the index names it, it is not there */
    pk_safetensors *file; /* NULL: absent, or damaged */
    size_t tensors;       /* of its header, else of the index */
} pk_survey_shard;

typedef struct {
    const char *name;
    size_t shard;
    const pk_tensor_entry *entry; /* NULL: only the index knows it */
} pk_survey_tensor;

/* kind, word, sentence */
#define PK_SURVEY_FAULTS(X)                                                                                            \
    X(CONFIG, "config", "the config cannot be used")                                                                   \
    X(INDEX, "index", "the index cannot be used")                                                                      \
    X(SHARD, "shard", "a file cannot be used, or is not what the index says")                                          \
    X(ABSENT, "absent", "a file is not there")                                                                         \
    X(NAMES, "names", "names of two kinds")                                                                            \
    X(MISSING, "missing", "a tensor is not there")                                                                     \
    X(SHAPE, "shape", "a tensor has another shape")                                                                    \
    X(DTYPE, "dtype", "a tensor has a type that is not computed with")                                                 \
    X(VALUE, "value", "a tensor holds NaN or Inf")                                                                     \
    X(SUM, "sum", "a file is not the one that was summed")

typedef enum {
#define X(kind, word, sentence) PK_SURVEY_FAULT_##kind,
    PK_SURVEY_FAULTS(X)
#undef X
        PK_SURVEY_FAULT_KINDS
} pk_survey_fault_kind;

typedef struct {
    pk_survey_fault_kind kind;
    char *where; /* tensor or file */
    char *what;  /* the whole sentence */
} pk_survey_fault;

const char *pk_survey_fault_word(pk_survey_fault_kind kind);

/* Of what a weight is a part. */
#define PK_SURVEY_PARTS(X)                                                                                             \
    X(EMBEDDING, "embedding")                                                                                          \
    X(LIGHTNING, "lightning attention")                                                                                \
    X(SOFTMAX, "softmax attention")                                                                                    \
    X(ROUTERS, "routers")                                                                                              \
    X(EXPERTS, "experts")                                                                                              \
    X(SHARED, "shared experts")                                                                                        \
    X(NORMS, "norms")                                                                                                  \
    X(HEAD, "head")

typedef enum {
#define X(part, word) PK_SURVEY_PART_##part,
    PK_SURVEY_PARTS(X)
#undef X
        PK_SURVEY_PARTS_COUNT
} pk_survey_part;

const char *pk_survey_part_word(pk_survey_part part);

typedef struct {
    uint64_t tensors, parameters;
    uint64_t bytes; /* of those whose header is there */
} pk_survey_sum;

/* Tensors of one stored type. */
typedef struct {
    const char *dtype; /* as headers say */
    uint64_t tensors, bytes;
} pk_survey_dtype;

enum { PK_SURVEY_DTYPES_MAX = 16 };

typedef struct {
    char *dir;
    bool has_config;        /* it was read and can be used */
    pk_model_config config; /* with has_config */
    pk_naming naming;
    pk_index index; /* no placements: a single file */
    pk_survey_shard *shards;
    size_t shard_count, absent_count;
    pk_survey_tensor *tensors; /* in order of name */
    size_t tensor_count;
    size_t headless_count;   /* tensors that only the index knows */
    pk_weight_list expected; /* with has_config */
    size_t missing_count, extra_count, constant_count;
    const char **extra; /* names of tensors that the model has no use for; not the constants of the in-tree dialect */
    pk_survey_fault *faults;
    size_t fault_count;
    /* With has_config: what the config asks for. Sizes of shared experts come from the tensors, where they are. */
    pk_survey_sum parts[PK_SURVEY_PARTS_COUNT];
    pk_survey_sum sum;
    pk_survey_dtype dtypes[PK_SURVEY_DTYPES_MAX]; /* of all tensors whose header is there */
    size_t dtype_count;
    const char *tokenizer_files[PK_TOKENIZER_FILES_MAX]; /* names */
    size_t tokenizer_file_count;
} pk_survey;

/* PK_IO: the directory has neither config nor weights, or cannot be read; PK_NOMEM. All else is a fault. */
pk_err pk_survey_open(pk_survey **out, const char *dir);
void pk_survey_close(pk_survey **survey);

/* Notes a fault. PK_NOMEM. */
pk_err pk_survey_add_fault(pk_survey *survey, pk_survey_fault_kind kind, const char *where, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

const pk_survey_tensor *pk_survey_find(const pk_survey *survey, const char *name); /* NULL: not there */

/* The weight must exist. */
pk_survey_part pk_survey_part_of(pk_weight weight, const pk_model_config *config);

/* Inside survey*.c: compares what is there with what the config asks for. */
pk_err pk_survey_compare(pk_survey *survey);

#endif
