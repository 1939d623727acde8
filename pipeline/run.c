#include "pipeline/run.h"
#include "ipc/clock.h"
#include "ipc/log.h"
#include "loader/checkpoint.h"
#include "loader/digest.h"
#include "loader/file.h"
#include "pipeline/engine.h"
#include "pipeline/folder.h"
#include "pipeline/run_dir.h"
#include "pipeline/run_status.h"
#include "pipeline/run_summary.h"

#include <assert.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { POLL_MS = 500, JOBS_BYTES = 256 << 10 };
#define REFRESH_NS UINT64_C(5000000000) /* of status.json and metrics.prom; a sample of 8 processes takes 0.3 ms */

/* So long requests are started (or fail, which syncs a disk) before signals and stages are looked at again. */
static const uint64_t feed_ns = 100000000;

/* Codes of failed requests beside those of asks.h; they stand in errors.jsonl and do not change. */
#define TOO_LONG      "context_length_exceeded"
#define NOT_A_NUMBER  "nan_logits"
#define NOT_TOKENIZED "not_tokenized"

/* Waiting for its turn, being tokenized, in the model and being rendered; ENDED: it has its record. */
typedef enum { QUEUED, ENCODING, RUNNING, ENDED } request_state;

static const char *const state_words[] = {"queued", "tokenizing", "running", "done"};

/* One of a request's answers. */
typedef struct {
    uint32_t tokens;
    pk_finish finish;
    char *text; /* NULL: not there yet */
    size_t bytes;
} answer;

/* What an ask becomes in this run; its index is the ask's, and its text id at the tokenize stage. */
typedef struct {
    request_state state;
    bool failed;                /* with ENDED */
    char input[PK_INPUT_BYTES]; /* what was read of it; "" before */
    bool completion, calls;     /* how it is answered, pk_request_line */
    pk_generation generation;   /* from its encoding on */
    uint32_t prompt_tokens;
    answer *answers; /* [choices], while it runs */
    uint32_t choices, answered;
    char *document; /* a copy while it runs; NULL: nothing to quote from */
    size_t document_bytes;
} request;

/* What a sequence is for; the sequence's number is its text id at the detokenize stage. */
typedef struct {
    uint32_t request, choice;
} purpose;

typedef struct {
    const pk_run_options *options;
    pk_run_report *report;
    pk_asks asks;
    pk_results *results;
    pk_fleet *fleet;
    pk_engine *engine;
    request *requests; /* [asks.count] */
    size_t next;       /* the first that is still queued */
    purpose *purposes; /* [sequences], in order of submission */
    size_t purpose_count, purpose_capacity;
    uint32_t under_way; /* texts and sequences that are in some stage */
    bool encoding;      /* a text is at the tokenize stage: one at a time, for it is kept until its ids are there */
    char digest[PK_DIGEST_TEXT];
    char run_dir[PATH_MAX];                        /* "": none */
    uint64_t started_ns, working_ns, refreshed_ns; /* since when: processes, all of them ready; the last refresh */
    pk_json_text text;                             /* of a refresh */
} run;

static const char *custom_id_of(const run *r, const request *q)
{
    return r->asks.items[q - r->requests].custom_id;
}

/* What only a running request has. */
static void release(request *q)
{
    for (uint32_t i = 0; q->answers && i < q->choices; i++)
        free(q->answers[i].text);
    free(q->answers);
    q->answers = NULL;
    free(q->document);
    q->document = NULL;
}

static pk_err fail_request(run *r, request *q, const char *code)
{
    char message[PK_ERROR_TEXT_BYTES];
    snprintf(message, sizeof message, "%s", pk_error_text());
    release(q);
    q->state = ENDED;
    q->failed = true;
    r->report->progress.ended++;
    r->report->progress.failed++;
    return pk_results_fail(
        r->results,
        &(pk_failure){.custom_id = custom_id_of(r, q), .input = q->input, .code = code, .message = message});
}

