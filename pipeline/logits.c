#include "pipeline/logits.h"
#include "loader/safetensors_writer.h"
#include "pipeline/engine.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Tensors of one sequence, in file order; STATES has one for each lightning layer. */
enum { LOGITS, HIDDEN, ROUTER_IDS, ROUTER_WEIGHTS, STATES };
enum { POLL_MS = 1000, NAME_BYTES = 48 };

typedef struct {
    const pk_logits_options *options;
    const pk_model_config *model;
    pk_fleet *fleet;
    pk_engine *engine;
    pk_safetensors_writer *writer;
    pk_tensor_spec *specs;
    char (*names)[NAME_BYTES];
    size_t tensors_each, tensor_count;       /* for one sequence, in all */
    uint64_t bytes_left;                     /* of the output */
    size_t state_index[PK_MODEL_LAYERS_MAX]; /* which of STATES a lightning layer is */
    size_t finished;
} job;

static size_t tensor_of(const job *j, uint32_t sequence, size_t tensor)
{
    return sequence * j->tensors_each + tensor;
}

static void add_tensor(job *j, pk_dtype dtype, unsigned rank, const uint64_t *shape, const char *format,
                       size_t sequence, size_t layer)
{
    pk_tensor_spec *spec = &j->specs[j->tensor_count];
    char *name = j->names[j->tensor_count++];
    snprintf(name, NAME_BYTES, format, sequence, layer);
    *spec = (pk_tensor_spec){.name = name, .dtype = dtype, .rank = rank};
    uint64_t bytes = 4;
    for (unsigned i = 0; i < rank; i++)
        bytes *= spec->shape[i] = shape[i];
    j->bytes_left += bytes;
}

static void add_sequence(job *j, size_t sequence)
{
    const pk_model_config *c = j->model;
    const pk_logits_options *o = j->options;
    uint64_t rows = o->ids->lists[sequence].count;
    add_tensor(j, PK_F32, 2, (uint64_t[]){o->last_only ? 1 : rows, c->vocab}, "logits.%zu", sequence, 0);
    if (o->internals) {
        add_tensor(j, PK_F32, 3, (uint64_t[]){c->layers, rows, c->hidden}, "hidden.%zu", sequence, 0);
        add_tensor(j, PK_I32, 3, (uint64_t[]){c->layers, rows, c->experts_per_token}, "router_ids.%zu", sequence, 0);
        add_tensor(j, PK_F32, 3, (uint64_t[]){c->layers, rows, c->experts_per_token}, "router_weights.%zu", sequence,
                   0);
        for (size_t layer = 0; layer < c->layers; layer++)
            if (c->kind[layer] == PK_LAYER_LIGHTNING)
                add_tensor(j, PK_F32, 3, (uint64_t[]){c->heads, c->head_dim, c->head_dim}, "state.%zu.%zu", sequence,
                           layer);
    }
    if (o->greedy)
        add_tensor(j, PK_I32, 1, (uint64_t[]){o->greedy}, "greedy.%zu", sequence, 0);
}

static pk_err open_output(job *j)
{
    size_t states = 0;
    for (size_t layer = 0; layer < j->model->layers; layer++)
        if (j->model->kind[layer] == PK_LAYER_LIGHTNING)
            j->state_index[layer] = states++;
    j->tensors_each = 1 + (j->options->internals ? 3 + states : 0) + (j->options->greedy > 0);
    size_t count = j->tensors_each * j->options->ids->count;
    j->specs = calloc(count, sizeof *j->specs);
    j->names = calloc(count, sizeof *j->names);
    if (!j->specs || !j->names)
        return pk_fail(PK_NOMEM, "%zu tensors", count);
    for (size_t i = 0; i < j->options->ids->count; i++)
        add_sequence(j, i);
    return pk_safetensors_writer_open(&j->writer, j->options->out, j->specs, j->tensor_count);
}

