#include "pipeline/engine.h"
#include "pipeline/texts.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* A message that is kept until its batch is complete. */
typedef struct held {
    struct held *next;
    pk_batch head; /* its arrays are copies */
    pk_buffer *payload;
} held;

struct pk_engine {
    pk_engine_options options;
    uint32_t epoch; /* of all that is kept here */
    pk_scheduler *scheduler;
    pk_buffer_pool *pool; /* token payloads of batches */
    pk_texts *texts[PK_PORT_KINDS];
    held *traces, **last_trace;
    held *logits, *answers; /* of the oldest batch in flight */
    uint32_t *traces_due;   /* [window], by batch number: its trace messages */
};

/* Ids that end an answer: the model's own and the tokenizer's. */
static size_t end_tokens(const pk_engine_options *options, int32_t out[PK_MODEL_EOS_MAX + 1])
{
    size_t count = options->model->eos_count;
    memcpy(out, options->model->eos_ids, count * sizeof *out);
    for (size_t i = 0; i < pk_fleet_count(options->fleet); i++) {
        pk_fleet_stage stage = pk_fleet_at(options->fleet, i);
        if (stage.spec->kind == PK_STAGE_TOKENIZE && stage.ready.end_token >= 0 && stage.ready.end_token <= INT32_MAX)
            out[count++] = (int32_t)stage.ready.end_token;
    }
    return count;
}

static uint32_t layers_stages(const pk_pipeline *pipeline)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < pipeline->stage_count; i++)
        count += pipeline->stages[i].kind == PK_STAGE_LAYERS;
    return count;
}

static pk_err open_scheduler(pk_engine *engine)
{
    const pk_limits *limits = &engine->options.pipeline->limits;
    int32_t ends[PK_MODEL_EOS_MAX + 1];
    pk_scheduler_options options = {.batch_rows = limits->batch_rows,
                                    .sequences = limits->sequences,
                                    .context = limits->context,
                                    .window = limits->window,
                                    .stages = layers_stages(engine->options.pipeline),
                                    .kv_tokens = engine->options.kv_tokens,
                                    .end_tokens = ends,
                                    .end_token_count =
                                        engine->options.endless ? 0 : end_tokens(&engine->options, ends)};
    return pk_scheduler_open(&engine->scheduler, options);
}

static pk_err open_texts(pk_engine *engine)
{
    pk_err err = pk_texts_open(&engine->texts[PK_PORT_TOKENIZE], PK_TEXTS_ENCODE);
    return err ? err : pk_texts_open(&engine->texts[PK_PORT_DETOKENIZE], PK_TEXTS_DECODE);
}

pk_err pk_engine_open(pk_engine **out, pk_engine_options options)
{
    const pk_limits *limits = &options.pipeline->limits;
    pk_engine *engine = calloc(1, sizeof *engine);
    if (!engine)
        return pk_fail(PK_NOMEM, "engine");
    engine->options = options;
    engine->epoch = pk_fleet_epoch(options.fleet);
    engine->last_trace = &engine->traces;
    *out = engine;
    pk_err err = pk_buffer_pool_open(&engine->pool, (size_t)limits->batch_rows * sizeof(int32_t));
    if (!err && !(engine->traces_due = calloc(limits->window, sizeof *engine->traces_due)))
        err = pk_fail(PK_NOMEM, "engine");
    if (!err)
        err = open_texts(engine);
    if (!err && options.model)
        err = open_scheduler(engine);
    if (err)
        pk_engine_close(out);
    return err;
}

static void let_go(held **at)
{
    held *h = *at;
    if (!h)
        return;
    *at = h->next;
    free((void *)h->head.spans);
    free((void *)h->head.ops);
    pk_buffer_close(&h->payload);
    free(h);
}

static void let_go_all(pk_engine *engine)
{
    while (engine->traces)
        let_go(&engine->traces);
    engine->last_trace = &engine->traces;
    let_go(&engine->logits);
    let_go(&engine->answers);
}