/* A sequence for each answer that is wanted. */
static pk_err submit_choice(run *r, request *q, const int32_t *ids, uint32_t count, uint32_t choice)
{
    const pk_generation *g = &q->generation;
    uint32_t sequence = 0;
    if (r->purpose_count == r->purpose_capacity) {
        size_t capacity = r->purpose_capacity ? 2 * r->purpose_capacity : 64;
        purpose *grown = reallocarray(r->purposes, capacity, sizeof *grown);
        if (!grown)
            return pk_fail(PK_NOMEM, "%zu sequences", capacity);
        r->purposes = grown;
        r->purpose_capacity = capacity;
    }
    pk_err err = pk_engine_submit(r->engine,
                                  &(pk_request){.ids = ids,
                                                .count = count,
                                                .max_tokens = g->max_tokens,
                                                .temperature = g->temperature,
                                                .top_p = g->top_p,
                                                .top_k = g->top_k,
                                                .min_p = g->min_p,
                                                .seed = g->seed,
                                                .choice = choice,
                                                .decode_from = UINT32_MAX},
                                  &sequence);
    if (err)
        return err;
    assert(sequence == r->purpose_count);
    r->purposes[r->purpose_count++] = (purpose){.request = (uint32_t)(q - r->requests), .choice = choice};
    r->under_way++;
    return PK_OK;
}

static pk_err submit(run *r, request *q, const int32_t *ids, size_t count)
{
    pk_err err = PK_OK;
    q->prompt_tokens = (uint32_t)count;
    if (!(q->answers = calloc(q->choices, sizeof *q->answers)))
        return pk_fail(PK_NOMEM, "%" PRIu32 " answers", q->choices);
    for (uint32_t choice = 0; !err && choice < q->choices; choice++)
        err = submit_choice(r, q, ids, (uint32_t)count, choice);
    if (err == PK_INVALID) /* the first of them: all are of one length */
        return fail_request(r, q, TOO_LONG);
    r->report->progress.known_tokens += count * q->choices;
    q->state = RUNNING;
    return err;
}

static pk_err submit_ids(run *r, request *q, const pk_request_line *line)
{
    for (uint32_t i = 0; i < line->id_count; i++)
        if ((uint32_t)line->ids[i] >= r->options->model->vocab) {
            pk_fail(PK_INVALID, "body: prompt: token %" PRIu32 " is %" PRId32 ", expected an id below %zu", i,
                    line->ids[i], r->options->model->vocab);
            return fail_request(r, q, PK_REQUEST_INVALID);
        }
    return submit(r, q, line->ids, line->id_count);
}

/* Answers are quoted from it; the prompt that holds it is the engine's and goes when it is tokenized. */
static pk_err keep_document(request *q, const pk_request_line *line)
{
    if (!line->document_bytes)
        return PK_OK;
    if (!(q->document = malloc(line->document_bytes)))
        return pk_fail(PK_NOMEM, "a document of %zu bytes", line->document_bytes);
    memcpy(q->document, line->prompt + line->document_begin, line->document_bytes);
    q->document_bytes = line->document_bytes;
    return PK_OK;
}

/* The line's prompt is the engine's from here on. */
static pk_err encode(run *r, request *q, pk_request_line *line)
{
    pk_err err = keep_document(q, line);
    if (err)
        return err;
    char *prompt = line->prompt;
    line->prompt = NULL;
    q->state = ENCODING;
    r->encoding = true;
    r->under_way++;
    return pk_engine_encode(r->engine, (uint32_t)(q - r->requests), prompt, line->prompt_bytes,
                            r->options->pipeline->limits.context, line->markup);
}

static pk_err start_request(run *r, request *q)
{
    pk_request_line line;
    size_t bytes;
    const char *code;
    pk_err err = pk_ask_read(&r->asks, (size_t)(q - r->requests), &line, &bytes, q->input, &code);
    r->report->progress.bytes_read += bytes;
    q->completion = !line.chat;
    q->calls = line.calls;
    q->generation = line.generation;
    q->choices = line.choices;
    if (err)
        err = code ? fail_request(r, q, code) : err;
    else
        err = line.ids ? submit_ids(r, q, &line) : encode(r, q, &line);
    pk_request_line_fini(&line);
    return err;
}

/* Fewer prompts are ready, beyond those that run, than keep the stages from waiting for a tokenizer. */
static bool is_hungry(const run *r)
{
    uint32_t most = r->options->pipeline->limits.sequences + 2;
    return !r->report->drained && !r->encoding && r->next < r->asks.count && r->under_way < most;
}

