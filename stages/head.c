#include "stages/head.h"
#include "stages/compute.h"
#include "stages/expect.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Rows whose logits are made at once: enough to pass over the matrix once for a batch of decode rows. */
enum { BLOCK_ROWS = 64 };

_Static_assert(sizeof(pk_answer) == 16, "an answer lies in the payload as it is");

static void set_limits(const pk_head *h, pk_stage *stage)
{
    const pk_assignment *a = &stage->assignment;
    stage->in = pk_compute_limits(a, h->model->hidden * sizeof(float));
    stage->out = pk_compute_limits(a, h->model->vocab * sizeof(float));
    uint64_t answers = (uint64_t)stage->out.spans * sizeof(pk_answer);
    if (stage->out.payload_bytes < answers)
        stage->out.payload_bytes = answers;
}

static pk_err open_room(pk_head *h, size_t spans)
{
    const pk_ops *ops = pk_device_ops(h->device);
    h->normed_bytes = BLOCK_ROWS * h->model->hidden * sizeof(float);
    h->logits_bytes = BLOCK_ROWS * h->model->vocab * sizeof(float);
    h->normed = ops->alloc(h->device, h->normed_bytes);
    h->logits = ops->alloc(h->device, h->logits_bytes);
    h->last_rows = calloc(spans, sizeof *h->last_rows);
    h->sampled = calloc(spans, sizeof *h->sampled);
    h->shown = calloc(spans, sizeof *h->shown);
    h->logits_spans = calloc(spans, sizeof *h->logits_spans);
    h->answer_spans = calloc(spans, sizeof *h->answer_spans);
    if (!h->normed || !h->logits || !h->last_rows || !h->sampled || !h->shown || !h->logits_spans || !h->answer_spans)
        return pk_fail(PK_NOMEM, "room for the logits of %d rows", BLOCK_ROWS);
    return pk_sampler_open(&h->sampler, h->model->vocab);
}

static pk_err head_open(void *self, pk_stage *stage)
{
    pk_head *h = self;
    h->stage = stage;
    pk_err err = pk_compute_open(&h->device, stage);
    if (err || (err = pk_weights_open(&h->weights, h->device, stage->assignment.model)))
        return err;
    h->model = pk_weights_model(h->weights);
    if ((err = pk_weights_vector(h->weights, (pk_weight){.role = PK_WEIGHT_FINAL_NORM}, &h->norm)) ||
        (err = pk_weights_matrix(h->weights, (pk_weight){.role = PK_WEIGHT_HEAD}, &h->matrix)))
        return err;
    set_limits(h, stage);
    if ((err = open_room(h, stage->in.spans)))
        return err;
    return pk_weights_load(h->weights, stage);
}

static void head_close(void *self)
{
    pk_head *h = self;
    if (h->device) {
        const pk_ops *ops = pk_device_ops(h->device);
        ops->free(h->device, h->normed, h->normed_bytes);
        ops->free(h->device, h->logits, h->logits_bytes);
    }
    pk_sampler_close(&h->sampler);
    pk_weights_close(&h->weights);
    pk_device_close(&h->device);
    free(h->last_rows);
    free(h->sampled);
    free(h->shown);
    free(h->logits_spans);
    free(h->answer_spans);
    *h = (pk_head){0};
}

/* What is asked of each span; the rows that are answered by logits. */
static pk_err read_wishes(pk_head *h, const pk_batch *in, size_t *logits_rows)
{
    uint32_t rows = 0;
    for (uint32_t i = 0; i < in->span_count; i++) {
        h->last_rows[i] = rows += in->spans[i].count;
        h->sampled[i] = h->shown[i] = false;
    }
    for (uint32_t i = 0; i < in->sample_count; i++) {
        const pk_sample *sample = &in->samples[i];
        if (!in->spans[sample->span].count)
            return pk_fail(PK_PEER, "sample %" PRIu32 " is asked of span %" PRIu32 ", which has no rows", i,
                           sample->span);
        h->sampled[sample->span] = true;
        h->shown[sample->span] |= (sample->flags & PK_SAMPLE_LOGITS) != 0;
    }
    *logits_rows = 0;
    for (uint32_t i = 0; i < in->span_count; i++)
        *logits_rows += in->spans[i].count - (h->sampled[i] && !h->shown[i]);
    return PK_OK;
}

/* Copies of a block's logits [first, end) those rows that are asked for, behind what is there already. */
static void copy_shown(const pk_head *h, const pk_batch *in, size_t first, size_t end, float **to)
{
    size_t row = 0, vocabulary = h->model->vocab;
    for (uint32_t i = 0; i < in->span_count && row < end; i++) {
        size_t last = h->last_rows[i], stop = last - (last > row && h->sampled[i] && !h->shown[i]);
        size_t from = row > first ? row : first, until = stop < end ? stop : end;
        if (from < until) {
            memcpy(*to, h->logits + (from - first) * vocabulary, (until - from) * vocabulary * sizeof(float));
            *to += (until - from) * vocabulary;
        }
        row = last;
    }
}

