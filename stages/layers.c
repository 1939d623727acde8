#include "stages/layers.h"
#include "stages/compute.h"
#include "stages/expect.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static uint64_t larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static pk_err check_part(pk_layers *l, const pk_assignment *a)
{
    if (a->first_layer > a->last_layer || a->last_layer >= l->model->layers)
        return pk_fail(PK_INVALID, "layers %" PRIu64 " to %" PRIu64 " are assigned, the model has 0 to %zu",
                       a->first_layer, a->last_layer, l->model->layers - 1);
    l->embeds = a->first_layer == 0;
    l->last = a->last_layer == l->model->layers - 1;
    l->layer_count = (size_t)(a->last_layer - a->first_layer + 1);
    return PK_OK;
}

static pk_err want_weights(pk_layers *l, const pk_assignment *a)
{
    pk_err err = PK_OK;
    if (!(l->layers = calloc(l->layer_count, sizeof *l->layers)))
        return pk_fail(PK_NOMEM, "%zu layers", l->layer_count);
    if (l->embeds)
        err = pk_weights_table(l->weights, (pk_weight){.role = PK_WEIGHT_EMBED}, &l->embedding);
    for (size_t i = 0; !err && i < l->layer_count; i++)
        err = pk_layer_init(&l->layers[i], l->device, l->weights, (size_t)a->first_layer + i);
    if (!err)
        err = pk_local_experts_open(&l->experts, (pk_local_experts_options){.device = l->device,
                                                                            .weights = l->weights,
                                                                            .first_layer = (size_t)a->first_layer,
                                                                            .last_layer = (size_t)a->last_layer,
                                                                            .batch_rows = (size_t)a->batch_rows});
    return err;
}

static void set_limits(const pk_layers *l, pk_stage *stage)
{
    const pk_assignment *a = &stage->assignment;
    uint64_t hidden = l->model->hidden,
             state = l->model->heads * l->model->head_dim * l->model->head_dim * sizeof(float);
    stage->in = pk_compute_limits(a, (l->embeds ? 1 : hidden) * sizeof(float));
    stage->out = pk_compute_limits(a, hidden * sizeof(float));
    stage->trace = pk_compute_limits(a, larger(hidden, l->model->experts_per_token) * sizeof(float));
    stage->trace.payload_bytes = larger(stage->trace.payload_bytes, state < UINT32_MAX ? state : UINT32_MAX);
}

static pk_err open_room(pk_layers *l, const pk_assignment *a)
{
    size_t shared_inner = 0, rows = (size_t)a->batch_rows, spans = l->stage->in.spans;
    for (size_t i = 0; i < l->layer_count; i++)
        shared_inner = larger(shared_inner, pk_layer_shared_inner(&l->layers[i]));
    l->spans = calloc(rows, sizeof *l->spans);
    l->positions = calloc(rows, sizeof *l->positions);
    l->seen = calloc((size_t)a->sequences, sizeof *l->seen);
    l->shrunk = calloc(spans, sizeof *l->shrunk);
    l->traced = calloc(spans, sizeof *l->traced);
    if (!l->spans || !l->positions || !l->seen || !l->shrunk || !l->traced)
        return pk_fail(PK_NOMEM, "room for batches of %zu rows", rows);
    pk_err err = pk_workspace_init(&l->workspace, l->device, l->model, rows, shared_inner);
    if (!err && l->embeds)
        err = pk_buffer_pool_open(&l->activations, rows * l->model->hidden * sizeof(float));
    if (!err)
        err = pk_sequences_open(&l->sequences, (pk_sequences_options){.device = l->device,
                                                                      .model = l->model,
                                                                      .first_layer = (size_t)a->first_layer,
                                                                      .last_layer = (size_t)a->last_layer,
                                                                      .sequences = (size_t)a->sequences,
                                                                      .context = a->context});
    return err;
}

static pk_err layers_open(void *self, pk_stage *stage)
{
    pk_layers *l = self;
    const pk_assignment *a = &stage->assignment;
    l->stage = stage;
    pk_err err = pk_compute_open(&l->device, stage);
    if (err || (err = pk_weights_open(&l->weights, l->device, a->model)))
        return err;
    l->model = pk_weights_model(l->weights);
    if ((err = check_part(l, a)) || (err = want_weights(l, a)))
        return err;
    set_limits(l, stage);
    if ((err = open_room(l, a)))
        return err;
    return pk_weights_load(l->weights, stage);
}

