#include "pipeline/scheduler.h"
#include "loader/digest.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { OPS_PER_SPAN = 4 };

typedef struct sequence {
    struct sequence *next;                 /* in its queue */
    uint32_t id, prompt, total, scheduled; /* tokens: of the prompt, known, sent */
    pk_request request;                    /* ids: own copy, room for prompt + max_tokens */
    int32_t *ids;
    uint64_t prompt_hash;
    uint64_t last_batch; /* the batch that holds its last span so far */
    uint32_t answered;   /* rows in answered batches: what is scheduled below this is a replay */
    pk_finish finish;
    bool finished, ended; /* decided; END was sent */
    bool begun;           /* was admitted once: it is not dropped any more */
    bool checking;        /* the last token has been asked for again */
} sequence;

/* Rows up to `end` of a sequence went with a batch. */
typedef struct {
    sequence *whose;
    uint32_t end;
} sent_rows;

/* What a batch in flight holds. */
typedef struct {
    sent_rows *rows; /* [span_limit] */
    uint32_t count;
} sent_batch;

/* First in, first out. */
typedef struct {
    sequence *first, **last;
    uint32_t count;
} queue;

struct pk_scheduler {
    pk_scheduler_options options;
    int32_t *end_tokens;
    queue waiting, running, done;
    sequence *told; /* whose outcome is being looked at */
    uint32_t next_id, in_flight, slots_used;
    uint64_t kv_used, sent, answered, prompt_tokens, sampled_tokens, replayed_tokens;
    sent_batch *batches; /* [window], by number */
    pk_span *spans;
    pk_op *ops;
    pk_sample *samples;
    int32_t *rows;
    uint32_t span_limit, span_count, op_count, sample_count, row_count;
};

static void queue_init(queue *q)
{
    *q = (queue){.last = &q->first};
}

static void queue_push(queue *q, sequence *s)
{
    s->next = NULL;
    *q->last = s;
    q->last = &s->next;
    q->count++;
}

/* Takes out the one that *at points to. */
static sequence *queue_take(queue *q, sequence **at)
{
    sequence *s = *at;
    *at = s->next;
    if (q->last == &s->next)
        q->last = at;
    q->count--;
    return s;
}

static void free_sequence(sequence *s)
{
    if (s)
        free(s->ids);
    free(s);
}

static void free_queue(queue *q)
{
    while (q->first)
        free_sequence(queue_take(q, &q->first));
}

static bool open_batches(pk_scheduler *s)
{
    if (!(s->batches = calloc(s->options.window, sizeof *s->batches)))
        return false;
    for (uint32_t i = 0; i < s->options.window; i++)
        if (!(s->batches[i].rows = calloc(s->span_limit, sizeof *s->batches[i].rows)))
            return false;
    return true;
}

static void close_batches(pk_scheduler *s)
{
    for (uint32_t i = 0; s->batches && i < s->options.window; i++)
        free(s->batches[i].rows);
    free(s->batches);
}

static sent_batch *batch_at(pk_scheduler *s, uint64_t number)
{
    return &s->batches[number % s->options.window];
}

pk_err pk_scheduler_open(pk_scheduler **out, pk_scheduler_options options)
{
    assert(options.batch_rows && options.sequences && options.window && options.kv_tokens >= options.context);
    pk_scheduler *s = calloc(1, sizeof *s);
    if (!s)
        return pk_fail(PK_NOMEM, "scheduler");
    *out = s;
    s->options = options;
    queue_init(&s->waiting);
    queue_init(&s->running);
    queue_init(&s->done);
    s->options.stages += !options.stages;
    s->span_limit = options.batch_rows + 2 * options.sequences;
    s->spans = calloc(s->span_limit, sizeof *s->spans);
    s->ops = calloc((size_t)s->span_limit * OPS_PER_SPAN, sizeof *s->ops);
    s->samples = calloc(s->span_limit, sizeof *s->samples);
    s->rows = calloc(options.batch_rows, sizeof *s->rows);
    s->end_tokens = calloc(options.end_token_count + 1, sizeof *s->end_tokens);
    if (!s->spans || !s->ops || !s->samples || !s->rows || !s->end_tokens || !open_batches(s)) {
        pk_scheduler_close(out);
        return pk_fail(PK_NOMEM, "scheduler for %" PRIu32 " rows", options.batch_rows);
    }
    if (options.end_token_count)
        memcpy(s->end_tokens, options.end_tokens, options.end_token_count * sizeof *s->end_tokens);
    return PK_OK;
}

