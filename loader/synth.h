/* synth.h - writes a random checkpoint of any shape, laid out like a published one.
 *
 * For measuring and testing at sizes that nobody wants to download: config.json (dialect minimax_m1), shards
 * model-00000-of-000NN.safetensors and model.safetensors.index.json. Weights have a spread of 1/√inputs and norms lie
 * around 1, so activations neither die nor explode. Each element is a pure function of seed, tensor name and index: the
 * same options give the same bytes, and the sharding changes none of them. */
#ifndef PK_LOADER_SYNTH_H
#define PK_LOADER_SYNTH_H

#include "ipc/dtype.h"
#include "ipc/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    const char *dir; /* made; refused when it exists and is not empty */

    size_t hidden, layers, heads, head_dim, kv_heads, rotary_dim;
    size_t inner, experts, experts_per_token;
    size_t shared_inner; /* 0: no shared expert */
    size_t vocab, max_positions;
    size_t softmax_every; /* layers N-1, 2N-1, … are softmax layers; 0: none, 1: all */
    bool postnorm, tie_word_embeddings;
    double alpha; /* of all three residuals; 0: (2·layers)^¼ */
    double beta;
    double rope_theta, rms_norm_eps;
    int64_t eos_id; /* -1: null in config.json */

    pk_dtype dtype; /* PK_BF16, PK_F16 or PK_F32; router gates are PK_F32 always, as published */
    uint64_t seed;
    uint64_t shard_bytes;  /* a shard is closed when the next tensor would exceed this; at least one tensor each */
    const char *tokenizer; /* a file that is copied in as tokenizer.json; NULL: none. A tokenizer_config.json beside it
                            * is copied too */

    /* Called about every 4 MiB with bytes written and bytes in all; may be NULL. */
    void (*progress)(void *context, uint64_t done, uint64_t total);
    void *progress_context;
} pk_synth_options;

/* A small model (22 MB) with everything set but `dir`. */
pk_synth_options pk_synth_defaults(void);

/* Bytes of all tensors. PK_INVALID: a shape that pk_config_read would refuse, with the field's name. */
pk_err pk_synth_bytes(const pk_synth_options *options, uint64_t *out);

/* Writes the checkpoint under a temporary name beside `dir` and renames it when it is complete. PK_INVALID: options, or
 * `dir` is taken; PK_IO. On failure nothing is left. */
pk_err pk_synth(const pk_synth_options *options);

#endif
