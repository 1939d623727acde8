/* ops.h - the operations of a forward pass, and the device that runs them.
 *
 * One table of functions, one implementation of it per backend (gpu/cpu, later gpu/cuda). What each operation computes,
 * down to the order of every addition, is docs/numerics.md: an operation here is *the* definition, and every
 * implementation of it gives the same bits for any number of rows, any split into calls, any number of threads.
 *
 * All arrays are row-major and, unless said otherwise, float32 in the device's memory. Inputs and outputs do not overlap
 * except where an operation says "in place". No pointer needs more than the alignment of its element (activations may
 * lie in a received message). A call returns when its result is there. One thread per device object.
 *
 * The operations have no shapes of their own to check: a wrong shape is the caller's bug (assert). Errors are those of
 * the device; of the CPU's, lightning and softmax may answer PK_NOMEM when a larger shape makes their scratch grow. */
#ifndef PK_GPU_OPS_H
#define PK_GPU_OPS_H

#include "ipc/dtype.h"
#include "ipc/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    PK_LIGHTNING_BLOCK = 64, /* positions per lightning block; numerics.md, fixed */
    PK_KV_TILE = 64,         /* positions per softmax tile */
    PK_KV_SPAN = 4096,       /* positions per softmax span, a multiple of PK_KV_TILE */
};

typedef struct pk_device pk_device;

/* A weight matrix, y = W x, packed for the device. `data` belongs to whoever allocated pk_matrix_bytes for it. A weight
 * of PK_I8 or PK_I4 is an integer times the scale of its output and group of PK_GROUP inputs. */
typedef struct {
    pk_dtype dtype; /* PK_F32, PK_BF16, PK_F16, PK_I8 or PK_I4, as stored */
    size_t outputs, inputs;
    void *data;
} pk_matrix;

/* Lightning state of one sequence at one layer: the boundary matrix, and keys and values since that boundary. */
typedef struct {
    float *matrix; /* [heads][dim of k][dim of v] at the last multiple of PK_LIGHTNING_BLOCK */
    float *keys;   /* [heads][dim][PK_LIGHTNING_BLOCK]: a query's products with them run along lanes */
    float *values; /* [heads][PK_LIGHTNING_BLOCK][dim]; of both, position % PK_LIGHTNING_BLOCK positions are valid */
} pk_lightning_state;

/* Rows of one sequence inside a batch: rows [first_row, first_row + rows) stand at positions position, position+1, … */
typedef struct {
    size_t first_row, rows;
    uint32_t position;
    pk_lightning_state state; /* before the first row when the call starts, after the last when it returns */
} pk_lightning_span;

typedef struct {
    float *out;          /* [rows, heads * dim] */
    const float *qkv;    /* [rows, heads * 3 * dim], after silu: per head dim of q, dim of k, dim of v */
    const float *decay;  /* [heads][PK_LIGHTNING_BLOCK + 1], pk_lightning_decay */
    size_t heads, dim;
    const pk_lightning_span *spans; /* of distinct sequences */
    size_t span_count;
} pk_lightning;

/* KV cache of one sequence at one layer, of pk_kv_bytes(capacity). In tiles of PK_KV_TILE positions, so that memory is
 * touched in order of position: tile t holds keys [kv_heads][dim][PK_KV_TILE], then values [kv_heads][PK_KV_TILE][dim]. */
typedef struct {
    size_t first_row, rows;
    uint32_t position; /* the cache holds this many positions before the call, position + rows after */
    float *cache;
} pk_softmax_span;

typedef struct {
    float *out;        /* [rows, heads * dim] */
    const float *q;    /* [rows, heads * dim], after rope */
    const float *k, *v; /* [rows, kv_heads * dim], k after rope; appended to the caches */
    size_t heads, kv_heads, dim; /* query head a reads key head a / (heads / kv_heads) */
    const pk_softmax_span *spans;
    size_t span_count;
} pk_softmax;