void pk_scheduler_close(pk_scheduler **scheduler)
{
    pk_scheduler *s = *scheduler;
    if (!s)
        return;
    free_queue(&s->waiting);
    free_queue(&s->running);
    free_queue(&s->done);
    free_sequence(s->told);
    close_batches(s);
    free(s->spans);
    free(s->ops);
    free(s->samples);
    free(s->rows);
    free(s->end_tokens);
    free(s);
    *scheduler = NULL;
}

static uint64_t peak(const sequence *s)
{
    return (uint64_t)s->prompt + s->request.max_tokens;
}

pk_err pk_scheduler_submit(pk_scheduler *scheduler, const pk_request *request, uint32_t *id)
{
    uint64_t positions = (uint64_t)request->count + request->max_tokens;
    if (request->count == 0)
        return pk_fail(PK_INVALID, "the prompt has no tokens");
    if (positions > scheduler->options.context)
        return pk_fail(
            PK_INVALID,
            "%" PRIu32 " prompt tokens and %" PRIu32 " to answer are %" PRIu64 " more than the context of %" PRIu32,
            request->count, request->max_tokens, positions - scheduler->options.context, scheduler->options.context);
    sequence *s = calloc(1, sizeof *s);
    if (!s || !(s->ids = malloc(positions * sizeof *s->ids))) {
        free(s);
        return pk_fail(PK_NOMEM, "a sequence of %" PRIu64 " tokens", positions);
    }
    memcpy(s->ids, request->ids, request->count * sizeof *s->ids);
    s->request = *request;
    s->request.ids = NULL;
    s->id = *id = scheduler->next_id++;
    s->prompt = s->total = request->count;
    s->prompt_hash = pk_digest_ids(s->ids, s->prompt);
    queue_push(&scheduler->waiting, s);
    return PK_OK;
}

/* First come, first served: what does not fit yet holds up what came later, so that nothing large starves. */
static void admit(pk_scheduler *scheduler)
{
    while (scheduler->waiting.first && scheduler->slots_used < scheduler->options.sequences &&
           scheduler->kv_used + peak(scheduler->waiting.first) <= scheduler->options.kv_tokens) {
        sequence *s = queue_take(&scheduler->waiting, &scheduler->waiting.first);
        scheduler->slots_used++;
        scheduler->kv_used += peak(s);
        s->begun = true;
        queue_push(&scheduler->running, s);
    }
}

static void add_op(pk_scheduler *scheduler, pk_op_code code, uint32_t argument)
{
    scheduler->ops[scheduler->op_count++] =
        (pk_op){.span = scheduler->span_count - 1, .code = (uint8_t)code, .argument = argument};
}

/* The stages forget it with this batch; later batches may use its place. */
static void end(pk_scheduler *scheduler, sequence *s)
{
    add_op(scheduler, PK_OP_END, 0);
    s->ended = true;
    scheduler->slots_used--;
    scheduler->kv_used -= peak(s);
}

static void add_sample(pk_scheduler *scheduler, const sequence *s, bool again)
{
    bool prompt_row = s->total == s->prompt && !again;
    scheduler->samples[scheduler->sample_count++] =
        (pk_sample){.span = scheduler->span_count - 1,
                    .seed = s->request.seed,
                    .prompt_hash = s->prompt_hash,
                    .choice = s->request.choice,
                    .temperature = s->request.temperature,
                    .top_p = s->request.top_p,
                    .top_k = s->request.top_k,
                    .min_p = s->request.min_p,
                    .flags = prompt_row && s->request.want ? PK_SAMPLE_LOGITS : 0};
}

/* A replay stops where the answers stopped; the last token that is known was sampled from there. */
static bool replays(const sequence *s)
{
    return s->scheduled < s->answered;
}

