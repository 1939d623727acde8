#include "stages/layer.h"

#include <inttypes.h>

/* docs/model.md §4.1: the lightning output norm has an epsilon of its own. */
#define LIGHTNING_NORM_EPS 1e-6f

typedef struct {
    pk_weight_role role;
    pk_matrix *matrix; /* or: */
    const float **vector;
} wish;

static pk_err want_all(pk_weights *weights, size_t layer, const wish *wishes, size_t count)
{
    pk_err err = PK_OK;
    for (size_t i = 0; !err && i < count; i++) {
        pk_weight weight = {.role = wishes[i].role, .layer = layer};
        err = wishes[i].matrix ? pk_weights_matrix(weights, weight, wishes[i].matrix)
                               : pk_weights_vector(weights, weight, wishes[i].vector);
    }
    return err;
}
#define WANT_ALL(weights, layer, wishes) want_all(weights, layer, wishes, sizeof(wishes) / sizeof *(wishes))

static pk_err want_lightning(pk_layer *l, pk_weights *weights)
{
    const wish wishes[] = {{PK_WEIGHT_QKV, .matrix = &l->qkv},
                           {PK_WEIGHT_OUTPUT_GATE, .matrix = &l->output_gate},
                           {PK_WEIGHT_ATTENTION_NORM, .vector = &l->attention_norm},
                           {PK_WEIGHT_OUT, .matrix = &l->out}};
    size_t heads = l->model->heads;
    l->decay_bytes = heads * (PK_LIGHTNING_BLOCK + 1) * sizeof(float);
    if (!(l->decay = pk_device_ops(l->device)->alloc(l->device, l->decay_bytes)))
        return pk_fail(PK_NOMEM, "a decay table of %zu bytes", l->decay_bytes);
    pk_lightning_decay(l->decay, heads, l->index, l->model->layers);
    return WANT_ALL(weights, l->index, wishes);
}

static pk_err want_softmax(pk_layer *l, pk_weights *weights)
{
    const wish wishes[] = {{PK_WEIGHT_Q, .matrix = &l->q},
                           {PK_WEIGHT_K, .matrix = &l->k},
                           {PK_WEIGHT_V, .matrix = &l->v},
                           {PK_WEIGHT_O, .matrix = &l->o}};
    return WANT_ALL(weights, l->index, wishes);
}

static pk_err want_shared(pk_layer *l, pk_weights *weights)
{
    const wish wishes[] = {{PK_WEIGHT_SHARED_GATE, .matrix = &l->shared_gate},
                           {PK_WEIGHT_SHARED_UP, .matrix = &l->shared_up},
                           {PK_WEIGHT_SHARED_DOWN, .matrix = &l->shared_down},
                           {PK_WEIGHT_SHARED_COEFFICIENT, .matrix = &l->coefficient}};
    return WANT_ALL(weights, l->index, wishes);
}

pk_err pk_layer_init(pk_layer *layer, pk_device *device, pk_weights *weights, size_t index)
{
    const wish wishes[] = {{PK_WEIGHT_INPUT_NORM, .vector = &layer->input_norm},
                           {PK_WEIGHT_POST_ATTENTION_NORM, .vector = &layer->post_attention_norm},
                           {PK_WEIGHT_ROUTER, .matrix = &layer->router}};
    layer->index = index;
    layer->device = device;
    layer->model = pk_weights_model(weights);
    layer->kind = (pk_layer_kind)layer->model->kind[index];
    pk_err err = WANT_ALL(weights, index, wishes);
    if (!err)
        err = layer->kind == PK_LAYER_LIGHTNING ? want_lightning(layer, weights) : want_softmax(layer, weights);
    if (!err && layer->model->shared_expert)
        err = want_shared(layer, weights);
    return err;
}

void pk_layer_fini(pk_layer *layer)
{
    if (layer->decay)
        pk_device_ops(layer->device)->free(layer->device, layer->decay, layer->decay_bytes);
    *layer = (pk_layer){0};
}