/* Keeps a few prompts ready, so that memory stays bounded however many documents there are. */
static pk_err feed(run *r)
{
    pk_err err = PK_OK;
    uint64_t end = pk_clock_ns() + feed_ns;
    while (!err && is_hungry(r) && pk_clock_ns() < end) {
        request *q = &r->requests[r->next++];
        if (q->state == QUEUED)
            err = start_request(r, q);
    }
    return err;
}

static pk_err take_ids(void *context, uint32_t text_id, const int32_t *ids, size_t count, uint32_t too_many)
{
    run *r = context;
    if (text_id >= r->asks.count || r->requests[text_id].state != ENCODING)
        return pk_fail(PK_PEER, "ids of text %" PRIu32 " came, which nobody asked for", text_id);
    request *q = &r->requests[text_id];
    r->encoding = false;
    r->under_way--;
    if (r->report->drained) { /* it has not begun yet: the next run does it */
        release(q);
        q->state = QUEUED;
        return PK_OK;
    }
    if (too_many == UINT32_MAX) {
        pk_fail(PK_INVALID, "the text cannot be tokenized; the log of the tokenize stage says why");
        return fail_request(r, q, NOT_TOKENIZED);
    }
    if (too_many) {
        pk_fail(PK_INVALID, "%" PRIu32 " prompt tokens are more than the context of %" PRIu32, too_many,
                r->options->pipeline->limits.context);
        return fail_request(r, q, TOO_LONG);
    }
    return submit(r, q, ids, count);
}

static pk_err take_outcome(void *context, const pk_outcome *outcome)
{
    run *r = context;
    const purpose *p = &r->purposes[outcome->sequence];
    answer *a = &r->requests[p->request].answers[p->choice];
    a->tokens = outcome->token_count;
    a->finish = outcome->finish;
    uint32_t ends = outcome->finish == PK_FINISH_STOP; /* the end token is no text */
    return pk_engine_decode(r->engine, outcome->sequence, outcome->tokens, outcome->token_count - ends);
}

/* The answer as the result shows it; calls: room for its tool calls. */
static pk_choice choice_of(const run *r, const request *q, const answer *a, pk_json_text *calls)
{
    pk_choice choice = {.content = {.bytes = a->text, .count = a->bytes},
                        .finish_reason = a->finish == PK_FINISH_STOP ? "stop" : "length"};
    if (q->completion || r->options->reasoning == PK_REASONING_INLINE)
        return choice;
    pk_reasoning parts = pk_reasoning_split(a->text, a->bytes);
    choice.content = parts.content;
    choice.reasoned = parts.reasoned && r->options->reasoning == PK_REASONING_SPLIT;
    choice.reasoning = parts.reasoning;
    if (q->calls) {
        const char *name = custom_id_of(r, q);
        char id[2 * PK_DIGEST_TEXT], digest[PK_DIGEST_TEXT];
        pk_digest_text(digest, pk_digest_of(name, strlen(name)));
        snprintf(id, sizeof id, "%.16s_%zu", digest, (size_t)(a - q->answers) + 1);
        pk_reasoning_calls(calls, id, &choice.content);
        choice.calls = (pk_text_view){.bytes = calls->bytes, .count = calls->used};
    }
    return choice;
}

static void quote(const run *r, const request *q, pk_choice *choice)
{
    const pk_question *question = r->asks.items[q - r->requests].question;
    if (q->document && question)
        pk_quote_find(&choice->quote, q->document, q->document_bytes, choice->content.bytes, choice->content.count,
                      question->text);
}

static pk_err put_result(run *r, request *q)
{
    pk_err err = PK_OK;
    uint64_t tokens = 0;
    pk_choice *choices = calloc(q->choices, sizeof *choices);
    pk_json_text *calls = calloc(q->choices, sizeof *calls);
    if (!choices || !calls) {
        err = pk_fail(PK_NOMEM, "%" PRIu32 " answers", q->choices);
        goto out;
    }
    for (uint32_t i = 0; !err && i < q->choices; i++) {
        choices[i] = choice_of(r, q, &q->answers[i], &calls[i]);
        quote(r, q, &choices[i]);
        tokens += q->answers[i].tokens;
        err = pk_json_text_check(&calls[i]);
    }
    if (err)
        goto out;
    pk_exact_match_add(&r->report->progress.match, &r->asks.items[q - r->requests], choices[0].content);
    q->state = ENDED;
    r->report->progress.ended++;
    r->report->progress.answers++;
    r->report->progress.answer_tokens += tokens;
    err = pk_results_put(r->results, &(pk_result){.custom_id = custom_id_of(r, q),
                                                  .input = q->input,
                                                  .completion = q->completion,
                                                  .choices = choices,
                                                  .choice_count = q->choices,
                                                  .prompt_tokens = q->prompt_tokens,
                                                  .completion_tokens = tokens});
out:
    for (uint32_t i = 0; calls && i < q->choices; i++)
        pk_json_text_fini(&calls[i]);
    free(calls);
    free(choices);
    release(q);
    return err;
}