static void layers_reset(void *self)
{
    pk_layers *l = self;
    pk_sequences_reset(l->sequences);
}

static void layers_close(void *self)
{
    pk_layers *l = self;
    pk_sequences_close(&l->sequences);
    pk_workspace_fini(&l->workspace);
    pk_experts_close(&l->experts);
    for (size_t i = 0; l->layers && i < l->layer_count; i++)
        pk_layer_fini(&l->layers[i]);
    free(l->layers);
    pk_weights_close(&l->weights);
    pk_device_close(&l->device);
    pk_buffer_pool_close(&l->activations);
    free(l->spans);
    free(l->positions);
    free(l->seen);
    free(l->shrunk);
    free(l->traced);
    *l = (pk_layers){0};
}

static pk_err expect_input(const pk_layers *l, const pk_batch *in)
{
    pk_err err = l->embeds ? pk_expect_batch(in, PK_KIND_TOKENS, PK_I32, 1)
                           : pk_expect_batch(in, PK_KIND_ACTIVATIONS, PK_F32, l->model->hidden);
    return err ? err : pk_expect_rows(in, l->stage->assignment.batch_rows);
}

/* A batch of the trace link with the place of `in` in the stream. Takes the payload. */
static pk_err send_trace(const pk_layers *l, const pk_batch *in, pk_outbox *outbox, pk_batch trace, pk_op op,
                         pk_buffer *payload)
{
    trace.kind = PK_KIND_TRACE;
    trace.epoch = in->epoch;
    trace.lane = in->lane;
    trace.number = in->number;
    trace.ops = &op;
    trace.op_count = 1;
    return pk_pass(outbox->send(outbox, PK_PORT_TRACE, &trace, payload), "trace of layers %" PRIu64 " to %" PRIu64,
                   l->stage->assignment.first_layer, l->stage->assignment.last_layer);
}

static bool traces(const pk_layers *l)
{
    return l->stage->assignment.trace[0] != '\0';
}

static pk_err trace_state(const pk_layers *l, const pk_batch *in, const pk_layer *layer, size_t slot, uint32_t sequence,
                          uint32_t position, pk_outbox *outbox)
{
    size_t heads = l->model->heads, dim = l->model->head_dim;
    pk_span span = {.sequence = sequence, .position = position, .count = (uint32_t)(heads * dim)};
    pk_lightning_state state = pk_sequences_lightning(l->sequences, slot, layer->index);
    pk_buffer *payload = NULL;
    pk_err err = pk_buffer_open(&payload, heads * dim * dim * sizeof(float));
    if (!err)
        err = pk_device_ops(l->device)->lightning_state(l->device, payload->data, &state, position % PK_LIGHTNING_BLOCK,
                                                        layer->decay, heads, dim);
    if (err) {
        pk_buffer_close(&payload);
        return err;
    }
    return send_trace(l, in, outbox,
                      (pk_batch){.dtype = PK_F32, .width = (uint32_t)dim, .spans = &span, .span_count = 1},
                      (pk_op){.code = PK_OP_TRACE_STATE, .argument = (uint32_t)layer->index}, payload);
}

/* The states of a sequence after the span's tokens. */
static pk_err trace_states(const pk_layers *l, const pk_batch *in, const pk_span *span, pk_outbox *outbox)
{
    size_t slot;
    uint32_t position = span->position + span->count;
    if (!traces(l))
        return pk_fail(PK_PEER, "sequence %" PRIu32 ": its states are asked for, but there is no trace link",
                       span->sequence);
    pk_err err = pk_sequences_at(l->sequences, span->sequence, position, &slot);
    for (size_t i = 0; !err && i < l->layer_count; i++)
        if (l->layers[i].kind == PK_LAYER_LIGHTNING)
            err = trace_state(l, in, &l->layers[i], slot, span->sequence, position, outbox);
    return err;
}

/* STATE or END, once their span's tokens are in the states. */
static pk_err apply_closing_op(pk_layers *l, const pk_batch *in, const pk_op *op, pk_outbox *outbox)
{
    const pk_span *span = &in->spans[op->span];
    if (op->code == PK_OP_STATE)
        return trace_states(l, in, span, outbox);
    return pk_sequences_end(l->sequences, span->sequence);
}

/* Ops before any token of the batch: every START, and whatever stands on a span without tokens. In their order, so that
 * a slot which one sequence leaves can be another's in the same batch. */
