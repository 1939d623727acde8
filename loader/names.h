/* names.h - the tensors of the architecture: what each is called in a checkpoint and what shape it must have
 * (docs/model.md, section 2). No other file spells a tensor's name.
 *
 * A *weight* is what the model needs: one matrix or vector. A checkpoint stores it under the published name, or as
 * transformers' own tree does, where all experts of a layer lie in two tensors and a weight is some rows of one. A
 * checkpoint keeps to one naming. */
#ifndef PK_LOADER_NAMES_H
#define PK_LOADER_NAMES_H

#include "ipc/error.h"
#include "loader/checkpoint.h"
#include "loader/config.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Where a weight exists. */
typedef enum {
    PK_WEIGHT_OF_MODEL,           /* once */
    PK_WEIGHT_OF_LAYER,           /* once in every layer */
    PK_WEIGHT_OF_LIGHTNING_LAYER, /* once in every lightning layer */
    PK_WEIGHT_OF_SOFTMAX_LAYER,   /* once in every softmax layer */
    PK_WEIGHT_OF_EXPERT,          /* once for every expert of every layer */
    PK_WEIGHT_OF_SHARED_EXPERT,   /* once in every layer of a model with a shared expert */
} pk_weight_scope;

/* role, scope, name after its prefix, rows, columns (0 columns: a vector). Sizes: H hidden, A heads × head_dim,
 * A3 3·A, G kv_heads × head_dim, V vocab, E experts, F inner, S the shared expert's inner size, ONE 1, NONE 0. */
#define PK_WEIGHTS(X)                                                                                                  \
    X(EMBED, MODEL, "model.embed_tokens.weight", V, H)                                                                 \
    X(FINAL_NORM, MODEL, "model.norm.weight", H, NONE)                                                                 \
    X(HEAD, MODEL, "lm_head.weight", V, H)                                                                             \
    X(INPUT_NORM, LAYER, "input_layernorm.weight", H, NONE)                                                            \
    X(POST_ATTENTION_NORM, LAYER, "post_attention_layernorm.weight", H, NONE)                                          \
    X(QKV, LIGHTNING_LAYER, "self_attn.qkv_proj.weight", A3, H)                                                        \
    X(OUTPUT_GATE, LIGHTNING_LAYER, "self_attn.output_gate.weight", A, H)                                              \
    X(ATTENTION_NORM, LIGHTNING_LAYER, "self_attn.norm.weight", A, NONE)                                               \
    X(OUT, LIGHTNING_LAYER, "self_attn.out_proj.weight", H, A)                                                         \
    X(Q, SOFTMAX_LAYER, "self_attn.q_proj.weight", A, H)                                                               \
    X(K, SOFTMAX_LAYER, "self_attn.k_proj.weight", G, H)                                                               \
    X(V, SOFTMAX_LAYER, "self_attn.v_proj.weight", G, H)                                                               \
    X(O, SOFTMAX_LAYER, "self_attn.o_proj.weight", H, A)                                                               \
    X(ROUTER, LAYER, "block_sparse_moe.gate.weight", E, H)                                                             \
    X(EXPERT_GATE, EXPERT, "w1.weight", F, H)                                                                          \
    X(EXPERT_DOWN, EXPERT, "w2.weight", H, F)                                                                          \
    X(EXPERT_UP, EXPERT, "w3.weight", F, H)                                                                            \
    X(SHARED_GATE, SHARED_EXPERT, "shared_mlp.gate_proj.weight", S, H)                                                 \
    X(SHARED_UP, SHARED_EXPERT, "shared_mlp.up_proj.weight", S, H)                                                     \
    X(SHARED_DOWN, SHARED_EXPERT, "shared_mlp.down_proj.weight", H, S)                                                 \
    X(SHARED_COEFFICIENT, SHARED_EXPERT, "coefficient.weight", ONE, H)

typedef enum {
#define X(role, scope, name, rows, columns) PK_WEIGHT_##role,
    PK_WEIGHTS(X)
#undef X
        PK_WEIGHT_ROLES
} pk_weight_role;