/* All answers are there. One that ended in a NaN fails the request. */
static pk_err end_request(run *r, request *q)
{
    for (uint32_t i = 0; i < q->choices; i++)
        if (q->answers[i].finish == PK_FINISH_NAN) {
            pk_fail(PK_INVALID, "the model's logits after %" PRIu32 " tokens hold a NaN",
                    q->prompt_tokens + q->answers[i].tokens);
            return fail_request(r, q, NOT_A_NUMBER);
        }
    return put_result(r, q);
}

static pk_err take_text(void *context, uint32_t text_id, const char *text, size_t bytes)
{
    run *r = context;
    if (text_id >= r->purpose_count || r->requests[r->purposes[text_id].request].state != RUNNING)
        return pk_fail(PK_PEER, "text %" PRIu32 " came, which nobody asked for", text_id);
    request *q = &r->requests[r->purposes[text_id].request];
    answer *a = &q->answers[r->purposes[text_id].choice];
    if (a->text)
        return pk_fail(PK_PEER, "text %" PRIu32 " came twice", text_id);
    if (!(a->text = malloc(bytes + 1)))
        return pk_fail(PK_NOMEM, "an answer of %zu bytes", bytes);
    memcpy(a->text, text, bytes);
    a->bytes = bytes;
    r->under_way--;
    return ++q->answered == q->choices ? end_request(r, q) : PK_OK;
}

static void update_progress(run *r)
{
    pk_run_progress *p = &r->report->progress;
    if (r->engine) {
        pk_scheduler_counters counters = pk_scheduler_count(pk_engine_scheduler(r->engine));
        p->prompt_tokens = counters.prompt_tokens;
        p->sampled_tokens = counters.sampled_tokens;
        p->running = counters.running;
        p->waiting = counters.waiting;
        p->in_flight = counters.in_flight;
    }
    p->draining = r->report->drained;
}

static uint64_t count_queued(const run *r)
{
    uint64_t queued = 0;
    for (size_t i = r->next; i < r->asks.count; i++)
        queued += r->requests[i].state == QUEUED;
    return queued;
}

static pk_run_status status_of(run *r, const char *state)
{
    uint64_t now = pk_clock_ns();
    update_progress(r);
    r->report->progress.queued = count_queued(r);
    return (pk_run_status){.state = state,
                           .progress = &r->report->progress,
                           .fleet = r->fleet,
                           .limits = &r->options->pipeline->limits,
                           .uptime_ns = now - r->started_ns,
                           .work_ns = r->working_ns ? now - r->working_ns : 0,
                           .console = r->fleet ? pk_fleet_console_count(r->fleet) : (pk_console_counters){0}};
}

static const char *live_state(const run *r)
{
    return !r->working_ns ? "loading" : r->report->drained ? "draining" : r->report->work_ns ? "ending" : "running";
}

/* Those who look from outside get a newer picture; that they cannot is no reason to stop the work. */
static void refresh_file(run *r, const char *name, const pk_run_status *status,
                         void (*render)(pk_json_text *out, const pk_run_status *status))
{
    pk_json_text_clear(&r->text);
    render(&r->text, status);
    pk_err err = pk_json_text_check(&r->text);
    if (!err)
        err = pk_folder_refresh(r->run_dir, name, r->text.bytes, r->text.used);
    if (err)
        pk_log_warn("not written file=%s error=\"%s\"", name, pk_error_text());
}

static void refresh(run *r, const char *state)
{
    if (!r->run_dir[0])
        return;
    pk_run_status status = status_of(r, state);
    refresh_file(r, PK_RUN_DIR_STATUS, &status, pk_run_status_json);
    refresh_file(r, PK_RUN_DIR_METRICS, &status, pk_run_status_metrics);
    r->refreshed_ns = pk_clock_ns();
}