static void note_rows(pk_scheduler *scheduler, sequence *s)
{
    sent_batch *batch = batch_at(scheduler, scheduler->sent + 1);
    batch->rows[batch->count++] = (sent_rows){.whose = s, .end = s->scheduled};
    s->last_batch = scheduler->sent + 1;
}

static void push_span(pk_scheduler *scheduler, const sequence *s, uint32_t count, uint8_t want)
{
    uint32_t first = s->scheduled;
    scheduler->spans[scheduler->span_count++] =
        (pk_span){.sequence = s->id, .position = first, .count = count, .want = want};
    memcpy(scheduler->rows + scheduler->row_count, s->ids + first, count * sizeof *s->ids);
    scheduler->row_count += count;
    if (first == 0)
        add_op(scheduler, PK_OP_START, (uint32_t)peak(s));
}

/* Rows that went before: nothing is wanted of them but the last token, to compare it. */
static void add_replay(pk_scheduler *scheduler, sequence *s, uint32_t count)
{
    bool again = s->scheduled + count == s->answered && s->total > s->prompt;
    push_span(scheduler, s, count, again ? PK_WANT_LAST : PK_WANT_NONE);
    s->scheduled += count;
    s->checking |= again;
    if (again)
        add_sample(scheduler, s, true);
    scheduler->replayed_tokens += count;
    note_rows(scheduler, s);
}

/* Rows [scheduled, scheduled + count) of the sequence; count 0 only for a lone END. */
static void add_span(pk_scheduler *scheduler, sequence *s, uint32_t count)
{
    uint32_t first = s->scheduled, end_row = first + count;
    bool caught_up = count && end_row == s->total, of_prompt = first < s->prompt;
    uint32_t sampled = s->total - s->prompt;
    bool sample = caught_up && sampled < s->request.max_tokens;
    uint8_t want = PK_WANT_NONE;
    if (of_prompt && s->request.want == PK_WANT_ALL && count)
        want = PK_WANT_ALL;
    else if (sample || (of_prompt && caught_up && s->request.want))
        want = PK_WANT_LAST;
    push_span(scheduler, s, count, want);
    s->scheduled = end_row;
    if (s->request.state && of_prompt && s->scheduled == s->prompt)
        add_op(scheduler, PK_OP_STATE, 0);
    if (sample)
        add_sample(scheduler, s, false);
    if (s->finished || (caught_up && sampled + 1 >= s->request.max_tokens))
        end(scheduler, s);
    note_rows(scheduler, s);
}

/* How many rows it could take part with now: 1 in decode, what is left of the prompt, or to be replayed, before that.
 */
static uint32_t rows_ready(const sequence *s)
{
    uint32_t left = s->total - s->scheduled;
    if (s->finished || s->ended)
        return 0;
    if (replays(s))
        return s->answered - s->scheduled;
    if (left > 1 && s->scheduled >= s->request.decode_from)
        return 1;
    if (left > 1 && s->total > s->request.decode_from)
        return s->request.decode_from - s->scheduled;
    return left;
}

static bool decodes(const sequence *s)
{
    return !replays(s) && (s->scheduled >= s->prompt || s->scheduled >= s->request.decode_from);
}

/* Decode rows of one batch: with several stages there must be several batches for all of them to work at once. */
static uint32_t decode_share(const pk_scheduler *scheduler)
{
    uint32_t decoding = 0;
    for (const sequence *s = scheduler->running.first; s; s = s->next)
        decoding += decodes(s) && !s->finished && !s->ended;
    return (decoding + scheduler->options.stages - 1) / scheduler->options.stages;
}

static void fill(pk_scheduler *scheduler, bool decode)
{
    uint32_t share = decode ? decode_share(scheduler) : UINT32_MAX;
    for (sequence *s = scheduler->running.first; s && share; s = s->next) {
        uint32_t rows = rows_ready(s), room = scheduler->options.batch_rows - scheduler->row_count;
        if (!rows || !room || decodes(s) != decode)
            continue;
        (replays(s) ? add_replay : add_span)(scheduler, s, rows < room ? rows : room);
        share--;
    }
}

