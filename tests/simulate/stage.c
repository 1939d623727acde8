#include "tests/simulate/stage.h"
#include "tests/simulate/model.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void stage_start(sim_stage *s, size_t slots)
{
    int index = s->index;
    bool head = s->head;
    uint32_t incarnation = s->incarnation + 1;
    *s = (sim_stage){.index = index, .head = head, .incarnation = incarnation, .running = true};
    if (pk_slots_open(&s->slots, slots))
        abort();
}

static void empty_inbox(sim_stage *s)
{
    for (size_t i = 0; i < s->inbox_count; i++)
        free(s->inbox[i]);
    s->inbox_count = 0;
}

void stage_kill(sim_stage *s)
{
    empty_inbox(s);
    free(s->at_work);
    s->at_work = NULL;
    pk_slots_close(&s->slots);
    s->running = s->busy = s->loading = s->ready = false;
    s->control_count = 0;
}

void stage_reset(sim_stage *s)
{
    empty_inbox(s); /* the links are closed */
    for (size_t slot = 0; pk_slots_give_next(s->slots, &slot);)
        s->states[slot] = 0;
}

static void see_batch(sim_stage *s, const pk_batch *head, char *violation, size_t capacity)
{
    if (head->epoch != s->protocol.in.epoch)
        snprintf(violation, capacity, "a batch of epoch %" PRIu32 " is applied in epoch %" PRIu32, head->epoch,
                 s->protocol.in.epoch);
    else if (s->ghost_epoch == head->epoch && s->ghost_number + 1 != head->number)
        snprintf(violation, capacity, "batch %" PRIu64 " is applied behind batch %" PRIu64, head->number,
                 s->ghost_number);
    s->ghost_epoch = head->epoch;
    s->ghost_number = head->number;
}

static void see_span(sim_stage *s, const pk_span *span, char *violation, size_t capacity)
{
    ghost *g = &s->ghosts[span->sequence];
    if (!g->alive || g->epoch != s->protocol.in.epoch)
        snprintf(violation, capacity, "rows of sequence %" PRIu32 " go into a state of %s", span->sequence,
                 g->alive ? "another epoch" : "nobody");
    else if (g->rows != span->position)
        snprintf(violation, capacity,
                 "sequence %" PRIu32 ": rows go in at position %" PRIu32 " where %" PRIu32 " went in before",
                 span->sequence, span->position, g->rows);
    g->rows += span->count;
}

static pk_err take_op(sim_stage *s, const pk_batch *head, const pk_op *op)
{
    uint32_t sequence = head->spans[op->span].sequence;
    size_t slot;
    pk_err err = op->code == PK_OP_START ? pk_slots_take(s->slots, sequence, op->argument, &slot)
                                         : pk_slots_find(s->slots, sequence, &slot);
    if (err)
        return err;
    if (op->code == PK_OP_START) {
        /* as if the memory were never zeroed: a slot that is handed on with a state would be seen */
        s->ghosts[sequence] = s->ghosts[sequence].alive && s->ghosts[sequence].epoch == s->protocol.in.epoch
                                  ? s->ghosts[sequence]
                                  : (ghost){.alive = true, .epoch = s->protocol.in.epoch};
        return PK_OK;
    }
    s->states[slot] = 0;
    pk_slots_give(s->slots, slot);
    s->ghosts[sequence].alive = false;
    return PK_OK;
}

/* Before the rows: every START, and what stands on a span without rows. Behind them: the other ENDs. */
static pk_err take_ops(sim_stage *s, const pk_batch *head, bool opening)
{
    pk_err err = PK_OK;
    for (uint32_t i = 0; !err && i < head->op_count; i++) {
        const pk_op *op = &head->ops[i];
        bool opens = op->code == PK_OP_START || head->spans[op->span].count == 0;
        if (opens == opening)
            err = take_op(s, head, op);
    }
    return err;
}

static pk_err take_rows(sim_stage *s, post *mail, char *violation, size_t capacity)
{
    uint64_t *row = mail->values;
    for (uint32_t i = 0; i < mail->head.span_count; i++) {
        const pk_span *span = &mail->spans[i];
        size_t slot;
        if (!span->count)
            continue;
        pk_err err = pk_slots_follow(s->slots, span, &slot);
        if (err)
            return err;
        see_span(s, span, violation, capacity);
        for (uint32_t k = 0; k < span->count; k++, row++)
            *row = s->states[slot] = model_row(s->states[slot], *row, s->index);
        pk_slots_advance(s->slots, slot, span->count);
    }
    return PK_OK;
}

/* One answer for each sample. */
static void answer(post *mail)
{
    uint32_t rows = 0, last[SPANS_MOST];
    pk_span spans[SPANS_MOST];
    for (uint32_t i = 0; i < mail->head.span_count; i++)
        last[i] = rows += mail->spans[i].count;
    for (uint32_t i = 0; i < mail->head.sample_count; i++) {
        const pk_span *span = &mail->spans[mail->samples[i].span];
        spans[i] = (pk_span){.sequence = span->sequence, .position = span->position + span->count, .count = 1};
        mail->answers[i] = (pk_answer){.token = model_token(mail->values[last[mail->samples[i].span] - 1])};
    }
    memcpy(mail->spans, spans, mail->head.sample_count * sizeof *spans);
    mail->head = (pk_batch){.kind = PK_KIND_ANSWERS,
                            .epoch = mail->head.epoch,
                            .number = mail->head.number,
                            .dtype = PK_U8,
                            .width = sizeof(pk_answer),
                            .span_count = mail->head.sample_count};
    post_tie(mail);
}

pk_err stage_apply(sim_stage *s, char *violation, size_t capacity)
{
    post *mail = s->at_work;
    pk_err err = PK_OK;
    violation[0] = 0;
    see_batch(s, &mail->head, violation, capacity);
    if (s->head) {
        answer(mail);
        return PK_OK;
    }
    if (!(err = take_ops(s, &mail->head, true)) && !(err = take_rows(s, mail, violation, capacity)))
        err = take_ops(s, &mail->head, false);
    return err;
}

pk_stage_counters stage_counters(const sim_stage *s)
{
    pk_stage_counters counters = {.progress = s->progress};
    counters.waiting_on = s->ready && !s->busy ? PK_WAIT_BATCH : PK_WAIT_NONE;
    pk_stage_protocol_count(&s->protocol, &counters);
    return counters;
}