static void refresh_now_and_then(run *r)
{
    if (pk_clock_ns() - r->refreshed_ns >= REFRESH_NS)
        refresh(r, live_state(r));
}

/* What a run leaves when it is over. Returns `err`, with its words. */
static pk_err refresh_last(run *r, pk_err err)
{
    char trail[PK_ERROR_TEXT_BYTES];
    snprintf(trail, sizeof trail, "%s", pk_error_text());
    refresh(r, err == PK_CLOSED ? "stopped" : err ? "failed" : r->report->drained ? "drained" : "done");
    return err ? pk_fail(err, "%s", trail) : PK_OK;
}

static void tell_loading(void *context, uint64_t bytes_done, uint64_t bytes_total)
{
    run *r = context;
    refresh_now_and_then(r);
    if (r->options->loading)
        r->options->loading(r->options->context, bytes_done, bytes_total);
}

static void tell_progress(run *r)
{
    update_progress(r);
    refresh_now_and_then(r);
    if (r->options->progress)
        r->options->progress(r->options->context, &r->report->progress);
}

static pk_err answer_status(void *context, uint64_t argument, pk_json_text *out)
{
    run *r = context;
    (void)argument;
    pk_run_status status = status_of(r, live_state(r));
    pk_run_status_json(out, &status);
    return PK_OK;
}

static pk_err answer_drain(void *context, uint64_t argument, pk_json_text *out)
{
    run *r = context;
    (void)argument;
    pk_fleet_interrupt(r->fleet, 1);
    pk_json_text_raw(out, "{\"state\": \"draining\"}\n");
    return PK_OK;
}

static pk_err answer_stop(void *context, uint64_t argument, pk_json_text *out)
{
    run *r = context;
    (void)argument;
    pk_fleet_interrupt(r->fleet, 2);
    pk_json_text_raw(out, "{\"state\": \"stopping\"}\n");
    return PK_OK;
}

/* Requests from index `argument` on, as many as one answer holds; "next" is where the rest begins. */
static pk_err answer_jobs(void *context, uint64_t argument, pk_json_text *out)
{
    run *r = context;
    size_t count = r->asks.count, at = argument < count ? (size_t)argument : count, first = at;
    pk_json_text_raw(out, "{\"jobs\": [");
    for (; at < count && out->used < JOBS_BYTES; at++) {
        const request *q = &r->requests[at];
        pk_json_text_raw(out, "%s{\"id\": ", at > first ? ", " : "");
        pk_json_text_word(out, custom_id_of(r, q));
        pk_json_text_raw(out, ", \"state\": \"%s\"}", q->failed ? "failed" : state_words[q->state]);
    }
    pk_json_text_raw(out, "], \"next\": %zu, \"count\": %zu}\n", at, count);
    return PK_OK;
}

static pk_err answer_reset(void *context, uint64_t argument, pk_json_text *out)
{
    run *r = context;
    (void)argument;
    pk_fleet_reset(r->fleet);
    pk_json_text_raw(out, "{\"epoch\": %" PRIu32 "}\n", pk_fleet_epoch(r->fleet));
    return PK_OK;
}

static const pk_console_verb verbs[] = {
    {"status", answer_status}, {"jobs", answer_jobs},   {"drain", answer_drain},
    {"stop", answer_stop},     {"reset", answer_reset}, {0},
};

static pk_err persist_epoch(void *context, uint32_t epoch)
{
    run *r = context;
    return pk_results_raise(r->results, epoch);
}

/* The first interrupt: what is generating is finished, what waits is left for the next run. */
static void drain(run *r)
{
    r->report->drained = true;
    uint32_t dropped = pk_scheduler_drop_waiting(pk_engine_scheduler(r->engine));
    r->under_way -= dropped;
}

static pk_err attend_signals(run *r)
{
    unsigned interrupts = pk_fleet_interrupts(r->fleet, &r->report->last_signal);
    if (interrupts > 1)
        return pk_fail(PK_CLOSED, "interrupted twice");
    if (interrupts && !r->report->drained)
        drain(r);
    return PK_OK;
}

static pk_err work(run *r)
{
    pk_err err = feed(r);
    while (!err && (r->under_way || (r->next < r->asks.count && !r->report->drained))) {
        err = pk_engine_step(r->engine, is_hungry(r) ? 0 : POLL_MS);
        if (!err)
            err = attend_signals(r);
        if (!err)
            err = feed(r);
        tell_progress(r);
    }
    r->report->work_ns = pk_clock_ns() - r->working_ns;
    if (r->report->drained && r->report->progress.ended == r->asks.count)
        r->report->drained = false; /* nothing was left to drop */
    return err;
}

