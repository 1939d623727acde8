#include "fixture.h"

#include <stdio.h>
#include <string.h>

static void *copy(const void *from, size_t bytes)
{
    void *to = malloc(bytes ? bytes : 1);
    assert_non_null(to);
    if (bytes)
        memcpy(to, from, bytes);
    return to;
}

static pk_err keep(pk_outbox *base, pk_port port, const pk_batch *head, pk_buffer *payload)
{
    outbox *box = (outbox *)base;
    assert_true(box->count < SENT_MAX);
    assert_int_equal(payload ? payload->bytes : 0, pk_batch_payload_bytes(head));
    sent_batch *it = &box->sent[box->count++];
    *it = (sent_batch){.port = port, .head = *head, .payload = payload};
    it->head.spans = copy(head->spans, head->span_count * sizeof *head->spans);
    it->head.ops = copy(head->ops, head->op_count * sizeof *head->ops);
    it->head.samples = copy(head->samples, head->sample_count * sizeof *head->samples);
    return PK_OK;
}

void outbox_clear(outbox *box)
{
    for (size_t i = 0; i < box->count; i++) {
        free((void *)box->sent[i].head.spans);
        free((void *)box->sent[i].head.ops);
        free((void *)box->sent[i].head.samples);
        pk_buffer_close(&box->sent[i].payload);
    }
    box->count = 0;
}

static void count_loading(pk_stage *stage, uint64_t done, uint64_t total)
{
    bench *b = (bench *)((char *)stage - offsetof(bench, stage));
    assert_true(done <= total);
    b->loading_calls++;
    b->loading_total = total;
}

void bench_init(bench *b, const pk_stage_ops *ops, void *self, const char *model)
{
    memset(b, 0, sizeof *b);
    b->ops = ops;
    b->self = self;
    b->out.outbox.send = keep;
    b->stage.loading = count_loading;
    b->stage.ready.end_token = -1;
    pk_assignment *a = &b->stage.assignment;
    snprintf(a->model, sizeof a->model, "%s", model);
    snprintf(a->device, sizeof a->device, "cpu");
    snprintf(a->io, sizeof a->io, "pread");
    a->threads = 1;
    a->batch_rows = 640;
    a->sequences = 4;
    a->context = 1024;
    a->epoch = 5;
}

void bench_open(bench *b)
{
    assert_ok(b->ops->open(b->self, &b->stage));
}

void bench_close(bench *b)
{
    outbox_clear(&b->out);
    b->ops->close(b->self);
}

pk_buffer *payload_of(const void *bytes, size_t size)
{
    pk_buffer *payload = NULL;
    if (!size)
        return NULL;
    assert_ok(pk_buffer_open(&payload, size));
    memcpy(payload->data, bytes, size);
    return payload;
}

pk_err bench_step(bench *b, pk_batch head, pk_buffer *payload)
{
    outbox_clear(&b->out);
    head.epoch = 5;
    head.lane = 3;
    head.number = ++b->number;
    assert_int_equal(payload ? payload->bytes : 0, pk_batch_payload_bytes(&head));
    return b->ops->step(b->self, &head, payload, &b->out.outbox);
}

void bench_works(bench *b, pk_batch head, pk_buffer *payload)
{
    assert_ok(bench_step(b, head, payload));
    for (size_t i = 0; i < b->out.count; i++) {
        assert_int_equal(b->out.sent[i].head.epoch, 5);
        assert_int_equal(b->out.sent[i].head.lane, 3);
    }
}

void bench_refuses(bench *b, pk_batch head, pk_buffer *payload, pk_err code, const char *words)
{
    assert_int_equal(bench_step(b, head, payload), code);
    if (!strstr(pk_error_text(), words))
        assert_string_equal(pk_error_text(), words);
    for (size_t i = 0; i < b->out.count; i++)
        assert_int_equal(b->out.sent[i].port, PK_PORT_TRACE);
}

size_t bench_count(const bench *b, pk_port port)
{
    size_t count = 0;
    for (size_t i = 0; i < b->out.count; i++)
        count += b->out.sent[i].port == port;
    return count;
}

const sent_batch *bench_sent(const bench *b, pk_port port, size_t index)
{
    for (size_t i = 0; i < b->out.count; i++)
        if (b->out.sent[i].port == port && index-- == 0)
            return &b->out.sent[i];
    fail_msg("the step sent too few batches");
    return NULL;
}