static pk_err apply_opening_ops(pk_layers *l, const pk_batch *in, pk_outbox *outbox)
{
    pk_err err = PK_OK;
    for (const pk_op *op = in->ops, *end = op + in->op_count; !err && op < end; op++) {
        const pk_span *span = &in->spans[op->span];
        if (op->code == PK_OP_START)
            err = pk_sequences_start(l->sequences, span->sequence, op->argument);
        else if (op->code != PK_OP_STATE && op->code != PK_OP_END)
            err = pk_fail(PK_PEER, "op %u does not belong to a layers stage", op->code);
        else if (!span->count)
            err = apply_closing_op(l, in, op, outbox);
    }
    return err;
}

static pk_err apply_closing_ops(pk_layers *l, const pk_batch *in, pk_outbox *outbox)
{
    static const uint8_t order[] = {PK_OP_STATE, PK_OP_END};
    pk_err err = PK_OK;
    for (size_t pass = 0; pass < sizeof order; pass++)
        for (const pk_op *op = in->ops, *end = op + in->op_count; !err && op < end; op++)
            if (op->code == order[pass] && in->spans[op->span].count)
                err = apply_closing_op(l, in, op, outbox);
    return err;
}

/* Finds whose rows these are, and refuses what does not follow. */
static pk_err place_rows(pk_layers *l, const pk_batch *in)
{
    l->rows = (pk_layer_rows){.spans = l->spans, .positions = l->positions};
    l->batches++;
    for (const pk_span *span = in->spans, *end = span + in->span_count; span < end; span++) {
        size_t slot;
        if (!span->count)
            continue;
        pk_err err = pk_sequences_follow(l->sequences, span, &slot);
        if (err)
            return err;
        if (l->seen[slot] == l->batches)
            return pk_fail(PK_PEER, "sequence %" PRIu32 " has two spans of tokens in one batch", span->sequence);
        l->seen[slot] = l->batches;
        l->spans[l->rows.span_count++] =
            (pk_layer_span){.slot = slot, .first_row = l->rows.rows, .rows = span->count, .position = span->position};
        for (uint32_t i = 0; i < span->count; i++)
            l->positions[l->rows.rows++] = span->position + i;
    }
    return PK_OK;
}

static pk_err check_ids(const int32_t *ids, size_t rows, size_t vocabulary)
{
    for (size_t i = 0; i < rows; i++)
        if (ids[i] < 0 || (size_t)ids[i] >= vocabulary)
            return pk_fail(PK_PEER, "token id %" PRId32 " in row %zu, the model has ids 0 to %zu", ids[i], i,
                           vocabulary - 1);
    return PK_OK;
}

/* Replaces token ids by their embeddings. */
static pk_err embed(pk_layers *l, pk_buffer **payload)
{
    pk_buffer *ids = *payload;
    size_t rows = l->rows.rows;
    *payload = NULL;
    pk_err err = check_ids(ids->data, rows, l->embedding.rows);
    if (!err)
        err = pk_buffer_pool_take(l->activations, rows * l->model->hidden * sizeof(float), payload);
    if (!err)
        err = pk_device_ops(l->device)->embed(l->device, (*payload)->data, l->embedding.data, l->embedding.dtype,
                                              l->embedding.width, ids->data, rows);
    pk_buffer_close(&ids);
    return err;
}

typedef struct {
    pk_op_code code;
    pk_dtype dtype;
    size_t width;
    const void *data; /* [rows, width] */
} observation;

static pk_err trace_rows(const pk_layers *l, const pk_batch *in, const pk_layer *layer, observation seen,
                         pk_outbox *outbox)
{
    pk_buffer *payload = NULL;
    pk_batch trace = {.dtype = seen.dtype, .width = (uint32_t)seen.width, .spans = l->traced};
    for (uint32_t i = 0; i < in->span_count; i++)
        if (in->spans[i].count)
            l->traced[trace.span_count++] = in->spans[i];
    pk_err err = pk_buffer_open(&payload, l->rows.rows * seen.width * pk_dtype_bytes(seen.dtype));
    if (err)
        return err;
    memcpy(payload->data, seen.data, payload->bytes);
    return send_trace(l, in, outbox, trace, (pk_op){.code = seen.code, .argument = (uint32_t)layer->index}, payload);
}