static void add_size(run *r, const pk_ask *ask)
{
    struct stat info;
    if (!ask->question) {
        r->report->progress.bytes_total += r->asks.files[ask->source].lines[ask->line].bytes;
        return;
    }
    const pk_document *document = &r->asks.documents.items[ask->source];
    if (document->path && !document->code && stat(document->path, &info) == 0)
        r->report->progress.bytes_total += (uint64_t)info.st_size;
}

static pk_err queue_requests(run *r)
{
    size_t count = r->asks.count;
    const char **ids = calloc(count, sizeof *ids);
    r->requests = calloc(count, sizeof *r->requests);
    r->report->progress.requests = count;
    r->report->progress.max_tokens = r->options->pipeline->generation.max_tokens;
    for (size_t i = 0; ids && i < count; i++)
        ids[i] = r->asks.items[i].custom_id;
    pk_err err =
        ids && r->requests ? pk_results_queue(r->results, ids, count) : pk_fail(PK_NOMEM, "%zu requests", count);
    free(ids);
    return err;
}

/* Whether the document or line holds something else than when its request ended. An older record may not say. */
static pk_err has_changed(run *r, const request *q, bool *out)
{
    char before[PK_INPUT_BYTES], now[PK_INPUT_BYTES];
    *out = false;
    pk_err err = pk_results_input(r->results, custom_id_of(r, q), before);
    if (err || !before[0])
        return err;
    pk_ask_input(&r->asks, (size_t)(q - r->requests), now);
    *out = strcmp(before, now) != 0;
    return PK_OK;
}

static void count_ended(run *r, request *q, pk_request_state state)
{
    q->state = ENDED;
    q->failed = state == PK_REQUEST_FAILED;
    r->report->progress.ended++;
    r->report->progress.failed += state == PK_REQUEST_FAILED;
}

/* Those that an earlier run has ended stay ended, unless what they read is another now: its custom_id into `changed`.
 */
static pk_err sort_out(run *r, const char **changed, size_t *changed_count)
{
    pk_request_state state;
    pk_err err = PK_OK;
    for (size_t i = 0; !err && i < r->asks.count; i++) {
        request *q = &r->requests[i];
        bool other = false;
        if ((err = pk_results_state(r->results, custom_id_of(r, q), &state)) ||
            (state != PK_REQUEST_QUEUED && (err = has_changed(r, q, &other))))
            break;
        if (state != PK_REQUEST_QUEUED && !other) {
            count_ended(r, q, state);
            continue;
        }
        add_size(r, &r->asks.items[i]);
        if (!other)
            continue;
        changed[(*changed_count)++] = custom_id_of(r, q);
        if (r->options->changed)
            r->options->changed(r->options->context, custom_id_of(r, q));
    }
    return err;
}

static pk_err skip_ended(run *r)
{
    size_t changed_count = 0;
    const char **changed = calloc(r->asks.count, sizeof *changed);
    if (!changed)
        return pk_fail(PK_NOMEM, "%zu requests", r->asks.count);
    pk_err err = sort_out(r, changed, &changed_count);
    if (!err)
        err = pk_results_withdraw(r->results, changed, changed_count);
    free(changed);
    if (!err && r->options->out_dir && r->report->progress.ended)
        err = pk_exact_match_add_all(&r->report->progress.match, &r->asks, r->options->out_dir);
    return err == PK_CORRUPT ? pk_fail(PK_IO, "%s", pk_error_text()) : err; /* our own file: not the model's fault */
}

/* The last part of the model's path, however it was spelled; malloc'd. */
static char *model_name(const char *path)
{
    size_t bytes = strlen(path), first;
    while (bytes > 1 && path[bytes - 1] == '/')
        bytes--;
    for (first = bytes; first > 0 && path[first - 1] != '/';)
        first--;
    return strndup(path + first, bytes - first);
}

