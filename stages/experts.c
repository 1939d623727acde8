/* Experts of this process. Rows are grouped by expert, in their order, so that each expert's matrices are read once;
 * each row's sums are the same in any group. */
#include "stages/experts.h"

#include <assert.h>
#include <stdlib.h>

/* One layer's experts. */
typedef struct {
    pk_matrix *gate, *up, *down; /* [experts] */
} bank;

typedef struct {
    pk_experts base; /* first: the layer's view */
    pk_device *device;
    const pk_ops *ops;
    size_t first_layer, layers, experts, chosen, hidden, inner, batch_rows;
    pk_matrix *matrices; /* of all banks */
    bank *banks;
    size_t *offsets;             /* [experts + 1] */
    uint32_t *sources, *places;  /* [batch_rows × chosen]: grouped row -> row; row and rank -> grouped row */
    float *grouped, *gated, *up; /* [batch_rows × chosen, hidden], [… inner], [… inner] */
    size_t grouped_bytes, inner_bytes;
} local_experts;

void pk_experts_close(pk_experts **experts)
{
    if (*experts)
        (*experts)->close(*experts);
    *experts = NULL;
}

static void close_local(pk_experts *experts)
{
    local_experts *l = (local_experts *)experts;
    l->ops->free(l->device, l->grouped, l->grouped_bytes);
    l->ops->free(l->device, l->gated, l->inner_bytes);
    l->ops->free(l->device, l->up, l->inner_bytes);
    free(l->matrices);
    free(l->banks);
    free(l->offsets);
    free(l->sources);
    free(l->places);
    free(l);
}

/* Counting sort of (row, rank) by expert. */
static void group(local_experts *l, const pk_expert_call *call)
{
    size_t pairs = call->rows * l->chosen, *offsets = l->offsets;
    for (size_t e = 0; e <= l->experts; e++)
        offsets[e] = 0;
    for (size_t i = 0; i < pairs; i++) {
        assert(call->ids[i] >= 0 && (size_t)call->ids[i] < l->experts);
        offsets[call->ids[i] + 1]++;
    }
    for (size_t e = 0; e < l->experts; e++)
        offsets[e + 1] += offsets[e];
    for (size_t i = 0; i < pairs; i++) {
        size_t place = offsets[call->ids[i]]++;
        l->places[i] = (uint32_t)place;
        l->sources[place] = (uint32_t)(i / l->chosen);
    }
    /* Each offset has moved to its group's end, where the next begins. */
    for (size_t e = l->experts; e > 0; e--)
        offsets[e] = offsets[e - 1];
    offsets[0] = 0;
}

static pk_err run_local(pk_experts *experts, const pk_expert_call *call)
{
    local_experts *l = (local_experts *)experts;
    const pk_ops *ops = l->ops;
    const bank *at = &l->banks[call->layer - l->first_layer];
    size_t pairs = call->rows * l->chosen;
    assert(call->rows <= l->batch_rows && call->layer >= l->first_layer && call->layer - l->first_layer < l->layers);
    group(l, call);
    pk_err err = ops->gather(l->device, l->grouped, call->y, l->sources, pairs, l->hidden);
    if (!err)
        err = ops->matmul_grouped(l->device, l->gated, l->grouped, l->experts, l->offsets, at->gate);
    if (!err)
        err = ops->matmul_grouped(l->device, l->up, l->grouped, l->experts, l->offsets, at->up);
    if (!err)
        err = ops->swiglu(l->device, l->gated, l->up, pairs * l->inner);
    if (!err) /* the gathered input is used up */
        err = ops->matmul_grouped(l->device, l->grouped, l->gated, l->experts, l->offsets, at->down);
    if (!err)
        err =
            ops->combine(l->device, call->out, l->grouped, l->places, call->weights, call->rows, l->chosen, l->hidden);
    return err;
}

static pk_err want_bank(local_experts *l, pk_weights *weights, size_t index)
{
    bank *at = &l->banks[index];
    pk_err err = PK_OK;
    at->gate = l->matrices + index * 3 * l->experts;
    at->up = at->gate + l->experts;
    at->down = at->up + l->experts;
    for (size_t expert = 0; !err && expert < l->experts; expert++) {
        pk_weight weight = {.role = PK_WEIGHT_EXPERT_GATE, .layer = l->first_layer + index, .expert = expert};
        err = pk_weights_matrix(weights, weight, &at->gate[expert]);
        weight.role = PK_WEIGHT_EXPERT_UP;
        if (!err)
            err = pk_weights_matrix(weights, weight, &at->up[expert]);
        weight.role = PK_WEIGHT_EXPERT_DOWN;
        if (!err)
            err = pk_weights_matrix(weights, weight, &at->down[expert]);
    }
    return err;
}

static pk_err allocate(local_experts *l)
{
    size_t pairs = l->batch_rows * l->chosen;
    l->grouped_bytes = pairs * l->hidden * sizeof(float);
    l->inner_bytes = pairs * l->inner * sizeof(float);
    l->matrices = calloc(l->layers * l->experts, 3 * sizeof *l->matrices);
    l->banks = calloc(l->layers, sizeof *l->banks);
    l->offsets = calloc(l->experts + 1, sizeof *l->offsets);
    l->sources = calloc(pairs, sizeof *l->sources);
    l->places = calloc(pairs, sizeof *l->places);
    l->grouped = l->ops->alloc(l->device, l->grouped_bytes);
    l->gated = l->ops->alloc(l->device, l->inner_bytes);
    l->up = l->ops->alloc(l->device, l->inner_bytes);
    if (!l->matrices || !l->banks || !l->offsets || !l->sources || !l->places || !l->grouped || !l->gated || !l->up)
        return pk_fail(PK_NOMEM, "room for %zu rows at %zu experts each", l->batch_rows, l->chosen);
    return PK_OK;
}

pk_err pk_local_experts_open(pk_experts **out, pk_local_experts_options options)
{
    const pk_model_config *model = pk_weights_model(options.weights);
    local_experts *l = calloc(1, sizeof *l);
    if (!l)
        return pk_fail(PK_NOMEM, "experts");
    *l = (local_experts){.base = {.run = run_local, .close = close_local},
                         .device = options.device,
                         .ops = pk_device_ops(options.device),
                         .first_layer = options.first_layer,
                         .layers = options.last_layer - options.first_layer + 1,
                         .experts = model->experts,
                         .chosen = model->experts_per_token,
                         .hidden = model->hidden,
                         .inner = model->inner,
                         .batch_rows = options.batch_rows};
    pk_err err = allocate(l);
    for (size_t i = 0; !err && i < l->layers; i++)
        err = want_bank(l, options.weights, i);
    *out = &l->base;
    if (err)
        pk_experts_close(out);
    return err;
}