void pk_engine_close(pk_engine **engine)
{
    if (!*engine)
        return;
    let_go_all(*engine);
    for (int kind = 0; kind < PK_PORT_KINDS; kind++)
        pk_texts_close(&(*engine)->texts[kind]);
    pk_scheduler_close(&(*engine)->scheduler);
    pk_buffer_pool_close(&(*engine)->pool);
    free((*engine)->traces_due);
    free(*engine);
    *engine = NULL;
}

pk_scheduler *pk_engine_scheduler(pk_engine *engine)
{
    return engine->scheduler;
}

pk_err pk_engine_submit(pk_engine *engine, const pk_request *request, uint32_t *sequence)
{
    return pk_scheduler_submit(engine->scheduler, request, sequence);
}

pk_err pk_engine_encode(pk_engine *engine, uint32_t text_id, char *text, size_t bytes, uint32_t most, bool markup)
{
    return pk_texts_add(engine->texts[PK_PORT_TOKENIZE], text_id, text, bytes,
                        (pk_text_options){.argument = most, .markup = markup});
}

pk_err pk_engine_decode(pk_engine *engine, uint32_t text_id, const int32_t *ids, size_t count)
{
    int32_t *copy = malloc((count + 1) * sizeof *copy);
    if (!copy)
        return pk_fail(PK_NOMEM, "%zu ids", count);
    memcpy(copy, ids, count * sizeof *copy);
    return pk_texts_add(engine->texts[PK_PORT_DETOKENIZE], text_id, copy, count, (pk_text_options){0});
}

static pk_err send_piece(pk_engine *engine, pk_fleet_port port)
{
    pk_batch head;
    const void *data = NULL;
    pk_buffer *payload = NULL;
    pk_texts_next(engine->texts[port], &head, &data);
    pk_err err = pk_buffer_open(&payload, pk_batch_payload_bytes(&head));
    if (err)
        return err;
    memcpy(payload->data, data, payload->bytes);
    return pk_fleet_send(engine->options.fleet, port, &head, payload);
}

/* As much as there is room for: a stage that is busy with a text keeps nobody waiting. */
static pk_err send_texts(pk_engine *engine, pk_fleet_port port)
{
    pk_err err = PK_OK;
    while (!err && pk_texts_waiting(engine->texts[port]) && pk_fleet_room(engine->options.fleet, port))
        err = send_piece(engine, port);
    return err;
}

/* Every layer tells its output, its router's choice and its weights; a lightning layer its state where it is asked. */
static uint32_t traces_of(const pk_engine *engine, const pk_batch *head)
{
    const pk_model_config *model = engine->options.model;
    uint32_t due = pk_batch_rows(head) ? 3 * (uint32_t)model->layers : 0;
    if (!engine->options.handlers.traced)
        return 0;
    for (uint32_t i = 0; i < head->op_count; i++)
        for (size_t layer = 0; head->ops[i].code == PK_OP_STATE && layer < model->layers; layer++)
            due += model->kind[layer] == PK_LAYER_LIGHTNING;
    return due;
}

static uint32_t *traces_due(pk_engine *engine, uint64_t number)
{
    return &engine->traces_due[number % engine->options.pipeline->limits.window];
}

static pk_err fill_window(pk_engine *engine)
{
    pk_batch head;
    const int32_t *ids = NULL;
    pk_err err = PK_OK;
    if (!engine->scheduler || !pk_fleet_flowing(engine->options.fleet))
        return PK_OK;
    while (!err && pk_scheduler_next(engine->scheduler, &head, &ids)) {
        pk_buffer *payload = NULL;
        size_t bytes = pk_batch_payload_bytes(&head);
        if ((err = pk_buffer_pool_take(engine->pool, bytes, &payload)))
            break;
        memcpy(payload->data, ids, bytes);
        *traces_due(engine, head.number) = traces_of(engine, &head);
        err = pk_fleet_send(engine->options.fleet, PK_PORT_MODEL, &head, payload);
    }
    return err;
}