/* One question as it is, many as their digest. */
static void put_questions(const pk_run_options *o, FILE *out)
{
    const pk_questions *questions = o->questions;
    char text[PK_DIGEST_TEXT];
    pk_digest all = {{0}};
    if (!questions || questions->count == 1) {
        fprintf(out, "question: %s\n", questions ? questions->items[0].text : "none");
        return;
    }
    for (size_t i = 0; i < questions->count; i++) {
        const pk_question *q = &questions->items[i];
        pk_digest parts[3] = {all, pk_digest_of(q->id, strlen(q->id)), pk_digest_of(q->text, strlen(q->text))};
        all = pk_digest_of(parts, sizeof parts);
    }
    fprintf(out, "questions: %zu, %s\n", questions->count, pk_digest_text(text, all));
}

/* What an answer depends on besides its document, a fact a line; malloc'd, or NULL. */
static char *identity_of(const run *r)
{
    const pk_run_options *o = r->options;
    const pk_generation *g = &o->pipeline->generation;
    static const char *const modes[] = {"split", "inline", "drop"};
    char *text = NULL, prompt[PK_DIGEST_TEXT];
    size_t bytes;
    FILE *out = open_memstream(&text, &bytes);
    if (!out)
        return NULL;
    fprintf(out,
            "model: %s\nnumeric mode: cpu float32\nmax_tokens: %" PRIu32
            "\ntemperature: %.9g\ntop_p: %.9g\ntop_k: %" PRIu32 "\nmin_p: %.9g\nseed: %" PRIu64 "\n",
            r->digest, g->max_tokens, (double)g->temperature, (double)g->top_p, g->top_k, (double)g->min_p, g->seed);
    fprintf(out, "answers: %" PRIu32 "\nreasoning: %s\nprompt: %s\n", o->choices, modes[o->reasoning],
            o->prompt ? pk_digest_text(prompt, pk_digest_of(o->prompt, strlen(o->prompt))) : "standard");
    put_questions(o, out);
    if (!fclose(out))
        return text;
    free(text);
    return NULL;
}

static pk_err open_results(run *r)
{
    const pk_run_options *o = r->options;
    char *identity = identity_of(r), *model = model_name(o->pipeline->model);
    pk_err err =
        model && identity
            ? pk_results_open(
                  &r->results,
                  (pk_results_options){.dir = o->out_dir, .run_dir = o->run_dir, .identity = identity, .model = model})
            : pk_fail(PK_NOMEM, "the run's identity");
    free(identity);
    free(model);
    /* Damaged bytes of our own, on our disk: that is not the model's fault, which PK_CORRUPT would say here. */
    return err == PK_CORRUPT ? pk_fail(PK_IO, "%s", pk_error_text()) : err;
}

static pk_err digest_model(run *r)
{
    pk_checkpoint *checkpoint = NULL;
    pk_digest digest;
    pk_err err = pk_checkpoint_open(&checkpoint, r->options->pipeline->model);
    if (!err)
        err = pk_checkpoint_fingerprint(checkpoint, &digest);
    if (!err)
        pk_digest_text(r->digest, digest);
    pk_checkpoint_close(&checkpoint);
    return err ? pk_fail(PK_CORRUPT, "%s", pk_error_text()) : PK_OK; /* whatever it is: the model cannot be used */
}

/* Where logs, status and console pointer go; "" with -o - and no --run-dir. */
static pk_err find_run_dir(run *r)
{
    const pk_run_options *o = r->options;
    int bytes = o->run_dir   ? snprintf(r->run_dir, sizeof r->run_dir, "%s", o->run_dir)
                : o->out_dir ? snprintf(r->run_dir, sizeof r->run_dir, "%s/.penstock", o->out_dir)
                             : 0;
    return bytes < PATH_MAX - 64 ? PK_OK : pk_fail(PK_INVALID, "the run directory has too long a name");
}

/* The resolved pipeline as a file, for whoever looks at the run later. */
static pk_err keep_pipeline(const pk_pipeline *pipeline, const char *dir)
{
    char *text = NULL;
    size_t bytes = 0;
    int folder = -1;
    FILE *out = open_memstream(&text, &bytes);
    if (!out)
        return pk_fail_errno(PK_NOMEM, "the resolved pipeline");
    pk_err err = pk_pipeline_print(pipeline, out);
    if (fclose(out) && !err)
        err = pk_fail(PK_NOMEM, "the resolved pipeline");
    if (err == PK_INVALID) { /* a path that YAML cannot hold: the run goes on without */
        fprintf(stderr, "penstock: warning: pipeline.yaml is not kept: %s\n", pk_error_text());
        free(text);
        return PK_OK;
    }
    if (!err)
        err = pk_folder_open(&folder, dir);
    if (!err)
        err = pk_folder_put(folder, "pipeline.yaml", (pk_folder_data){.head = text, .head_bytes = bytes});
    pk_file_close(&folder);
    free(text);
    return pk_pass(err, "%s", dir);
}

