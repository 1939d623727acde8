#include "pipeline/engine.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* What has come of one text so far: pieces of several texts may alternate. */
typedef struct gathered {
    struct gathered *next;
    uint32_t id;
    char *data;
    size_t bytes, capacity;
} gathered;

struct pk_engine {
    pk_engine_options options;
    pk_scheduler *scheduler;
    pk_buffer_pool *pool; /* token payloads of batches */
    gathered *texts[PK_PORT_KINDS];
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

static pk_err open_scheduler(pk_engine *engine)
{
    const pk_limits *limits = &engine->options.pipeline->limits;
    int32_t ends[PK_MODEL_EOS_MAX + 1];
    pk_scheduler_options options = {.batch_rows = limits->batch_rows,
                                    .sequences = limits->sequences,
                                    .context = limits->context,
                                    .window = limits->window,
                                    .kv_tokens = engine->options.kv_tokens,
                                    .end_tokens = ends,
                                    .end_token_count =
                                        engine->options.endless ? 0 : end_tokens(&engine->options, ends)};
    return pk_scheduler_open(&engine->scheduler, options);
}

pk_err pk_engine_open(pk_engine **out, pk_engine_options options)
{
    pk_engine *engine = calloc(1, sizeof *engine);
    if (!engine)
        return pk_fail(PK_NOMEM, "engine");
    engine->options = options;
    *out = engine;
    pk_err err = pk_buffer_pool_open(&engine->pool, (size_t)options.pipeline->limits.batch_rows * sizeof(int32_t));
    if (!err && options.model)
        err = open_scheduler(engine);
    if (err)
        pk_engine_close(out);
    return err;
}

static void free_gathered(gathered **at)
{
    gathered *text = *at;
    *at = text->next;
    free(text->data);
    free(text);
}

void pk_engine_close(pk_engine **engine)
{
    if (!*engine)
        return;
    for (int kind = 0; kind < PK_PORT_KINDS; kind++)
        while ((*engine)->texts[kind])
            free_gathered(&(*engine)->texts[kind]);
    pk_scheduler_close(&(*engine)->scheduler);
    pk_buffer_pool_close(&(*engine)->pool);
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

/* One piece of a text or of ids, with START on the first and END on the last. */
typedef struct {
    pk_fleet_port port;
    uint32_t id;
    pk_batch_kind kind;
    pk_dtype dtype;
    const char *data;
    uint64_t elements, piece; /* in all, and most in one message */
    uint32_t argument;        /* of START */
} pieces;

static pk_err send_piece(pk_engine *engine, const pieces *p, uint64_t first, uint64_t count)
{
    pk_span span = {.sequence = p->id, .position = (uint32_t)first, .count = (uint32_t)count};
    pk_op ops[2];
    uint32_t op_count = 0;
    if (first == 0)
        ops[op_count++] = (pk_op){.code = PK_OP_START, .argument = p->argument};
    if (first + count == p->elements)
        ops[op_count++] = (pk_op){.code = PK_OP_END};
    pk_batch head = {.kind = (uint8_t)p->kind,
                     .dtype = (uint8_t)p->dtype,
                     .width = 1,
                     .spans = &span,
                     .span_count = 1,
                     .ops = ops,
                     .op_count = op_count};
    size_t element_bytes = pk_dtype_bytes(p->dtype);
    pk_buffer *payload = NULL;
    pk_err err = pk_buffer_open(&payload, count * element_bytes);
    if (err)
        return err;
    memcpy(payload->data, p->data + first * element_bytes, payload->bytes);
    return pk_fleet_send(engine->options.fleet, p->port, &head, payload);
}

static pk_err send_pieces(pk_engine *engine, const pieces *p)
{
    pk_err err = PK_OK;
    uint64_t first = 0;
    do {
        uint64_t left = p->elements - first, count = left < p->piece ? left : p->piece;
        err = send_piece(engine, p, first, count);
        first += count;
    } while (!err && first < p->elements);
    return err;
}

pk_err pk_engine_encode(pk_engine *engine, uint32_t text_id, const char *text, size_t bytes, uint32_t most)
{
    return send_pieces(engine, &(pieces){.port = PK_PORT_TOKENIZE,
                                         .id = text_id,
                                         .kind = PK_KIND_TEXT,
                                         .dtype = PK_U8,
                                         .data = text,
                                         .elements = bytes,
                                         .piece = PK_TEXT_PIECE_BYTES,
                                         .argument = most});
}

pk_err pk_engine_decode(pk_engine *engine, uint32_t text_id, const int32_t *ids, size_t count)
{
    return send_pieces(engine, &(pieces){.port = PK_PORT_DETOKENIZE,
                                         .id = text_id,
                                         .kind = PK_KIND_TOKENS,
                                         .dtype = PK_I32,
                                         .data = (const char *)ids,
                                         .elements = count,
                                         .piece = PK_TEXT_PIECE_BYTES / sizeof *ids});
}

static pk_err fill_window(pk_engine *engine)
{
    pk_batch head;
    const int32_t *ids = NULL;
    pk_err err = PK_OK;
    while (!err && engine->scheduler && pk_scheduler_next(engine->scheduler, &head, &ids)) {
        pk_buffer *payload = NULL;
        size_t bytes = pk_batch_payload_bytes(&head);
        if ((err = pk_buffer_pool_take(engine->pool, bytes, &payload)))
            break;
        memcpy(payload->data, ids, bytes);
        err = pk_fleet_send(engine->options.fleet, PK_PORT_MODEL, &head, payload);
    }
    return err;
}

static pk_err take_logits(pk_engine *engine, const pk_batch *head, const pk_buffer *payload)
{
    const pk_engine_handlers *h = &engine->options.handlers;
    const float *row = payload->data;
    pk_err err = PK_OK;
    if (head->dtype != PK_F32 || head->width != engine->options.model->vocab || !h->logits)
        return pk_fail(PK_PEER, "logits of dtype %u, width %" PRIu32 ", which nobody asked for", head->dtype,
                       head->width);
    for (uint32_t i = 0; !err && i < head->span_count; i++) {
        err = h->logits(h->context, &head->spans[i], row, head->width);
        row += (size_t)head->spans[i].count * head->width;
    }
    return err;
}

static gathered **find_text(pk_engine *engine, pk_fleet_port port, uint32_t id)
{
    gathered **at = &engine->texts[port];
    while (*at && (*at)->id != id)
        at = &(*at)->next;
    if (!*at && (*at = calloc(1, sizeof **at)))
        (*at)->id = id;
    return at;
}

static pk_err gather(gathered *text, const void *data, size_t bytes)
{
    if (text->capacity - text->bytes < bytes) {
        size_t capacity = text->bytes + bytes > 2 * text->capacity ? text->bytes + bytes : 2 * text->capacity;
        char *grown = realloc(text->data, capacity);
        if (!grown)
            return pk_fail(PK_NOMEM, "a text of %zu bytes", capacity);
        text->data = grown;
        text->capacity = capacity;
    }
    if (bytes)
        memcpy(text->data + text->bytes, data, bytes);
    text->bytes += bytes;
    return PK_OK;
}

static pk_err tell_text(pk_engine *engine, pk_fleet_port port, const gathered *text, uint32_t argument)
{
    const pk_engine_handlers *h = &engine->options.handlers;
    if (port == PK_PORT_TOKENIZE)
        return h->encoded(h->context, text->id, (const int32_t *)(const void *)text->data,
                          text->bytes / sizeof(int32_t), argument);
    return h->decoded(h->context, text->id, text->data ? text->data : "", text->bytes);
}

/* One span of one text; complete when END is on it. */
static pk_err take_piece(pk_engine *engine, pk_fleet_port port, const pk_batch *head, const pk_buffer *payload)
{
    static const struct {
        uint8_t kind, dtype;
    } expected[] = {[PK_PORT_TOKENIZE] = {PK_KIND_TOKENS, PK_I32}, [PK_PORT_DETOKENIZE] = {PK_KIND_TEXT, PK_U8}};
    if (head->kind != expected[port].kind || head->dtype != expected[port].dtype || head->span_count != 1 ||
        head->width != 1)
        return pk_fail(PK_PEER, "kind %u of %" PRIu32 " spans came where a piece of text was expected", head->kind,
                       head->span_count);
    gathered **at = find_text(engine, port, head->spans[0].sequence);
    pk_err err = *at ? gather(*at, payload->data, payload->bytes) : pk_fail(PK_NOMEM, "text");
    for (uint32_t i = 0; !err && i < head->op_count; i++)
        if (head->ops[i].code == PK_OP_END) {
            gathered *text = *at;
            *at = text->next; /* off the list first: the handler may start others */
            text->next = NULL;
            err = tell_text(engine, port, text, head->ops[i].argument);
            free_gathered(&text);
            break;
        }
    return err;
}

static pk_err take_texts(pk_engine *engine, pk_fleet_port port)
{
    pk_batch head;
    pk_buffer *payload = NULL;
    pk_err err;
    while (!(err = pk_fleet_recv(engine->options.fleet, port, &head, &payload))) {
        err = take_piece(engine, port, &head, payload);
        pk_buffer_close(&payload);
        if (err)
            return err;
    }
    return err == PK_AGAIN ? PK_OK : err;
}

/* Each outcome may send a text to the detokenize stage: its answers are taken in between, so that neither side's queue
 * fills up while both are sending. */
static pk_err tell_outcomes(pk_engine *engine)
{
    const pk_engine_handlers *h = &engine->options.handlers;
    pk_outcome outcome;
    pk_err err = PK_OK;
    while (!err && pk_scheduler_outcome(engine->scheduler, &outcome)) {
        err = h->finished(h->context, &outcome);
        if (!err)
            err = take_texts(engine, PK_PORT_DETOKENIZE);
    }
    return err;
}

static pk_err take_answers(pk_engine *engine)
{
    pk_batch head;
    pk_buffer *payload = NULL;
    pk_err err;
    while (!(err = pk_fleet_recv(engine->options.fleet, PK_PORT_MODEL, &head, &payload))) {
        if (head.kind == PK_KIND_LOGITS)
            err = take_logits(engine, &head, payload);
        else
            err = pk_scheduler_answer(engine->scheduler, &head, payload->data);
        pk_buffer_close(&payload);
        if (!err)
            err = tell_outcomes(engine);
        if (!err)
            err = fill_window(engine); /* before more is read: the stages are never kept waiting */
        if (err)
            return pk_pass(err, "answers of the head");
    }
    return err == PK_AGAIN ? PK_OK : err;
}

static pk_err take_traces(pk_engine *engine)
{
    const pk_engine_handlers *h = &engine->options.handlers;
    pk_batch head;
    pk_buffer *payload = NULL;
    pk_err err;
    while (!(err = pk_fleet_recv_trace(engine->options.fleet, &head, &payload))) {
        err = h->traced ? h->traced(h->context, &head, payload->data) : PK_OK;
        pk_buffer_close(&payload);
        if (err)
            return err;
    }
    return err == PK_AGAIN ? PK_OK : err;
}

pk_err pk_engine_step(pk_engine *engine, int timeout_ms)
{
    pk_err err = fill_window(engine);
    if (!err)
        err = pk_fleet_poll(engine->options.fleet, timeout_ms);
    if (!err && engine->scheduler)
        err = take_answers(engine);
    if (!err)
        err = take_texts(engine, PK_PORT_TOKENIZE);
    if (!err)
        err = take_texts(engine, PK_PORT_DETOKENIZE);
    if (!err)
        err = take_traces(engine);
    return err;
}
