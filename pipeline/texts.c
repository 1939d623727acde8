#include "pipeline/texts.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

typedef struct text {
    struct text *next;
    uint32_t id;
    pk_text_options options;
    char *data;
    uint64_t elements, sent;
    bool all_sent; /* an empty text has one piece, too */
    char *answer;
    size_t bytes, capacity; /* of the answer, so far */
} text;

typedef struct {
    pk_batch_kind kind;
    pk_dtype dtype;
} form;

struct pk_texts {
    form out, in;
    text *first, **last;
    text *told; /* whose answer the caller looks at */
    uint64_t number;
    pk_span span; /* of the piece at hand, and its ops */
    pk_op ops[3];
};

pk_err pk_texts_open(pk_texts **out, pk_texts_way way)
{
    static const form text_form = {PK_KIND_TEXT, PK_U8}, ids_form = {PK_KIND_TOKENS, PK_I32};
    pk_texts *texts = calloc(1, sizeof *texts);
    if (!texts)
        return pk_fail(PK_NOMEM, "texts");
    texts->out = way == PK_TEXTS_ENCODE ? text_form : ids_form;
    texts->in = way == PK_TEXTS_ENCODE ? ids_form : text_form;
    texts->last = &texts->first;
    *out = texts;
    return PK_OK;
}

static void free_text(text **at)
{
    if (!*at)
        return;
    free((*at)->data);
    free((*at)->answer);
    free(*at);
    *at = NULL;
}

void pk_texts_close(pk_texts **texts)
{
    if (!*texts)
        return;
    for (text *t = (*texts)->first, *next; t; t = next) {
        next = t->next;
        free_text(&t);
    }
    free_text(&(*texts)->told);
    free(*texts);
    *texts = NULL;
}

pk_err pk_texts_add(pk_texts *texts, uint32_t id, void *data, uint64_t elements, pk_text_options options)
{
    text *t = calloc(1, sizeof *t);
    if (!t) {
        free(data);
        return pk_fail(PK_NOMEM, "text");
    }
    *t = (text){.id = id, .options = options, .data = data, .elements = elements};
    *texts->last = t;
    texts->last = &t->next;
    return PK_OK;
}

static text *first_waiting(const pk_texts *texts)
{
    text *t = texts->first;
    while (t && t->all_sent)
        t = t->next;
    return t;
}

bool pk_texts_waiting(const pk_texts *texts)
{
    return first_waiting(texts) != NULL;
}

void pk_texts_next(pk_texts *texts, pk_batch *head, const void **data)
{
    text *t = first_waiting(texts);
    size_t element_bytes = pk_dtype_bytes(texts->out.dtype);
    uint64_t left = t->elements - t->sent, most = PK_TEXT_PIECE_BYTES / element_bytes;
    uint32_t count = (uint32_t)(left < most ? left : most), op_count = 0;
    texts->span = (pk_span){.sequence = t->id, .position = (uint32_t)t->sent, .count = count};
    *data = t->data + t->sent * element_bytes;
    if (t->sent == 0)
        texts->ops[op_count++] = (pk_op){.code = PK_OP_START, .argument = t->options.argument};
    if (t->sent == 0 && t->options.markup)
        texts->ops[op_count++] = (pk_op){.code = PK_OP_MARKUP};
    t->sent += count;
    t->all_sent = t->sent == t->elements;
    if (t->all_sent)
        texts->ops[op_count++] = (pk_op){.code = PK_OP_END};
    *head = (pk_batch){.kind = (uint8_t)texts->out.kind,
                       .number = ++texts->number,
                       .dtype = (uint8_t)texts->out.dtype,
                       .width = 1,
                       .spans = &texts->span,
                       .span_count = 1,
                       .ops = texts->ops,
                       .op_count = op_count};
}

static pk_err gather(text *t, const void *data, size_t bytes)
{
    if (t->capacity - t->bytes < bytes) {
        size_t capacity = t->bytes + bytes > 2 * t->capacity ? t->bytes + bytes : 2 * t->capacity;
        char *grown = realloc(t->answer, capacity);
        if (!grown)
            return pk_fail(PK_NOMEM, "a text of %zu bytes", capacity);
        t->answer = grown;
        t->capacity = capacity;
    }
    if (bytes)
        memcpy(t->answer + t->bytes, data, bytes);
    t->bytes += bytes;
    return PK_OK;
}

static text **find(pk_texts *texts, uint32_t id)
{
    text **at = &texts->first;
    while (*at && (*at)->id != id)
        at = &(*at)->next;
    return at;
}

/* The text that the piece belongs to. */
static pk_err place(pk_texts *texts, const pk_batch *head, text ***at)
{
    if (head->kind != texts->in.kind || head->dtype != texts->in.dtype || head->span_count != 1 || head->width != 1)
        return pk_fail(PK_PEER, "kind %u of %" PRIu32 " spans came where a piece of text was expected", head->kind,
                       head->span_count);
    const pk_span *span = &head->spans[0];
    *at = find(texts, span->sequence);
    if (!**at)
        return pk_fail(PK_PEER, "text %" PRIu32 " came from a text stage, which nobody asked for", span->sequence);
    uint32_t expected = (uint32_t)((**at)->bytes / pk_dtype_bytes(texts->in.dtype)); /* modulo 2^32, as on the wire */
    if (span->position != expected)
        return pk_fail(PK_PEER, "text %" PRIu32 ": piece %" PRIu32 " came where %" PRIu32 " was expected",
                       span->sequence, span->position, expected);
    return PK_OK;
}

static const pk_op *find_end(const pk_batch *head)
{
    for (uint32_t i = 0; i < head->op_count; i++)
        if (head->ops[i].code == PK_OP_END)
            return &head->ops[i];
    return NULL;
}

/* Off the list before anybody hears of it, for they may add others. */
static void take_off(pk_texts *texts, text **at)
{
    text *t = *at;
    *at = t->next;
    if (texts->last == &t->next)
        texts->last = at;
    texts->told = t;
}

pk_err pk_texts_take(pk_texts *texts, const pk_batch *head, const void *payload, pk_text_answer *answer, bool *complete)
{
    text **at = NULL;
    *complete = false;
    free_text(&texts->told);
    pk_err err = place(texts, head, &at);
    if (!err)
        err = gather(*at, payload, (size_t)pk_batch_payload_bytes(head));
    const pk_op *end = find_end(head);
    if (err || !end)
        return err;
    take_off(texts, at);
    *answer = (pk_text_answer){.id = texts->told->id,
                               .data = texts->told->answer ? texts->told->answer : "",
                               .elements = texts->told->bytes / pk_dtype_bytes(texts->in.dtype),
                               .argument = end->argument};
    *complete = true;
    return PK_OK;
}

void pk_texts_reset(pk_texts *texts)
{
    texts->number = 0;
    for (text *t = texts->first; t; t = t->next) {
        t->sent = 0;
        t->all_sent = false;
        t->bytes = 0;
    }
}