static pk_err put(job *j, size_t tensor, uint64_t first_element, const void *data, uint64_t elements)
{
    j->bytes_left -= 4 * elements;
    return pk_safetensors_writer_put(j->writer, tensor, 4 * first_element, data, 4 * elements);
}

/* Rows of a sequence's prompt that a span still covers: the greedy continuation's are not asked for. */
static uint32_t prompt_rows(const job *j, const pk_span *span)
{
    uint32_t prompt = j->options->ids->lists[span->sequence].count;
    return span->position >= prompt ? 0 : span->position + span->count > prompt ? prompt - span->position : span->count;
}

static pk_err take_logits(void *context, const pk_span *span, const float *logits, uint32_t width)
{
    job *j = context;
    if (span->sequence >= j->options->ids->count)
        return pk_fail(PK_PEER, "logits of sequence %" PRIu32 ", which does not exist", span->sequence);
    uint64_t first = j->options->last_only ? 0 : span->position, rows = prompt_rows(j, span);
    return put(j, tensor_of(j, span->sequence, LOGITS), first * width, logits, rows * width);
}

/* Rows of one layer's tensor [layers, rows, width]. */
static pk_err put_rows(job *j, const pk_batch *head, const pk_span *span, size_t tensor, const void *rows)
{
    uint64_t count = prompt_rows(j, span);
    uint64_t first = (uint64_t)head->ops[0].argument * j->options->ids->lists[span->sequence].count + span->position;
    return count ? put(j, tensor_of(j, span->sequence, tensor), first * head->width, rows, count * head->width) : PK_OK;
}

static pk_err check_trace(const job *j, const pk_batch *head, const pk_span *span)
{
    const pk_model_config *c = j->model;
    if (head->kind != PK_KIND_TRACE || head->op_count != 1 || head->ops[0].argument >= c->layers)
        return pk_fail(PK_PEER, "kind %u with %" PRIu32 " ops came on a trace link", head->kind, head->op_count);
    if (span->sequence >= j->options->ids->count)
        return pk_fail(PK_PEER, "a trace of sequence %" PRIu32 ", which does not exist", span->sequence);
    uint8_t code = head->ops[0].code;
    bool state = code == PK_OP_TRACE_STATE;
    if (state && (head->span_count != 1 || c->kind[head->ops[0].argument] != PK_LAYER_LIGHTNING ||
                  span->count != c->heads * c->head_dim))
        return pk_fail(PK_PEER, "a state of layer %" PRIu32 " of %" PRIu32 " rows", head->ops[0].argument, span->count);
    size_t width = code == PK_OP_TRACE_HIDDEN ? c->hidden : state ? c->head_dim : c->experts_per_token;
    if (head->width != width || pk_dtype_bytes(head->dtype) != 4)
        return pk_fail(PK_PEER, "a trace of width %" PRIu32 ", %zu was expected", head->width, width);
    return PK_OK;
}

static pk_err take_trace(void *context, const pk_batch *head, const pk_span *span, const void *rows)
{
    job *j = context;
    pk_err err = check_trace(j, head, span);
    if (err)
        return err;
    switch (head->ops[0].code) {
    case PK_OP_TRACE_HIDDEN:
        return put_rows(j, head, span, HIDDEN, rows);
    case PK_OP_TRACE_ROUTER:
        return put_rows(j, head, span, ROUTER_IDS, rows);
    case PK_OP_TRACE_WEIGHTS:
        return put_rows(j, head, span, ROUTER_WEIGHTS, rows);
    case PK_OP_TRACE_STATE:
        return put(j, tensor_of(j, span->sequence, STATES + j->state_index[head->ops[0].argument]), 0, rows,
                   (uint64_t)span->count * head->width);
    default:
        return pk_fail(PK_PEER, "trace op %u does not exist", head->ops[0].code);
    }
}