/* One weight of a model. */
typedef struct {
    pk_weight_role role;
    size_t layer;  /* 0 where the scope is the model */
    size_t expert; /* 0 where the scope is no expert */
} pk_weight;

enum { PK_WEIGHT_NAME_BYTES = 96 };

typedef struct {
    char name[PK_WEIGHT_NAME_BYTES];
    unsigned rank;     /* 1 or 2 */
    uint64_t shape[2]; /* [out, in], or [size, 0]; a shared expert's inner size is 0: only the tensors know it */
} pk_weight_spec;

/* How a checkpoint calls the tensors of the mixtures. */
typedef enum {
    PK_NAMES_NEUTRAL = 0, /* of a name: it is the same in both */
    PK_NAMES_OFFICIAL,    /* block_sparse_moe.gate, block_sparse_moe.experts.{e}.w1 … */
    PK_NAMES_IN_TREE,     /* mlp.gate, mlp.experts.gate_up_proj [E, 2F, H], mlp.experts.down_proj [E, H, F] */
} pk_naming;

/* Where a weight lies: rows [first_row, first_row + rows) (pk_tensor_rows) of the tensor `name`. */
typedef struct {
    char name[PK_WEIGHT_NAME_BYTES];
    unsigned rank;     /* 1 to 3 */
    uint64_t shape[3]; /* 0: any size */
    bool fused;        /* with other weights, in one tensor */
    uint64_t first_row, rows;
} pk_weight_place;

pk_weight_scope pk_weight_scope_of(pk_weight_role role);

/* Whether a model of this config has such a weight (with tied embeddings there is no HEAD). */
bool pk_weight_exists(const pk_model_config *config, pk_weight weight);

/* Published name and expected shape. The weight must exist. */
pk_weight_spec pk_weight_describe(const pk_model_config *config, pk_weight weight);

/* Where a checkpoint of this naming stores it. */
pk_weight_place pk_weight_stored(const pk_model_config *config, pk_naming naming, pk_weight weight);

/* A weight as a checkpoint stores it. The entries' views live as long as the checkpoint. */
typedef struct {
    pk_dtype dtype;         /* of the values; PK_I8 or PK_I4: integers, and scales beside them (quantization.h) */
    uint64_t shape[2];      /* [out, in], or [size, 0] */
    pk_tensor_entry values; /* of PK_I4: I32 [out, ceil(in / 8)] */
    pk_tensor_entry scales; /* of quantised ones: [out, pk_groups(in)]; else all zero */
} pk_weight_entry;

/* Whether a checkpoint of a quantised model may hold this weight as integers: a matrix, published name, no embedding. */
bool pk_weight_quantizes(const pk_weight_place *place, pk_weight_role role);

/* To which naming a tensor's name belongs. */
pk_naming pk_naming_of_name(const char *name);

/* The naming that a checkpoint keeps to. PK_CORRUPT: it has names of both; the text has one of each. */
pk_err pk_naming_of(const pk_checkpoint *checkpoint, pk_naming *out);

/* The checkpoint's tensors for this weight, checked; of a fused tensor that part which it is, an entry like any other,
 * whose name is the tensor's. HEAD of a tied model is the embedding. A shared expert's inner size S is what the layer's
 * gate_proj says, and its other tensors must agree. PK_CORRUPT as pk_checkpoint_require; where the tensor is missing the
 * text has the nearest name among those that the model has no use for. */
pk_err pk_weight_find(const pk_checkpoint *checkpoint, const pk_model_config *config, pk_naming naming,
                      pk_weight weight, pk_weight_entry *out);

/* Constants that transformers' own tree stores beside the weights and that follow from the config: decay tables and
 * slopes. A checkpoint may have them, nobody reads them. */
bool pk_weight_is_constant(const char *name);

/* All weights of a model in the order of published files: embedding, layer by layer, final norm, head. Begin with a
 * zeroed walk; false at the end. */
typedef struct {
    size_t stage, layer, role, expert; /* the walk's own */
} pk_weight_walk;
bool pk_weight_next(const pk_model_config *config, pk_weight_walk *walk, pk_weight *out);

#endif