/* Takes the payload, even on failure. */
static pk_err hold(held **out, const pk_batch *head, pk_buffer *payload)
{
    held *h = calloc(1, sizeof *h);
    pk_span *spans = calloc(head->span_count + 1, sizeof *spans);
    pk_op *ops = calloc(head->op_count + 1, sizeof *ops);
    if (!h || !spans || !ops) {
        free(h);
        free(spans);
        free(ops);
        pk_buffer_close(&payload);
        return pk_fail(PK_NOMEM, "a message of %" PRIu32 " spans", head->span_count);
    }
    if (head->span_count)
        memcpy(spans, head->spans, head->span_count * sizeof *spans);
    if (head->op_count)
        memcpy(ops, head->ops, head->op_count * sizeof *ops);
    *h = (held){.head = *head, .payload = payload};
    h->head.spans = spans;
    h->head.ops = ops;
    h->head.samples = NULL;
    h->head.sample_count = 0;
    *out = h;
    return PK_OK;
}

static pk_err tell_logits(pk_engine *engine)
{
    const pk_engine_handlers *h = &engine->options.handlers;
    const pk_batch *head = &engine->logits->head;
    const float *row = engine->logits->payload->data;
    pk_err err = PK_OK;
    if (head->dtype != PK_F32 || head->width != engine->options.model->vocab || !h->logits)
        return pk_fail(PK_PEER, "logits of dtype %u, width %" PRIu32 ", which nobody asked for", head->dtype,
                       head->width);
    for (uint32_t i = 0; !err && i < head->span_count; i++) {
        err = h->logits(h->context, &head->spans[i], row, head->width);
        row += (size_t)head->spans[i].count * head->width;
    }
    let_go(&engine->logits);
    return err;
}

/* Rows that were answered before a reset have been told before it. A state is never asked for twice. */
static bool told(const pk_engine *engine, const pk_batch *head, const pk_span *span)
{
    bool state = head->op_count && head->ops[0].code == PK_OP_TRACE_STATE;
    return !state && span->position + span->count <= pk_scheduler_answered(engine->scheduler, span->sequence);
}

static pk_err tell_trace(pk_engine *engine, const held *trace)
{
    const pk_engine_handlers *h = &engine->options.handlers;
    const char *rows = trace->payload->data;
    size_t row_bytes = trace->head.width * pk_dtype_bytes(trace->head.dtype);
    pk_err err = PK_OK;
    for (uint32_t i = 0; !err && i < trace->head.span_count; i++) {
        const pk_span *span = &trace->head.spans[i];
        if (!told(engine, &trace->head, span))
            err = h->traced(h->context, &trace->head, span, rows);
        rows += span->count * row_bytes;
    }
    return err;
}

static uint32_t count_traces(const pk_engine *engine, uint64_t number)
{
    uint32_t count = 0;
    for (const held *trace = engine->traces; trace; trace = trace->next)
        count += trace->head.number == number;
    return count;
}

static pk_err tell_traces(pk_engine *engine, uint64_t number)
{
    pk_err err = PK_OK;
    for (held **at = &engine->traces; !err && *at;)
        if ((*at)->head.number == number) {
            err = tell_trace(engine, *at);
            if (engine->last_trace == &(*at)->next)
                engine->last_trace = at;
            let_go(at);
        } else
            at = &(*at)->next;
    return err;
}

static pk_err tell_outcomes(pk_engine *engine)
{
    const pk_engine_handlers *h = &engine->options.handlers;
    pk_outcome outcome;
    pk_err err = PK_OK;
    while (!err && pk_scheduler_outcome(engine->scheduler, &outcome))
        err = h->finished(h->context, &outcome);
    return err;
}