static pk_err take_outcome(void *context, const pk_outcome *outcome)
{
    job *j = context;
    j->finished++;
    if (!j->options->greedy)
        return PK_OK;
    if (outcome->finish == PK_FINISH_NAN)
        return pk_fail(PK_INVALID, "sequence %" PRIu32 ": a logit is NaN, there is no arg-max", outcome->sequence);
    return put(j, tensor_of(j, outcome->sequence, j->tensors_each - 1), 0, outcome->tokens, outcome->token_count);
}

static pk_err submit(job *j)
{
    const pk_logits_options *o = j->options;
    pk_err err = PK_OK;
    for (uint32_t i = 0; !err && i < o->ids->count; i++) {
        uint32_t sequence = 0;
        err = pk_engine_submit(j->engine,
                               &(pk_request){.ids = o->ids->lists[i].ids,
                                             .count = o->ids->lists[i].count,
                                             .max_tokens = o->greedy,
                                             .top_p = 1,
                                             .want = o->last_only ? PK_WANT_LAST : PK_WANT_ALL,
                                             .decode_from = o->decode_from,
                                             .state = o->internals},
                               &sequence);
        err = pk_pass(err, "sequence %" PRIu32, i);
    }
    return err;
}

static pk_err work(job *j)
{
    int last_signal = 0;
    pk_err err = submit(j);
    while (!err && (j->finished < j->options->ids->count || j->bytes_left)) {
        err = pk_engine_step(j->engine, POLL_MS);
        if (!err && pk_fleet_interrupts(j->fleet, &last_signal))
            err = pk_fail(PK_CLOSED, "interrupted");
    }
    return err;
}

/* A message's payload ends below 4 GiB: what a batch could ask of the head is refused before anything is started. */
static pk_err check_batches(const pk_logits_options *o)
{
    const pk_limits *limits = &o->pipeline->limits;
    bool few = o->last_only && limits->sequences < limits->batch_rows; /* a row of each sequence at most */
    uint64_t rows = few ? limits->sequences : limits->batch_rows, row_bytes = o->model->vocab * sizeof(float);
    if (rows * row_bytes <= UINT32_MAX)
        return PK_OK;
    return pk_fail(
        PK_INVALID,
        "%" PRIu64 " rows of logits of %zu ids are %.1f GiB, more than a message of 4 GiB; lower %s to %" PRIu64 "%s",
        rows, o->model->vocab, (double)(rows * row_bytes) / 0x1p30, few ? "limits.sequences" : "limits.batch_rows",
        UINT32_MAX / row_bytes, o->last_only ? "" : ", or ask for the last position only");
}

pk_err pk_logits(const pk_logits_options *options)
{
    job j = {.options = options, .model = options->model};
    pk_err err = check_batches(options);
    if (!err)
        err = open_output(&j);
    if (!err)
        err = pk_fleet_open(&j.fleet, (pk_fleet_options){.pipeline = options->pipeline,
                                                         .model = options->model,
                                                         .kinds = 1u << PK_STAGE_LAYERS | 1u << PK_STAGE_HEAD,
                                                         .internals = options->internals,
                                                         .timeline = options->timeline});
    if (!err)
        err = pk_engine_open(&j.engine,
                             (pk_engine_options){.fleet = j.fleet,
                                                 .pipeline = options->pipeline,
                                                 .model = options->model,
                                                 .kv_tokens = (uint64_t)options->pipeline->limits.context *
                                                              options->pipeline->limits.sequences,
                                                 .endless = true,
                                                 .handlers = {.context = &j,
                                                              .finished = take_outcome,
                                                              .logits = take_logits,
                                                              .traced = options->internals ? take_trace : NULL}});
    if (!err)
        err = work(&j);
    if (!err)
        err = pk_fleet_drain(j.fleet);
    pk_engine_close(&j.engine);
    pk_fleet_close(&j.fleet);
    if (!err)
        err = pk_safetensors_writer_finish(&j.writer);
    else
        pk_safetensors_writer_close(&j.writer);
    free(j.specs);
    free(j.names);
    return err;
}