static void answer_samples(const pk_head *h, const pk_batch *in, size_t first, size_t end, pk_answer *answers)
{
    for (uint32_t i = 0; i < in->sample_count; i++) {
        const pk_span *span = &in->spans[in->samples[i].span];
        size_t row = h->last_rows[in->samples[i].span] - 1;
        if (row >= first && row < end)
            answers[i] = pk_sampler_choose(h->sampler, h->logits + (row - first) * h->model->vocab, &in->samples[i],
                                           span->position + span->count);
    }
}

static pk_err compute_block(const pk_head *h, const float *x, size_t rows)
{
    const pk_ops *ops = pk_device_ops(h->device);
    pk_err err = ops->rmsnorm(h->device, h->normed, x, h->norm, rows, h->model->hidden, (float)h->model->rms_norm_eps);
    return err ? err : ops->matmul(h->device, h->logits, h->normed, rows, &h->matrix);
}

/* logits: room for those asked for, NULL without any; answers: [samples]. */
static pk_err compute(const pk_head *h, const pk_batch *in, const float *x, float *logits, pk_answer *answers)
{
    size_t rows = (size_t)pk_batch_rows(in);
    pk_err err = PK_OK;
    for (size_t first = 0, end; !err && first < rows; first = end) {
        end = first + BLOCK_ROWS < rows ? first + BLOCK_ROWS : rows;
        if ((err = compute_block(h, x + first * h->model->hidden, end - first)))
            return err;
        if (logits)
            copy_shown(h, in, first, end, &logits);
        answer_samples(h, in, first, end, answers);
    }
    return err;
}

static pk_batch reply_to(const pk_batch *in, pk_batch_kind kind, pk_dtype dtype, size_t width)
{
    return (pk_batch){.kind = (uint8_t)kind,
                      .epoch = in->epoch,
                      .lane = in->lane,
                      .number = in->number,
                      .dtype = (uint8_t)dtype,
                      .width = (uint32_t)width};
}

static pk_err send_logits(const pk_head *h, const pk_batch *in, pk_buffer *logits, pk_outbox *outbox)
{
    pk_batch out = reply_to(in, PK_KIND_LOGITS, PK_F32, h->model->vocab);
    for (uint32_t i = 0; i < in->span_count; i++) {
        pk_span span = in->spans[i];
        span.count -= h->sampled[i] && !h->shown[i];
        if (span.count)
            h->logits_spans[out.span_count++] = span;
    }
    out.spans = h->logits_spans;
    return outbox->send(outbox, PK_PORT_NEXT, &out, logits);
}

static pk_err send_answers(const pk_head *h, const pk_batch *in, pk_buffer *answers, pk_outbox *outbox)
{
    pk_batch out = reply_to(in, PK_KIND_ANSWERS, PK_U8, sizeof(pk_answer));
    for (uint32_t i = 0; i < in->sample_count; i++) {
        const pk_span *span = &in->spans[in->samples[i].span];
        h->answer_spans[i] =
            (pk_span){.sequence = span->sequence, .position = span->position + span->count, .count = 1};
    }
    out.spans = h->answer_spans;
    out.span_count = in->sample_count;
    return outbox->send(outbox, PK_PORT_NEXT, &out, answers);
}

static pk_err expect_input(const pk_head *h, const pk_batch *in)
{
    pk_err err = pk_expect_batch(in, PK_KIND_ACTIVATIONS, PK_F32, h->model->hidden);
    return err ? err : pk_expect_rows(in, h->stage->assignment.batch_rows);
}

static pk_err head_step(void *self, const pk_batch *in, pk_buffer *payload, pk_outbox *outbox)
{
    pk_head *h = self;
    pk_buffer *logits = NULL, *answers = NULL;
    size_t logits_rows = 0;
    pk_err err = expect_input(h, in);
    if (err || (err = read_wishes(h, in, &logits_rows)))
        goto out;
    if (logits_rows && (err = pk_buffer_open(&logits, logits_rows * h->model->vocab * sizeof(float))))
        goto out;
    if (in->sample_count && (err = pk_buffer_open(&answers, in->sample_count * sizeof(pk_answer))))
        goto out;
    if ((err = compute(h, in, payload ? payload->data : NULL, logits ? logits->data : NULL,
                       answers ? answers->data : NULL)))
        goto out;
    if (logits) {
        err = send_logits(h, in, logits, outbox);
        logits = NULL;
    }
    if (!err) {
        err = send_answers(h, in, answers, outbox);
        answers = NULL;
    }
out:
    pk_buffer_close(&payload);
    pk_buffer_close(&logits);
    pk_buffer_close(&answers);
    return err;
}

const pk_stage_ops pk_head_ops = {.kind = PK_STAGE_HEAD, .open = head_open, .step = head_step, .close = head_close};
