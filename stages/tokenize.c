#include "stages/tokenize.h"
#include "ipc/buffer.h"
#include "ipc/log.h"
#include "stages/expect.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { TEXTS_MAX = 1 << 20 };

static pk_err open_tokenizer(pk_tokenize *t, pk_stage *stage)
{
    size_t eos_count;
    pk_err err = pk_tokenizer_open(&t->tokenizer, stage->assignment.model);
    if (!err)
        err = pk_encoder_open(&t->encoder, t->tokenizer);
    if (err)
        return err;
    pk_encoder_watch(t->encoder, &stage->progress);
    if (*pk_tokenizer_assumed(t->tokenizer))
        pk_log_warn("tokenizer assumed=\"%s\"", pk_tokenizer_assumed(t->tokenizer));
    const int32_t *eos = pk_tokenizer_eos(t->tokenizer, &eos_count);
    stage->ready.vocabulary = pk_tokenizer_count(t->tokenizer);
    stage->ready.end_token = eos_count ? eos[0] : -1;
    return PK_OK;
}

static pk_err tokenize_open(void *self, pk_stage *stage)
{
    pk_tokenize *t = self;
    const pk_assignment *a = &stage->assignment;
    if (a->sequences < 1 || a->sequences > TEXTS_MAX)
        return pk_fail(PK_INVALID, "assignment: sequences is %" PRIu64 ", expected 1 to %d", a->sequences, TEXTS_MAX);
    t->text_count = (size_t)a->sequences;
    stage->in = (pk_batch_limits){.spans = (uint32_t)a->sequences, .payload_bytes = PK_TEXT_PIECE_BYTES};
    stage->out = (pk_batch_limits){.spans = 1, .payload_bytes = PK_TOKENS_PIECE * sizeof(int32_t)};
    if (!(t->texts = calloc(t->text_count, sizeof *t->texts)))
        return pk_fail(PK_NOMEM, "%zu texts", t->text_count);
    pk_err err = pk_slots_open(&t->slots, t->text_count);
    return err ? err : open_tokenizer(t, stage);
}

static void tokenize_reset(void *self)
{
    pk_tokenize *t = self;
    for (size_t slot = 0; pk_slots_give_next(t->slots, &slot);)
        pk_text_fini(&t->texts[slot].text);
    t->number = 0;
}

static void tokenize_close(void *self)
{
    pk_tokenize *t = self;
    for (size_t i = 0; t->texts && i < t->text_count; i++)
        pk_text_fini(&t->texts[i].text);
    free(t->texts);
    pk_slots_close(&t->slots);
    pk_encoder_close(&t->encoder);
    pk_tokenizer_close(&t->tokenizer);
    *t = (pk_tokenize){0};
}

typedef struct {
    const pk_batch *in; /* whose epoch and lane to answer in */
    uint32_t sequence;
    pk_outbox *outbox;
} addressee;

/* ids [first, first + count) of a text; `end`: the last of them, with the END op's argument. */
static pk_err send_piece(pk_tokenize *t, const addressee *to, const int32_t *ids, size_t first, size_t count,
                         const uint32_t *end)
{
    pk_span span = {.sequence = to->sequence, .position = (uint32_t)first, .count = (uint32_t)count};
    pk_op op = {.code = PK_OP_END, .argument = end ? *end : 0};
    pk_batch out = {.kind = PK_KIND_TOKENS,
                    .epoch = to->in->epoch,
                    .lane = to->in->lane,
                    .number = ++t->number,
                    .dtype = PK_I32,
                    .width = 1,
                    .spans = &span,
                    .span_count = 1,
                    .ops = &op,
                    .op_count = end != NULL};
    pk_buffer *payload = NULL;
    if (count) {
        pk_err err = pk_buffer_open(&payload, count * sizeof *ids);
        if (err)
            return err;
        memcpy(payload->data, ids + first, payload->bytes);
    }
    return to->outbox->send(to->outbox, PK_PORT_NEXT, &out, payload);
}

static pk_err send_ids(pk_tokenize *t, const addressee *to, const pk_ids *ids)
{
    static const uint32_t complete = 0;
    size_t first = 0, count;
    pk_err err;
    do {
        count = ids->count - first < PK_TOKENS_PIECE ? ids->count - first : PK_TOKENS_PIECE;
        err = send_piece(t, to, ids->ids, first, count, first + count == ids->count ? &complete : NULL);
        first += count;
    } while (!err && first < ids->count);
    return err;
}