static pk_err start_pipeline(run *r)
{
    const pk_run_options *o = r->options;
    char logs[PATH_MAX + 8] = "";
    pk_console_options console = {.run_dir = r->run_dir, .verbs = verbs, .context = r};
    uint64_t start = r->started_ns = pk_clock_ns();
    pk_err err = find_run_dir(r);
    if (!err && r->run_dir[0])
        err = keep_pipeline(o->pipeline, r->run_dir);
    if (err)
        return err;
    if (r->run_dir[0]) {
        snprintf(logs, sizeof logs, "%s/" PK_RUN_DIR_LOGS, r->run_dir);
        mkdir(logs, 0777); /* where it cannot be made, opening the first log says so */
    }
    err = pk_fleet_open(&r->fleet, (pk_fleet_options){.pipeline = o->pipeline,
                                                      .model = o->model,
                                                      .log_dir = logs[0] ? logs : NULL,
                                                      .timeline = o->timeline,
                                                      .console = r->run_dir[0] ? &console : NULL,
                                                      .first_epoch = pk_results_epoch(r->results) + 1,
                                                      .persist = persist_epoch,
                                                      .persist_context = r,
                                                      .loading = tell_loading,
                                                      .loading_context = r,
                                                      .interrupted_by = &r->report->last_signal});
    if (err)
        return err;
    r->working_ns = pk_clock_ns();
    r->report->load_ns = r->working_ns - start;
    if (o->loaded)
        o->loaded(o->context, r->fleet);
    return pk_engine_open(
        &r->engine,
        (pk_engine_options){
            .fleet = r->fleet,
            .pipeline = o->pipeline,
            .model = o->model,
            .kv_tokens = o->pipeline->limits.kv_tokens,
            .handlers = {.context = r, .encoded = take_ids, .decoded = take_text, .finished = take_outcome}});
}

static pk_err summarize(run *r)
{
    pk_json_text text = {0};
    pk_run_summary(&text, r->options, r->report, r->fleet, r->digest);
    pk_json_text_raw(&text, "%c", 0);
    pk_err err = pk_json_text_check(&text);
    if (!err)
        err = pk_results_summary(r->results, text.bytes);
    pk_json_text_fini(&text);
    return err;
}

static void fini(run *r)
{
    pk_json_text_fini(&r->text);
    pk_engine_close(&r->engine);
    pk_fleet_close(&r->fleet);
    pk_results_close(&r->results);
    for (size_t i = 0; r->requests && i < r->asks.count; i++)
        release(&r->requests[i]);
    free(r->requests);
    free(r->purposes);
    pk_asks_fini(&r->asks);
}

static pk_err collect(run *r)
{
    const pk_run_options *o = r->options;
    return pk_asks_collect(&r->asks, (pk_asks_options){.inputs = o->inputs,
                                                       .input_count = o->input_count,
                                                       .questions = o->questions,
                                                       .prompt = o->prompt,
                                                       .generation = &o->pipeline->generation,
                                                       .choices = o->choices});
}

static pk_err process(run *r)
{
    pk_err err = start_pipeline(r);
    if (!err)
        err = pk_results_begin(r->results);
    if (!err)
        err = work(r);
    if (!err)
        err = pk_fleet_drain(r->fleet);
    if (!err)
        err = summarize(r);
    return refresh_last(r, err);
}

pk_err pk_run(const pk_run_options *options, pk_run_report *report)
{
    run r = {.options = options, .report = report};
    *report = (pk_run_report){0};
    pk_err err = collect(&r);
    if (!err)
        err = digest_model(&r);
    if (!err)
        err = open_results(&r);
    if (!err)
        err = queue_requests(&r);
    if (!err)
        err = skip_ended(&r);
    if (!err && report->progress.ended < r.asks.count)
        err = process(&r);
    else if (!err && !pk_results_summarized(r.results)) /* the run that did the work died before it could */
        err = summarize(&r);
    fini(&r);
    return err;
}