typedef struct pk_ops {
    const char *name; /* "cpu:plain", "cpu:avx2", "cpu:avx512" */

    /* Device memory, at least 64-byte aligned and zero; NULL when there is none left. Lazily backed: untouched pages
     * cost nothing on the CPU. */
    void *(*alloc)(pk_device *, size_t bytes);
    void (*free)(pk_device *, void *data, size_t bytes);
    /* Gives the contents back to the system: reads as zero afterwards. Whole pages inside the range only. */
    void (*forget)(pk_device *, void *data, size_t bytes);

    /* Rows [first_output, first_output + count) of the stored [outputs, inputs] matrix, into the packed place. Ranges may
     * come in any order and from several threads at once as long as they do not overlap. A row of PK_I4 is I32 words of
     * eight weights, the first in the lowest four bits, as weight + 8; what is left of the last word is not looked at. */
    void (*pack)(const pk_matrix *, size_t first_output, size_t count, const void *rows);

    /* The scales of a quantised matrix, likewise: rows [count, pk_groups(inputs)] of dtype PK_F32, PK_BF16 or PK_F16. */
    void (*pack_scales)(const pk_matrix *, size_t first_output, size_t count, const void *rows, pk_dtype dtype);

    /* out[i, :] = table row ids[i], expanded. table: stored rows [vocabulary, width] of dtype, not packed. */
    pk_err (*embed)(pk_device *, float *out, const void *table, pk_dtype dtype, size_t width, const int32_t *ids,
                    size_t rows);

    /* y [rows, outputs] = x [rows, inputs] Wᵀ. */
    pk_err (*matmul)(pk_device *, float *y, const float *x, size_t rows, const pk_matrix *w);

    /* Rows sorted by group: rows [offsets[g], offsets[g+1]) of x are multiplied by w[g]; all w have one shape.
     * Groups may be empty. offsets [groups + 1] ascending. */
    pk_err (*matmul_grouped)(pk_device *, float *y, const float *x, size_t groups, const size_t *offsets,
                             const pk_matrix *w);

    /* y[r, i] = w[i] · (x[r, i] · 1/√(mean square + eps)). May be in place (y == x). */
    pk_err (*rmsnorm)(pk_device *, float *y, const float *x, const float *w, size_t rows, size_t width, float eps);

    /* x = alpha·residual + beta·x, in place; count elements. */
    pk_err (*residual)(pk_device *, float *x, const float *residual, size_t count, float alpha, float beta);

    /* x = silu(x), in place. */
    pk_err (*silu)(pk_device *, float *x, size_t count);
    /* x = silu(x) · up, in place. */
    pk_err (*swiglu)(pk_device *, float *x, const float *up, size_t count);
    /* x = sigmoid(gate) · x, in place. */
    pk_err (*gate)(pk_device *, float *x, const float *gate, size_t count);

    pk_err (*lightning)(pk_device *, const pk_lightning *);

    /* The state as of the tail's end: out [heads][dim][dim] = P[m]·S + increment of the m tail rows. */
    pk_err (*lightning_state)(pk_device *, float *out, const pk_lightning_state *, size_t tail_rows, const float *decay,
                              size_t heads, size_t dim);

    /* Rotates the first rotary_dim entries of every head of x [rows, heads * dim] in place. positions [rows];
     * inverse [rotary_dim / 2], pk_rope_inverse. */
    pk_err (*rope)(pk_device *, float *x, const uint32_t *positions, const float *inverse, size_t rows, size_t heads,
                   size_t dim, size_t rotary_dim);

    pk_err (*softmax)(pk_device *, const pk_softmax *);

    /* The top `chosen` experts of each row, best first: ids [rows, chosen], weights [rows, chosen].
     * logits [rows, experts]. */
    pk_err (*route)(pk_device *, int32_t *ids, float *weights, const float *logits, size_t rows, size_t experts,
                    size_t chosen);

    /* out[i, :] = in[index[i], :] */
    pk_err (*gather)(pk_device *, float *out, const float *in, const uint32_t *index, size_t rows, size_t width);

    /* out[r, :] = sum over rank of weights[r, rank] · in[index[r, rank], :], in rank order from +0. */
    pk_err (*combine)(pk_device *, float *out, const float *in, const uint32_t *index, const float *weights, size_t rows,
                      size_t chosen, size_t width);

    /* moe[r, :] = (1 − c)·moe + c·mlp with c = sigmoid(coefficient[r]), in place. */
    pk_err (*mix_shared)(pk_device *, float *moe, const float *mlp, const float *coefficient, size_t rows, size_t width);
} pk_ops;

/* Bumped from any thread. C++, in which kernels are written, has no _Atomic: there it is only handed on. */
#ifdef __cplusplus
typedef uint64_t pk_work_counter;
#else
typedef _Atomic uint64_t pk_work_counter;
#endif

typedef struct {
    const char *backend; /* "cpu" (the fastest that this processor runs), "cpu:plain", "cpu:avx2", "cpu:avx512"; view */
    unsigned threads;    /* at least 1; the calling thread is one of them */
    /* Bumped for every piece of work done, from any of its threads; the sign of life that beats carry. May be NULL. */
    pk_work_counter *progress;
} pk_device_options;

/* PK_INVALID: no such backend, or this processor cannot run it. */
pk_err pk_device_open(pk_device **out, pk_device_options options);
const pk_ops *pk_device_ops(const pk_device *device);
void pk_device_close(pk_device **device);

/* Bytes of a packed matrix / of a KV cache of `capacity` positions. */
size_t pk_matrix_bytes(pk_dtype dtype, size_t outputs, size_t inputs);
size_t pk_kv_bytes(size_t capacity, size_t kv_heads, size_t dim);

/* decay [heads][PK_LIGHTNING_BLOCK + 1]: fl(exp(−s·f·k)), model.md §4.1; layer counts all layers of the model. */
void pk_lightning_decay(float *decay, size_t heads, size_t layer, size_t layers);

/* inverse [rotary_dim / 2]: 1 / fl(theta^(2i/rotary_dim)), model.md §4.2. */
void pk_rope_inverse(float *inverse, double theta, size_t rotary_dim);

#endif
