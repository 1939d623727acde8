#include "pipeline/run.h"
#include "ipc/clock.h"
#include "loader/checkpoint.h"
#include "loader/digest.h"
#include "loader/file.h"
#include "pipeline/documents.h"
#include "pipeline/engine.h"
#include "pipeline/folder.h"
#include "pipeline/run_summary.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { POLL_MS = 500, CUSTOM_ID_SUFFIX = 16 };

/* Codes of failed requests beside those of documents.h; they stand in errors.jsonl and do not change. */
#define TOO_LONG      "context_length_exceeded"
#define NOT_A_NUMBER  "nan_logits"
#define NOT_TOKENIZED "not_tokenized"

/* Waiting for its turn, being tokenized, in the model, being rendered; ENDED: it has its record. */
typedef enum { QUEUED, ENCODING, RUNNING, DECODING, ENDED } request_state;

/* One document and the question: a request, whose index is its text id at the text stages. */
typedef struct {
    pk_document *document;
    char *custom_id;
    char input[PK_INPUT_BYTES]; /* what was read of the document; "" before */
    request_state state;
    uint32_t prompt_tokens, completion_tokens;
    pk_finish finish;
} request;

typedef struct {
    const pk_run_options *options;
    pk_run_report *report;
    pk_documents documents;
    pk_results *results;
    pk_fleet *fleet;
    pk_engine *engine;
    request *requests;
    size_t count, next;    /* next: the first that is still queued */
    uint32_t *by_sequence; /* request of each sequence, in order of submission */
    uint32_t under_way;    /* requests that are neither queued nor ended */
    bool encoding;         /* a text is at the tokenize stage: one at a time, for that link has no window */
    char digest[PK_DIGEST_TEXT];
} run;

static pk_err fail_request(run *r, request *q, const char *code)
{
    char message[PK_ERROR_TEXT_BYTES];
    snprintf(message, sizeof message, "%s", pk_error_text());
    r->under_way -= q->state != QUEUED;
    q->state = ENDED;
    r->report->progress.ended++;
    r->report->progress.failed++;
    return pk_results_fail(
        r->results, &(pk_failure){.custom_id = q->custom_id, .input = q->input, .code = code, .message = message});
}

/* The prompt without a template: document, blank line, question. */
static pk_err encode_prompt(run *r, request *q, const char *text, size_t bytes)
{
    size_t question_bytes = strlen(r->options->question), all = bytes + 2 + question_bytes;
    char *prompt = malloc(all);
    if (!prompt)
        return pk_fail(PK_NOMEM, "a prompt of %zu bytes", all);
    memcpy(prompt, text, bytes);
    memcpy(prompt + bytes, "\n\n", 2);
    memcpy(prompt + bytes + 2, r->options->question, question_bytes);
    pk_err err =
        pk_engine_encode(r->engine, (uint32_t)(q - r->requests), prompt, all, r->options->pipeline->limits.context);
    free(prompt);
    q->state = ENCODING;
    r->encoding = true;
    r->under_way++;
    return err;
}

static pk_err start_request(run *r, request *q)
{
    char *text = NULL;
    size_t bytes = 0;
    const char *code = NULL;
    pk_err unread = pk_document_read(q->document, &text, &bytes, &code);
    pk_document_input(q->input, text, bytes, code);
    if (unread)
        return fail_request(r, q, code);
    r->report->progress.bytes_read += bytes;
    pk_err err = encode_prompt(r, q, text, bytes);
    free(text);
    return err;
}

/* Keeps a few prompts ready beyond those that run, so that the stages never wait for a tokenizer, and memory stays
 * bounded however many documents there are. Sending waits for nobody: the tokenize stage is idle when it gets a text.
 */
static pk_err feed(run *r)
{
    pk_err err = PK_OK;
    uint32_t most = r->options->pipeline->limits.sequences + 2;
    while (!err && !r->report->drained && !r->encoding && r->next < r->count && r->under_way < most) {
        request *q = &r->requests[r->next++];
        if (q->state == QUEUED)
            err = start_request(r, q);
    }
    return err;
}