/* Hands out the oldest batch, once all that comes of it is there. */
static pk_err complete_batch(pk_engine *engine)
{
    const held *answers = engine->answers;
    if (!answers || count_traces(engine, answers->head.number) < *traces_due(engine, answers->head.number))
        return PK_OK;
    pk_err err = tell_traces(engine, answers->head.number);
    if (!err && engine->logits)
        err = tell_logits(engine);
    if (!err)
        err = pk_scheduler_answer(engine->scheduler, &answers->head, answers->payload->data);
    let_go(&engine->answers);
    if (!err)
        err = tell_outcomes(engine);
    return err ? err : fill_window(engine); /* before more is read: the stages are never kept waiting */
}

/* Takes what the head sends, as far as the oldest batch can be completed. */
static pk_err take_answers(pk_engine *engine)
{
    pk_batch head;
    pk_buffer *payload = NULL;
    pk_err err = complete_batch(engine);
    while (!err && !engine->answers && !(err = pk_fleet_recv(engine->options.fleet, PK_PORT_MODEL, &head, &payload))) {
        bool logits = head.kind == PK_KIND_LOGITS;
        if (logits)
            let_go(&engine->logits);
        if (!(err = hold(logits ? &engine->logits : &engine->answers, &head, payload)))
            err = complete_batch(engine);
        payload = NULL;
    }
    return err == PK_AGAIN ? PK_OK : pk_pass(err, "answers of the head");
}

static pk_err take_traces(pk_engine *engine)
{
    pk_batch head;
    pk_buffer *payload = NULL;
    pk_err err;
    while (!(err = pk_fleet_recv_trace(engine->options.fleet, &head, &payload))) {
        if ((err = hold(engine->last_trace, &head, payload)))
            return err;
        engine->last_trace = &(*engine->last_trace)->next;
    }
    return err == PK_AGAIN ? PK_OK : err;
}

static pk_err tell_text(pk_engine *engine, pk_fleet_port port, const pk_text_answer *answer)
{
    const pk_engine_handlers *h = &engine->options.handlers;
    if (port == PK_PORT_TOKENIZE)
        return h->encoded(h->context, answer->id, answer->data, answer->elements, answer->argument);
    return h->decoded(h->context, answer->id, answer->data, answer->elements);
}

static pk_err take_texts(pk_engine *engine, pk_fleet_port port)
{
    pk_batch head;
    pk_buffer *payload = NULL;
    pk_text_answer answer;
    bool complete;
    pk_err err;
    while (!(err = pk_fleet_recv(engine->options.fleet, port, &head, &payload))) {
        err = pk_texts_take(engine->texts[port], &head, payload->data, &answer, &complete);
        pk_buffer_close(&payload);
        if (!err && complete)
            err = tell_text(engine, port, &answer);
        if (err)
            return err;
    }
    return err == PK_AGAIN ? PK_OK : err;
}

/* After a reset: what is not handed out is done again. */
static void start_over(pk_engine *engine)
{
    engine->epoch = pk_fleet_epoch(engine->options.fleet);
    let_go_all(engine);
    if (engine->scheduler)
        pk_scheduler_reset(engine->scheduler);
    pk_texts_reset(engine->texts[PK_PORT_TOKENIZE]);
    pk_texts_reset(engine->texts[PK_PORT_DETOKENIZE]);
}

static pk_err send_all(pk_engine *engine)
{
    pk_err err = fill_window(engine);
    if (!err)
        err = send_texts(engine, PK_PORT_TOKENIZE);
    return err ? err : send_texts(engine, PK_PORT_DETOKENIZE);
}

pk_err pk_engine_step(pk_engine *engine, int timeout_ms)
{
    pk_err err = send_all(engine);
    if (!err)
        err = pk_fleet_poll(engine->options.fleet, timeout_ms);
    if (!err && pk_fleet_epoch(engine->options.fleet) != engine->epoch)
        start_over(engine);
    if (!err)
        err = take_traces(engine);
    if (!err && engine->scheduler)
        err = take_answers(engine);
    if (!err && engine->scheduler)
        err = tell_outcomes(engine);
    if (!err)
        err = take_texts(engine, PK_PORT_TOKENIZE);
    return err ? err : take_texts(engine, PK_PORT_DETOKENIZE);
}