size_t pk_layer_shared_inner(const pk_layer *layer)
{
    return layer->model->shared_expert ? layer->shared_gate.outputs : 0;
}

static void lightning_spans(const pk_layer *l, const pk_layer_context *context, const pk_layer_rows *rows)
{
    for (size_t i = 0; i < rows->span_count; i++) {
        const pk_layer_span *span = &rows->spans[i];
        context->workspace->lightning[i] =
            (pk_lightning_span){.first_row = span->first_row,
                                .rows = span->rows,
                                .position = span->position,
                                .state = pk_sequences_lightning(context->sequences, span->slot, l->index)};
    }
}

/* out [rows, hidden] of the normalised input in workspace->y. */
static pk_err lightning_attention(const pk_layer *l, const pk_layer_context *context, const pk_layer_rows *rows,
                                  float *out)
{
    const pk_ops *ops = pk_device_ops(l->device);
    pk_workspace *w = context->workspace;
    size_t width = l->model->heads * l->model->head_dim, n = rows->rows;
    lightning_spans(l, context, rows);
    pk_err err = ops->matmul(l->device, w->wide, w->y, n, &l->qkv);
    if (!err)
        err = ops->silu(l->device, w->wide, n * 3 * width);
    if (!err)
        err = ops->lightning(l->device, &(pk_lightning){.out = w->mixed,
                                                        .qkv = w->wide,
                                                        .decay = l->decay,
                                                        .heads = l->model->heads,
                                                        .dim = l->model->head_dim,
                                                        .spans = w->lightning,
                                                        .span_count = rows->span_count});
    if (!err)
        err = ops->rmsnorm(l->device, w->mixed, w->mixed, l->attention_norm, n, width, LIGHTNING_NORM_EPS);
    if (!err)
        err = ops->matmul(l->device, w->gate, w->y, n, &l->output_gate);
    if (!err)
        err = ops->gate(l->device, w->mixed, w->gate, n * width);
    return err ? err : ops->matmul(l->device, out, w->mixed, n, &l->out);
}

static void softmax_spans(const pk_layer *l, const pk_layer_context *context, const pk_layer_rows *rows)
{
    for (size_t i = 0; i < rows->span_count; i++) {
        const pk_layer_span *span = &rows->spans[i];
        context->workspace->softmax[i] =
            (pk_softmax_span){.first_row = span->first_row,
                              .rows = span->rows,
                              .position = span->position,
                              .cache = pk_sequences_cache(context->sequences, span->slot, l->index)};
    }
}

static pk_err rope(const pk_layer *l, const pk_workspace *w, const pk_layer_rows *rows, float *x, size_t heads)
{
    return pk_device_ops(l->device)->rope(l->device, x, rows->positions, w->rope_inverse, rows->rows, heads,
                                          l->model->head_dim, l->model->rotary_dim);
}

static pk_err softmax_attention(const pk_layer *l, const pk_layer_context *context, const pk_layer_rows *rows,
                                float *out)
{
    const pk_ops *ops = pk_device_ops(l->device);
    pk_workspace *w = context->workspace;
    size_t n = rows->rows, heads = l->model->heads, kv_heads = l->model->kv_heads, dim = l->model->head_dim;
    float *q = w->wide, *k = q + n * heads * dim, *v = k + n * kv_heads * dim;
    softmax_spans(l, context, rows);
    pk_err err = ops->matmul(l->device, q, w->y, n, &l->q);
    if (!err)
        err = ops->matmul(l->device, k, w->y, n, &l->k);
    if (!err)
        err = ops->matmul(l->device, v, w->y, n, &l->v);
    if (!err)
        err = rope(l, w, rows, q, heads);
    if (!err)
        err = rope(l, w, rows, k, kv_heads);
    if (!err)
        err = ops->softmax(l->device, &(pk_softmax){.out = w->mixed,
                                                    .q = q,
                                                    .k = k,
                                                    .v = v,
                                                    .heads = heads,
                                                    .kv_heads = kv_heads,
                                                    .dim = dim,
                                                    .spans = w->softmax,
                                                    .span_count = rows->span_count});
    return err ? err : ops->matmul(l->device, out, w->mixed, n, &l->o);
}