/* The request that a text stage answers for, or NULL where it has nothing to answer. */
static request *answered(run *r, uint32_t text_id, request_state state)
{
    if (text_id < r->count && r->requests[text_id].state == state)
        return &r->requests[text_id];
    pk_fail(PK_PEER, "text %" PRIu32 " came from a text stage, which nobody asked for", text_id);
    return NULL;
}

static pk_err take_ids(void *context, uint32_t text_id, const int32_t *ids, size_t count, uint32_t too_many)
{
    run *r = context;
    request *q = answered(r, text_id, ENCODING);
    const pk_pipeline *p = r->options->pipeline;
    uint32_t sequence = 0;
    if (!q)
        return PK_PEER;
    r->encoding = false;
    if (r->report->drained) { /* it has not begun yet: the next run does it */
        q->state = QUEUED;
        r->under_way--;
        return PK_OK;
    }
    if (too_many == UINT32_MAX) {
        pk_fail(PK_INVALID, "the text cannot be tokenized; the log of the tokenize stage says why");
        return fail_request(r, q, NOT_TOKENIZED);
    }
    if (too_many) {
        pk_fail(PK_INVALID, "%" PRIu32 " prompt tokens are more than the context of %" PRIu32, too_many,
                p->limits.context);
        return fail_request(r, q, TOO_LONG);
    }
    pk_request ask = {.ids = ids,
                      .count = (uint32_t)count,
                      .max_tokens = p->generation.max_tokens,
                      .temperature = p->generation.temperature,
                      .seed = p->generation.seed,
                      .decode_from = UINT32_MAX};
    pk_err err = pk_engine_submit(r->engine, &ask, &sequence);
    if (err)
        return err == PK_INVALID ? fail_request(r, q, TOO_LONG) : err;
    assert(sequence < r->count);
    r->by_sequence[sequence] = text_id;
    r->report->progress.known_tokens += count;
    q->state = RUNNING;
    return PK_OK;
}

static pk_err take_outcome(void *context, const pk_outcome *outcome)
{
    run *r = context;
    request *q = &r->requests[r->by_sequence[outcome->sequence]];
    q->prompt_tokens = outcome->prompt_tokens;
    q->completion_tokens = outcome->token_count;
    q->finish = outcome->finish;
    if (outcome->finish == PK_FINISH_NAN) {
        pk_fail(PK_INVALID, "the model's logits after %" PRIu32 " tokens hold a NaN",
                outcome->prompt_tokens + outcome->token_count);
        return fail_request(r, q, NOT_A_NUMBER);
    }
    q->state = DECODING;
    uint32_t ends = outcome->finish == PK_FINISH_STOP; /* the end token is no text */
    return pk_engine_decode(r->engine, (uint32_t)(q - r->requests), outcome->tokens, outcome->token_count - ends);
}

static pk_err take_text(void *context, uint32_t text_id, const char *text, size_t bytes)
{
    run *r = context;
    request *q = answered(r, text_id, DECODING);
    if (!q)
        return PK_PEER;
    q->state = ENDED;
    r->under_way--;
    r->report->progress.ended++;
    return pk_results_put(r->results, &(pk_result){.custom_id = q->custom_id,
                                                   .input = q->input,
                                                   .content = text,
                                                   .content_bytes = bytes,
                                                   .finish_reason = q->finish == PK_FINISH_STOP ? "stop" : "length",
                                                   .prompt_tokens = q->prompt_tokens,
                                                   .completion_tokens = q->completion_tokens});
}

