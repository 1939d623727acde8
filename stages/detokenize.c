#include "stages/detokenize.h"
#include "ipc/buffer.h"
#include "stages/expect.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { TEXTS_MAX = 1 << 20 };

static pk_err detokenize_open(void *self, pk_stage *stage)
{
    pk_detokenize *d = self;
    const pk_assignment *a = &stage->assignment;
    if (a->sequences < 1 || a->sequences > TEXTS_MAX)
        return pk_fail(PK_INVALID, "assignment: sequences is %" PRIu64 ", expected 1 to %d", a->sequences, TEXTS_MAX);
    stage->in = (pk_batch_limits){.spans = (uint32_t)a->sequences, .payload_bytes = PK_TEXT_PIECE_BYTES};
    stage->out = (pk_batch_limits){.spans = 1, .payload_bytes = PK_TEXT_PIECE_BYTES};
    if (!(d->open = calloc((size_t)a->sequences, sizeof *d->open)))
        return pk_fail(PK_NOMEM, "%" PRIu64 " texts", a->sequences);
    pk_err err = pk_slots_open(&d->slots, (size_t)a->sequences);
    return err ? err : pk_tokenizer_open(&d->tokenizer, a->model);
}

static void detokenize_reset(void *self)
{
    pk_detokenize *d = self;
    for (size_t slot = 0; pk_slots_give_next(d->slots, &slot);)
        ; /* nothing of a text lies elsewhere */
    d->number = 0;
}

static void detokenize_close(void *self)
{
    pk_detokenize *d = self;
    free(d->open);
    pk_text_fini(&d->text);
    pk_slots_close(&d->slots);
    pk_tokenizer_close(&d->tokenizer);
    *d = (pk_detokenize){0};
}

/* Bytes of the next piece, cut between characters. */
static size_t piece_bytes(const char *text, size_t left)
{
    size_t bytes = PK_TEXT_PIECE_BYTES;
    if (left <= bytes)
        return left;
    while (((unsigned char)text[bytes] & 0xc0) == 0x80)
        bytes--;
    return bytes;
}

static pk_err send_piece(pk_detokenize *d, const pk_batch *in, pk_span span, const char *text, bool end,
                         pk_outbox *outbox)
{
    pk_op op = {.code = PK_OP_END};
    pk_batch out = {.kind = PK_KIND_TEXT,
                    .epoch = in->epoch,
                    .lane = in->lane,
                    .number = ++d->number,
                    .dtype = PK_U8,
                    .width = 1,
                    .spans = &span,
                    .span_count = 1,
                    .ops = &op,
                    .op_count = end};
    pk_buffer *payload = NULL;
    if (span.count) {
        pk_err err = pk_buffer_open(&payload, span.count);
        if (err)
            return err;
        memcpy(payload->data, text, span.count);
    }
    return outbox->send(outbox, PK_PORT_NEXT, &out, payload);
}

/* d->text in pieces; without text and end there is nothing to send. */
static pk_err send_text(pk_detokenize *d, const pk_batch *in, uint32_t sequence, size_t slot, bool end,
                        pk_outbox *outbox)
{
    pk_err err = PK_OK;
    size_t sent = 0, left;
    while (!err && ((left = d->text.count - sent) || end)) {
        size_t bytes = piece_bytes(d->text.bytes + sent, left);
        bool last = end && bytes == left;
        err = send_piece(
            d, in, (pk_span){.sequence = sequence, .position = (uint32_t)d->open[slot].bytes, .count = (uint32_t)bytes},
            d->text.bytes + sent, last, outbox);
        d->open[slot].bytes += bytes;
        sent += bytes;
        if (last)
            break;
    }
    return err;
}

static pk_err start_ids(pk_detokenize *d, uint32_t sequence)
{
    size_t slot;
    pk_err err = pk_slots_take(d->slots, sequence, UINT32_MAX, &slot);
    if (!err)
        d->open[slot] = (pk_open_ids){0};
    return err;
}

static pk_err decode(pk_detokenize *d, const pk_span *span, size_t slot, const int32_t *ids, bool end)
{
    pk_open_ids *open = &d->open[slot];
    if ((uint32_t)open->ids != span->position)
        return pk_fail(PK_PEER, "text %" PRIu32 ": token %" PRIu32 " came where %" PRIu32 " was expected",
                       span->sequence, span->position, (uint32_t)open->ids);
    open->ids += span->count;
    d->text.count = 0;
    pk_err err = pk_tokenizer_decode(d->tokenizer, &open->detokenizer, ids, span->count, &d->text);
    if (!err && end)
        err = pk_tokenizer_decode_end(&open->detokenizer, &d->text);
    return pk_pass(err, "text %" PRIu32, span->sequence);
}

static pk_err take_piece(pk_detokenize *d, const pk_batch *in, uint32_t index, const int32_t *ids, pk_outbox *outbox)
{
    const pk_span *span = &in->spans[index];
    bool end = pk_batch_has_op(in, index, PK_OP_END, NULL);
    size_t slot;
    pk_err err = PK_OK;
    if (pk_batch_has_op(in, index, PK_OP_START, NULL))
        err = start_ids(d, span->sequence);
    if (!err)
        err = pk_slots_find(d->slots, span->sequence, &slot);
    if (!err)
        err = decode(d, span, slot, ids, end);
    if (!err)
        err = send_text(d, in, span->sequence, slot, end, outbox);
    if (!err && end)
        pk_slots_give(d->slots, slot);
    return err;
}

static pk_err detokenize_step(void *self, const pk_batch *in, pk_buffer *payload, pk_outbox *outbox)
{
    const int32_t *ids = payload ? payload->data : NULL;
    pk_err err = pk_expect_batch(in, PK_KIND_TOKENS, PK_I32, 1);
    for (uint32_t i = 0; !err && i < in->span_count; i++) {
        err = take_piece(self, in, i, ids, outbox);
        if (in->spans[i].count)
            ids += in->spans[i].count;
    }
    pk_buffer_close(&payload);
    return err;
}

const pk_stage_ops pk_detokenize_ops = {.kind = PK_STAGE_DETOKENIZE,
                                        .open = detokenize_open,
                                        .step = detokenize_step,
                                        .reset = detokenize_reset,
                                        .close = detokenize_close};