static void fill_ends(pk_scheduler *scheduler)
{
    for (sequence *s = scheduler->running.first; s; s = s->next)
        if (s->finished && !s->ended && scheduler->span_count < scheduler->span_limit)
            add_span(scheduler, s, 0);
}

bool pk_scheduler_next(pk_scheduler *scheduler, pk_batch *head, const int32_t **ids)
{
    scheduler->span_count = scheduler->op_count = scheduler->sample_count = scheduler->row_count = 0;
    if (scheduler->in_flight >= scheduler->options.window)
        return false;
    batch_at(scheduler, scheduler->sent + 1)->count = 0;
    fill_ends(scheduler); /* first: their places serve whoever is admitted next */
    admit(scheduler);
    fill(scheduler, true);
    fill(scheduler, false);
    if (scheduler->span_count == 0)
        return false;
    scheduler->in_flight++;
    scheduler->sent++;
    *ids = scheduler->rows;
    *head = (pk_batch){.kind = PK_KIND_TOKENS,
                       .number = scheduler->sent,
                       .dtype = PK_I32,
                       .width = 1,
                       .spans = scheduler->spans,
                       .span_count = scheduler->span_count,
                       .ops = scheduler->ops,
                       .op_count = scheduler->op_count,
                       .samples = scheduler->samples,
                       .sample_count = scheduler->sample_count};
    return true;
}

static bool is_end_token(const pk_scheduler *scheduler, int32_t token)
{
    for (size_t i = 0; i < scheduler->options.end_token_count; i++)
        if (scheduler->end_tokens[i] == token)
            return true;
    return false;
}

static sequence *find_running(pk_scheduler *scheduler, uint32_t id)
{
    sequence *s = scheduler->running.first;
    while (s && s->id != id)
        s = s->next;
    return s;
}

static void finish(sequence *s, pk_finish how)
{
    s->finished = true;
    s->finish = how;
}

/* The last token of before a reset, once more. */
static pk_err compare_answer(sequence *s, const pk_answer *answer)
{
    uint32_t position = s->total - 1;
    s->checking = false;
    if (answer->status == PK_ANSWER_OK && answer->token == s->ids[position])
        return PK_OK;
    return pk_fail(PK_PEER,
                   "row purity: sequence %" PRIu32 ", position %" PRIu32 ": after a reset the token is %" PRId32
                   " (status %" PRIu32 "), before it was %" PRId32,
                   s->id, position, answer->token, answer->status, s->ids[position]);
}

static void acknowledge(const sent_batch *batch)
{
    for (const sent_rows *rows = batch->rows; rows < batch->rows + batch->count; rows++)
        if (rows->end > rows->whose->answered)
            rows->whose->answered = rows->end;
}

static pk_err take_answer(pk_scheduler *scheduler, const pk_span *span, const pk_answer *answer)
{
    sequence *s = find_running(scheduler, span->sequence);
    if (s && s->checking && span->position + 1 == s->total)
        return compare_answer(s, answer);
    if (!s || s->finished || span->position != s->total || s->scheduled != s->total)
        return pk_fail(PK_PEER, "an answer for sequence %" PRIu32 ", position %" PRIu32 ", which nobody asked for",
                       span->sequence, span->position);
    if (answer->status != PK_ANSWER_OK) {
        finish(s, PK_FINISH_NAN);
        return PK_OK;
    }
    s->ids[s->total++] = answer->token;
    scheduler->sampled_tokens++;
    if (is_end_token(scheduler, answer->token))
        finish(s, PK_FINISH_STOP);
    else if (s->total - s->prompt == s->request.max_tokens)
        finish(s, PK_FINISH_LENGTH);
    return PK_OK;
}

static void put_done(pk_scheduler *scheduler, sequence **at)
{
    sequence *s = queue_take(&scheduler->running, at);
    if (!s->finished) /* nothing was to be sampled */
        finish(s, PK_FINISH_NONE);
    scheduler->prompt_tokens += s->prompt;
    queue_push(&scheduler->done, s);
}

/* Sequences whose END has been through all stages, and whose answers are all there, are done. */
static void settle(pk_scheduler *scheduler)
{
    for (sequence **at = &scheduler->running.first; *at;)
        if ((*at)->ended && (*at)->last_batch <= scheduler->answered)
            put_done(scheduler, at);
        else
            at = &(*at)->next;
}