static void tell_progress(run *r)
{
    pk_scheduler_counters counters = pk_scheduler_count(pk_engine_scheduler(r->engine));
    pk_run_progress *p = &r->report->progress;
    p->prompt_tokens = counters.prompt_tokens;
    p->sampled_tokens = counters.sampled_tokens;
    p->running = counters.running;
    p->draining = r->report->drained;
    if (r->options->progress)
        r->options->progress(r->options->context, p);
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
    uint64_t start = pk_clock_ns();
    pk_err err = feed(r);
    while (!err && (r->under_way || (r->next < r->count && !r->report->drained))) {
        err = pk_engine_step(r->engine, POLL_MS);
        if (!err)
            err = attend_signals(r);
        if (!err)
            err = feed(r);
        tell_progress(r);
    }
    r->report->work_ns = pk_clock_ns() - start;
    if (r->report->drained && r->report->progress.ended == r->count)
        r->report->drained = false; /* nothing was left to drop */
    return err;
}

static char *custom_id_of(const pk_document *document)
{
    size_t capacity = strlen(document->name) + CUSTOM_ID_SUFFIX;
    char *id = malloc(capacity);
    if (id)
        snprintf(id, capacity, "%s#1", document->name);
    return id;
}

static void add_size(run *r, const pk_document *document)
{
    struct stat info;
    if (document->path && !document->code && stat(document->path, &info) == 0)
        r->report->progress.bytes_total += (uint64_t)info.st_size;
}

/* One request for each document; those that an earlier run has ended stay ended. */
static pk_err list_requests(run *r)
{
    pk_err err = pk_documents_collect(&r->documents, r->options->inputs, r->options->input_count);
    if (err)
        return err;
    size_t count = r->documents.count;
    if (count == 0)
        return pk_fail(PK_INVALID, "no document was found in the inputs (.txt and .md are read)");
    r->requests = calloc(count, sizeof *r->requests);
    r->by_sequence = calloc(count, sizeof *r->by_sequence);
    const char **ids = calloc(count, sizeof *ids);
    if (!r->requests || !r->by_sequence || !ids)
        err = pk_fail(PK_NOMEM, "%zu requests", count);
    for (; !err && r->count < count; r->count++) {
        request *q = &r->requests[r->count];
        q->document = &r->documents.items[r->count];
        ids[r->count] = q->custom_id = custom_id_of(q->document);
        if (!q->custom_id)
            err = pk_fail(PK_NOMEM, "%zu requests", count);
    }
    r->report->progress.documents = r->count;
    if (!err)
        err = pk_results_queue(r->results, ids, r->count);
    free(ids);
    return err;
}

/* Whether the document holds something else than when its request ended. An older record may not say. */
static pk_err has_changed(run *r, request *q, bool *out)
{
    char before[PK_INPUT_BYTES], now[PK_INPUT_BYTES], *text = NULL;
    size_t bytes = 0;
    const char *code = NULL;
    *out = false;
    pk_err err = pk_results_input(r->results, q->custom_id, before);
    if (err || !before[0])
        return err;
    if (pk_document_read(q->document, &text, &bytes, &code) == PK_OK)
        pk_document_input(now, text, bytes, NULL);
    else
        pk_document_input(now, NULL, 0, code);
    pk_document_keep(q->document, text, bytes);
    *out = strcmp(before, now) != 0;
    return PK_OK;
}

static void count_ended(run *r, request *q, pk_request_state state)
{
    q->state = ENDED;
    r->report->progress.ended++;
    r->report->progress.failed += state == PK_REQUEST_FAILED;
}

/* Those that an earlier run has ended stay ended, unless their document is another now: its custom_id into `changed`.
 */
static pk_err sort_out(run *r, const char **changed, size_t *changed_count)
{
    pk_request_state state;
    pk_err err = PK_OK;
    for (size_t i = 0; !err && i < r->count; i++) {
        request *q = &r->requests[i];
        bool other = false;
        if ((err = pk_results_state(r->results, q->custom_id, &state)) ||
            (state != PK_REQUEST_QUEUED && (err = has_changed(r, q, &other))))
            break;
        if (state != PK_REQUEST_QUEUED && !other) {
            count_ended(r, q, state);
            continue;
        }
        add_size(r, q->document);
        if (!other)
            continue;
        changed[(*changed_count)++] = q->custom_id;
        if (r->options->changed)
            r->options->changed(r->options->context, q->document->name);
    }
    return err;
}