/* moe = (1 − c)·moe + c·mlp, docs/model.md §5.3. */
static pk_err add_shared_expert(const pk_layer *l, pk_workspace *w, size_t rows, float *moe)
{
    const pk_ops *ops = pk_device_ops(l->device);
    pk_err err = ops->matmul(l->device, w->shared_gate, w->y, rows, &l->shared_gate);
    if (!err)
        err = ops->matmul(l->device, w->shared_up, w->y, rows, &l->shared_up);
    if (!err)
        err = ops->swiglu(l->device, w->shared_gate, w->shared_up, rows * l->shared_gate.outputs);
    if (!err)
        err = ops->matmul(l->device, w->mlp, w->shared_gate, rows, &l->shared_down);
    if (!err)
        err = ops->matmul(l->device, w->coefficient, w->y, rows, &l->coefficient);
    return err ? err : ops->mix_shared(l->device, moe, w->mlp, w->coefficient, rows, l->model->hidden);
}

/* out [rows, hidden] of the normalised input in workspace->y. */
static pk_err mixture(const pk_layer *l, const pk_layer_context *context, size_t rows, float *out)
{
    const pk_ops *ops = pk_device_ops(l->device);
    pk_workspace *w = context->workspace;
    pk_err err = ops->matmul(l->device, w->logits, w->y, rows, &l->router);
    if (!err)
        err =
            ops->route(l->device, w->ids, w->weights, w->logits, rows, l->model->experts, l->model->experts_per_token);
    if (!err)
        err = context->experts->run(
            context->experts,
            &(pk_expert_call){
                .layer = l->index, .rows = rows, .y = w->y, .ids = w->ids, .weights = w->weights, .out = out});
    if (!err && l->model->shared_expert)
        err = add_shared_expert(l, w, rows, out);
    return err;
}

static pk_err norm(const pk_layer *l, float *y, const float *x, const float *weights, size_t rows)
{
    return pk_device_ops(l->device)->rmsnorm(l->device, y, x, weights, rows, l->model->hidden,
                                             (float)l->model->rms_norm_eps);
}

static pk_err add_residual(const pk_layer *l, float *x, const float *residual, size_t rows, pk_residual_scale scale)
{
    return pk_device_ops(l->device)->residual(l->device, x, residual, rows * l->model->hidden, (float)scale.alpha,
                                              (float)scale.beta);
}

/* Each half writes where the other's residual does not lie. */
pk_err pk_layer_attend(const pk_layer *layer, const pk_layer_context *context, const pk_layer_rows *rows,
                       const float *x)
{
    bool lightning = layer->kind == PK_LAYER_LIGHTNING;
    pk_workspace *w = context->workspace;
    pk_err err = norm(layer, w->y, x, layer->input_norm, rows->rows);
    if (!err)
        err = lightning ? lightning_attention(layer, context, rows, w->branch)
                        : softmax_attention(layer, context, rows, w->branch);
    if (!err)
        err = add_residual(layer, w->branch, layer->model->postnorm ? w->y : x, rows->rows,
                           lightning ? layer->model->lightning_scale : layer->model->softmax_scale);
    return pk_pass(err, "layer %zu", layer->index);
}

pk_err pk_layer_mix(const pk_layer *layer, const pk_layer_context *context, size_t rows, float *x)
{
    pk_workspace *w = context->workspace;
    pk_err err = norm(layer, w->y, w->branch, layer->post_attention_norm, rows);
    if (!err)
        err = mixture(layer, context, rows, x);
    if (!err)
        err = add_residual(layer, x, layer->model->postnorm ? w->y : w->branch, rows, layer->model->mlp_scale);
    return pk_pass(err, "layer %zu", layer->index);
}