static pk_err trace_layer(const pk_layers *l, const pk_batch *in, const pk_layer *layer, const float *x,
                          pk_outbox *outbox)
{
    size_t chosen = l->model->experts_per_token;
    const observation seen[] = {{PK_OP_TRACE_HIDDEN, PK_F32, l->model->hidden, x},
                                {PK_OP_TRACE_ROUTER, PK_I32, chosen, l->workspace.ids},
                                {PK_OP_TRACE_WEIGHTS, PK_F32, chosen, l->workspace.weights}};
    pk_err err = PK_OK;
    for (size_t i = 0; !err && i < sizeof seen / sizeof *seen; i++)
        err = trace_rows(l, in, layer, seen[i], outbox);
    return err;
}

static pk_span shrink(pk_span span)
{
    uint32_t wanted = pk_span_wanted(&span);
    span.position += span.count - wanted;
    span.count = wanted;
    return span;
}

/* Moves the wanted rows of x [rows, hidden] to the front; returns how many they are. */
static size_t keep_wanted(const pk_layers *l, const pk_batch *in, float *x)
{
    size_t hidden = l->model->hidden, from = 0, to = 0;
    for (uint32_t i = 0; i < in->span_count; i++) {
        size_t before = in->spans[i].count, kept = pk_span_wanted(&in->spans[i]);
        if (kept && from + before - kept != to)
            memmove(x + to * hidden, x + (from + before - kept) * hidden, kept * hidden * sizeof *x);
        from += before;
        to += kept;
    }
    return to;
}

/* All layers over all rows, in place. *rows: how many of them there are afterwards; in the last group those that are
 * wanted. */
static pk_err forward(pk_layers *l, const pk_batch *in, float *x, size_t *rows, pk_outbox *outbox)
{
    pk_layer_context context = {.workspace = &l->workspace, .sequences = l->sequences, .experts = l->experts};
    pk_err err = PK_OK;
    *rows = l->rows.rows;
    for (size_t i = 0; !err && i < l->layer_count; i++) {
        err = pk_layer_attend(&l->layers[i], &context, &l->rows, x);
        if (!err && l->last && i == l->layer_count - 1 && !traces(l))
            *rows = keep_wanted(l, in, l->workspace.branch);
        if (!err && *rows)
            err = pk_layer_mix(&l->layers[i], &context, *rows, x);
        if (!err && traces(l))
            err = trace_layer(l, in, &l->layers[i], x, outbox);
    }
    if (!err && l->last && traces(l))
        *rows = keep_wanted(l, in, x);
    for (size_t i = 0; !err && i < l->rows.span_count; i++)
        pk_sequences_advance(l->sequences, l->spans[i].slot, (uint32_t)l->spans[i].rows);
    return err;
}

static void shrink_spans(pk_layers *l, const pk_batch *in, pk_batch *out)
{
    for (uint32_t i = 0; i < in->span_count; i++)
        l->shrunk[i] = shrink(in->spans[i]);
    out->spans = l->shrunk;
}

static pk_err send_on(pk_layers *l, const pk_batch *in, pk_buffer *payload, pk_outbox *outbox)
{
    pk_batch out = *in;
    out.kind = PK_KIND_ACTIVATIONS;
    out.dtype = PK_F32;
    out.width = (uint32_t)l->model->hidden;
    out.transport = 0;
    out.checksum = 0;
    if (l->last)
        shrink_spans(l, in, &out);
    if (payload && !payload->bytes)
        pk_buffer_close(&payload);
    return outbox->send(outbox, PK_PORT_NEXT, &out, payload);
}

static pk_err layers_step(void *self, const pk_batch *in, pk_buffer *payload, pk_outbox *outbox)
{
    pk_layers *l = self;
    size_t rows = 0;
    pk_err err = expect_input(l, in);
    if (!err)
        err = apply_opening_ops(l, in, outbox);
    if (!err)
        err = place_rows(l, in);
    if (!err && l->rows.rows && l->embeds)
        err = embed(l, &payload);
    if (!err && l->rows.rows)
        err = forward(l, in, payload->data, &rows, outbox);
    if (!err && payload)
        payload->bytes = rows * l->model->hidden * sizeof(float);
    if (!err)
        err = apply_closing_ops(l, in, outbox);
    if (err) {
        pk_buffer_close(&payload);
        return err;
    }
    return send_on(l, in, payload, outbox);
}

const pk_stage_ops pk_layers_ops = {
    .kind = PK_STAGE_LAYERS, .open = layers_open, .step = layers_step, .reset = layers_reset, .close = layers_close};