/* What is decided is done: its END has been obeyed by all, for they know nothing any more. The others stand before
 * those that wait, in their order, and are admitted as if they had never been. */
void pk_scheduler_reset(pk_scheduler *scheduler)
{
    queue again;
    queue_init(&again);
    while (scheduler->running.first) {
        sequence *s = scheduler->running.first;
        if (s->finished) {
            put_done(scheduler, &scheduler->running.first);
            continue;
        }
        s->scheduled = 0;
        s->ended = s->checking = false;
        queue_push(&again, queue_take(&scheduler->running, &scheduler->running.first));
    }
    while (scheduler->waiting.first)
        queue_push(&again, queue_take(&scheduler->waiting, &scheduler->waiting.first));
    while (again.first)
        queue_push(&scheduler->waiting, queue_take(&again, &again.first));
    scheduler->in_flight = scheduler->slots_used = 0;
    scheduler->kv_used = scheduler->sent = scheduler->answered = 0;
}

pk_err pk_scheduler_answer(pk_scheduler *scheduler, const pk_batch *head, const pk_answer *answers)
{
    pk_err err = PK_OK;
    if (head->kind != PK_KIND_ANSWERS || head->width != sizeof *answers || head->dtype != PK_U8 ||
        head->number != scheduler->answered + 1 || scheduler->in_flight == 0)
        return pk_fail(PK_PEER, "answers to batch %" PRIu64 " (kind %u) where those to batch %" PRIu64 " were expected",
                       head->number, head->kind, scheduler->answered + 1);
    acknowledge(batch_at(scheduler, head->number));
    for (uint32_t i = 0; !err && i < head->span_count; i++)
        err = head->spans[i].count == 1 ? take_answer(scheduler, &head->spans[i], &answers[i])
                                        : pk_fail(PK_PEER, "an answer of %" PRIu32 " rows", head->spans[i].count);
    scheduler->answered++;
    scheduler->in_flight--;
    settle(scheduler);
    return err;
}

bool pk_scheduler_outcome(pk_scheduler *scheduler, pk_outcome *out)
{
    free_sequence(scheduler->told);
    scheduler->told = NULL;
    if (!scheduler->done.first)
        return false;
    sequence *s = scheduler->told = queue_take(&scheduler->done, &scheduler->done.first);
    *out = (pk_outcome){.sequence = s->id,
                        .finish = s->finish,
                        .prompt_tokens = s->prompt,
                        .tokens = s->ids + s->prompt,
                        .token_count = s->total - s->prompt};
    return true;
}

uint32_t pk_scheduler_drop_waiting(pk_scheduler *scheduler)
{
    uint32_t dropped = 0;
    for (sequence **at = &scheduler->waiting.first; *at;)
        if ((*at)->begun)
            at = &(*at)->next;
        else {
            free_sequence(queue_take(&scheduler->waiting, at));
            dropped++;
        }
    return dropped;
}

uint32_t pk_scheduler_answered(const pk_scheduler *scheduler, uint32_t id)
{
    const sequence *s = scheduler->running.first;
    while (s && s->id != id)
        s = s->next;
    return s ? s->answered : 0;
}

/* Prompt rows that have been sent count as done for the eye. */
pk_scheduler_counters pk_scheduler_count(const pk_scheduler *scheduler)
{
    uint64_t under_way = 0;
    for (const sequence *s = scheduler->running.first; s; s = s->next)
        under_way += s->scheduled < s->prompt ? s->scheduled : s->prompt;
    return (pk_scheduler_counters){.prompt_tokens = scheduler->prompt_tokens + under_way,
                                   .sampled_tokens = scheduler->sampled_tokens,
                                   .waiting = scheduler->waiting.count,
                                   .running = scheduler->running.count,
                                   .in_flight = scheduler->in_flight,
                                   .replayed_tokens = scheduler->replayed_tokens};
}

bool pk_scheduler_idle(const pk_scheduler *scheduler)
{
    return !scheduler->waiting.first && !scheduler->running.first && !scheduler->done.first &&
           scheduler->in_flight == 0;
}