static uint32_t saturated(size_t count)
{
    return count < UINT32_MAX ? (uint32_t)count : UINT32_MAX;
}

/* What is too long to be encoded has more tokens than anybody allows; that is an answer about one text and must not end
 * the stage, which serves others. */
static pk_err encode(const pk_tokenize *t, const pk_open_text *text, uint32_t sequence, pk_ids *ids, uint32_t *too_many)
{
    *too_many = UINT32_MAX;
    if (text->bytes > PK_TOKENIZER_TEXT_BYTES)
        return PK_OK;
    pk_err err = pk_encoder_run(t->encoder, text->added, text->text.bytes, text->text.count, ids);
    if (err == PK_NOMEM || err == PK_INVALID) {
        pk_log_warn("text not encoded sequence=%" PRIu32 " bytes=%" PRIu64 " error=\"%s\"", sequence, text->bytes,
                    pk_error_text());
        return PK_OK;
    }
    *too_many = ids->count > text->allowed ? saturated(ids->count) : 0;
    return err;
}

static pk_err finish_text(pk_tokenize *t, const addressee *to, size_t slot)
{
    pk_ids ids = {0};
    uint32_t too_many;
    pk_err err = encode(t, &t->texts[slot], to->sequence, &ids, &too_many);
    pk_text_fini(&t->texts[slot].text);
    pk_slots_give(t->slots, slot);
    if (!err)
        err = too_many ? send_piece(t, to, NULL, 0, 0, &too_many) : send_ids(t, to, &ids);
    pk_ids_fini(&ids);
    return pk_pass(err, "text %" PRIu32, to->sequence);
}

static pk_err start_text(pk_tokenize *t, uint32_t sequence, uint32_t allowed, bool markup)
{
    size_t slot;
    pk_err err = pk_slots_take(t->slots, sequence, UINT32_MAX, &slot);
    if (!err)
        t->texts[slot] = (pk_open_text){.allowed = allowed, .added = markup ? PK_ADDED_ALL : PK_ADDED_NONE};
    return err;
}

static pk_err gather_piece(pk_open_text *text, const pk_span *span, const void *bytes)
{
    if ((uint32_t)text->bytes != span->position)
        return pk_fail(PK_PEER, "text %" PRIu32 ": byte %" PRIu32 " came where %" PRIu32 " was expected",
                       span->sequence, span->position, (uint32_t)text->bytes);
    text->bytes += span->count;
    if (text->bytes <= PK_TOKENIZER_TEXT_BYTES)
        return pk_text_append(&text->text, bytes, span->count);
    pk_text_fini(&text->text);
    return PK_OK;
}

static pk_err take_piece(pk_tokenize *t, const pk_batch *in, uint32_t index, const char *bytes, pk_outbox *outbox)
{
    const pk_span *span = &in->spans[index];
    uint32_t allowed;
    size_t slot;
    pk_err err = PK_OK;
    if (pk_batch_has_op(in, index, PK_OP_START, &allowed))
        err = start_text(t, span->sequence, allowed, pk_batch_has_op(in, index, PK_OP_MARKUP, NULL));
    if (!err)
        err = pk_slots_find(t->slots, span->sequence, &slot);
    if (!err)
        err = gather_piece(&t->texts[slot], span, bytes);
    if (!err && pk_batch_has_op(in, index, PK_OP_END, NULL))
        err = finish_text(t, &(addressee){.in = in, .sequence = span->sequence, .outbox = outbox}, slot);
    return err;
}

static pk_err tokenize_step(void *self, const pk_batch *in, pk_buffer *payload, pk_outbox *outbox)
{
    const char *bytes = payload ? payload->data : "";
    pk_err err = pk_expect_batch(in, PK_KIND_TEXT, PK_U8, 1);
    for (uint32_t i = 0; !err && i < in->span_count; i++) {
        err = take_piece(self, in, i, bytes, outbox);
        bytes += in->spans[i].count;
    }
    pk_buffer_close(&payload);
    return err;
}

const pk_stage_ops pk_tokenize_ops = {.kind = PK_STAGE_TOKENIZE,
                                      .open = tokenize_open,
                                      .step = tokenize_step,
                                      .reset = tokenize_reset,
                                      .close = tokenize_close};