static pk_err skip_ended(run *r)
{
    size_t changed_count = 0;
    const char **changed = calloc(r->count, sizeof *changed);
    if (!changed)
        return pk_fail(PK_NOMEM, "%zu requests", r->count);
    pk_err err = sort_out(r, changed, &changed_count);
    if (!err)
        err = pk_results_withdraw(r->results, changed, changed_count);
    free(changed);
    return err;
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

/* What an answer depends on besides its document. */
static pk_err open_results(run *r)
{
    const pk_run_options *o = r->options;
    const pk_generation *g = &o->pipeline->generation;
    char *identity = NULL;
    if (asprintf(&identity,
                 "model: %s\nnumeric mode: cpu float32\nmax_tokens: %" PRIu32 "\ntemperature: %.9g\nseed: %" PRIu64
                 "\nquestion: %s\n",
                 r->digest, g->max_tokens, (double)g->temperature, g->seed, o->question) < 0)
        return pk_fail(PK_NOMEM, "identity");
    char *model = model_name(o->pipeline->model);
    pk_err err =
        model ? pk_results_open(&r->results,
                                (pk_results_options){
                                    .dir = o->out_dir, .run_dir = o->run_dir, .identity = identity, .model = model})
              : pk_fail(PK_NOMEM, "model name");
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

/* The run directory into `out`; false: the run has none. */
static bool run_folder(const pk_run_options *options, char *out, size_t bytes)
{
    if (!options->run_dir && !options->out_dir)
        return false;
    snprintf(out, bytes, "%s%s", options->run_dir ? options->run_dir : options->out_dir,
             options->run_dir ? "" : "/.penstock");
    return true;
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
    char dir[4096], logs[4112] = "";
    uint64_t start = pk_clock_ns();
    pk_err err = PK_OK;
    if (run_folder(o, dir, sizeof dir)) {
        if ((err = keep_pipeline(o->pipeline, dir)))
            return err;
        snprintf(logs, sizeof logs, "%s/logs", dir);
        mkdir(logs, 0777); /* where it cannot be made, opening the first log says so */
    }
    err = pk_fleet_open(&r->fleet, (pk_fleet_options){.pipeline = o->pipeline,
                                                      .model = o->model,
                                                      .log_dir = logs[0] ? logs : NULL,
                                                      .timeline = o->timeline,
                                                      .loading = o->loading,
                                                      .loading_context = o->context,
                                                      .interrupted_by = &r->report->last_signal});
    if (err)
        return err;
    r->report->load_ns = pk_clock_ns() - start;
    if (o->loaded)
        o->loaded(o->context, r->fleet);
    return pk_engine_open(
        &r->engine,
        (pk_engine_options){
            .fleet = r->fleet,
            .pipeline = o->pipeline,
            .model = o->model,
            .kv_tokens = o->kv_tokens,
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
    pk_engine_close(&r->engine);
    pk_fleet_close(&r->fleet);
    pk_results_close(&r->results);
    for (size_t i = 0; i < r->count; i++)
        free(r->requests[i].custom_id);
    free(r->requests);
    free(r->by_sequence);
    pk_documents_fini(&r->documents);
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
    return err ? err : summarize(r);
}

pk_err pk_run(const pk_run_options *options, pk_run_report *report)
{
    run r = {.options = options, .report = report};
    *report = (pk_run_report){0};
    pk_err err = digest_model(&r);
    if (!err)
        err = open_results(&r);
    if (!err)
        err = list_requests(&r);
    if (!err)
        err = skip_ended(&r);
    if (!err && report->progress.ended < r.count)
        err = process(&r);
    else if (!err && !pk_results_summarized(r.results)) /* the run that did the work died before it could */
        err = summarize(&r);
    fini(&r);
    return err;
}
