/* config.h - a model's shape, read from a checkpoint's config.json.
 *
 * The file is untrusted: every value is checked for type and range before anything is sized by it, and a value that we
 * could not honour is refused rather than ignored. A pk_model_config owns no memory: copy it freely. Field names and
 * defaults follow docs/model.md, section 1.
 *
 * Two dialects are read: that of the published files (model_type `minimax_m1`, also spelled `MiniMaxM1`, and
 * `minimax_text_01`), and that of transformers' own tree (`minimax`), which calls some fields by other names. Each
 * field is taken under whichever name is there; both, with different values, are refused. */
#ifndef PK_LOADER_CONFIG_H
#define PK_LOADER_CONFIG_H

#include "ipc/dtype.h"
#include "ipc/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Ceilings far above any published model, low enough that no product of two of them overflows 64 bits. */
enum {
    PK_MODEL_LAYERS_MAX = 1024,
    PK_MODEL_HIDDEN_MAX = 1 << 17,
    PK_MODEL_HEADS_MAX = 4096,
    PK_MODEL_HEAD_DIM_MAX = 1024,
    PK_MODEL_ATTENTION_MAX = 1 << 18, /* heads × head_dim */
    PK_MODEL_INNER_MAX = 1 << 20,
    PK_MODEL_EXPERTS_MAX = 4096,
    PK_MODEL_CHOSEN_MAX = 64, /* experts per token */
    PK_MODEL_VOCAB_MAX = 1 << 22,
    PK_MODEL_EOS_MAX = 16,
};

typedef enum {
    PK_LAYER_LIGHTNING = 0,
    PK_LAYER_SOFTMAX = 1,
} pk_layer_kind;

/* x = alpha · residual + beta · output */
typedef struct {
    double alpha, beta;
} pk_residual_scale;

typedef enum {
    PK_DIALECT_OFFICIAL = 0,
    PK_DIALECT_IN_TREE, /* model_type "minimax" */
} pk_dialect;

typedef struct {
    char model_type[32]; /* as the file spells it */
    pk_dialect dialect;

    size_t hidden;     /* H, width of the residual stream */
    size_t layers;     /* L */
    size_t heads;      /* h, the same for both layer kinds */
    size_t head_dim;   /* d; heads × head_dim need not be hidden */
    size_t kv_heads;   /* g, softmax layers only; divides heads */
    size_t rotary_dim; /* r, softmax layers only; even, 2 … head_dim */
    double rope_theta;

    uint8_t kind[PK_MODEL_LAYERS_MAX]; /* pk_layer_kind of layers 0 … layers-1 */

    size_t inner;             /* F, one expert's inner size */
    size_t experts;           /* E */
    size_t experts_per_token; /* K, 1 … experts */
    bool shared_expert;       /* its inner size is taken from the tensors: pk_weight_find */

    bool postnorm; /* the residual is the normalised input, not the input */
    pk_residual_scale lightning_scale, softmax_scale, mlp_scale;
    double rms_norm_eps; /* not for the lightning output norm, which has 1e-6 */

    size_t vocab;         /* V */
    size_t max_positions; /* the longest context the model claims */
    bool tie_word_embeddings;

    /* PK_I8 or PK_I4: matrices may be stored so (quantization.h); 0: none is. */
    pk_dtype quantised;

    size_t eos_count; /* 0: the tokenizer knows */
    int32_t eos_ids[PK_MODEL_EOS_MAX];
} pk_model_config;

/* Reads and checks dir/config.json. PK_IO when it cannot be read, PK_CORRUPT when it is not what it claims, PK_INVALID
 * for a model that is well-formed but not in this version; the text names file and field and what was expected. On
 * failure *out is all zero. */
pk_err pk_config_read(pk_model_config *out, const char *dir);

/* Where transformers' own tree would compute something else than the official file, and so than we do, for this model:
 * a sentence each, into notes[]; returns how many. None for the official dialect. Static text. */
enum { PK_CONFIG_NOTES_MAX = 8 };
size_t pk_config_differences(const pk_model_config *config, const char *notes[PK_CONFIG_NOTES_MAX]);

/* pk_config_read from memory; `path` is only for messages. `text` need not end in NUL. */
pk_err pk_config_parse(pk_model_config *out, const char *path, const char *text, size_t bytes);

#endif
