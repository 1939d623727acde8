#include "pipeline/choose.h"

#include <math.h>
#include <string.h>

enum {
    DOCUMENTS = 4,
    PROMPT_TOKENS = 32768,
    ROWS_LEAST = 64, /* a block of lightning attention */
    ROWS_MOST = 4096,
    SAMPLES = 8, /* chunks of a document at which its stages are weighed */
    STAGES_MOST = 64,
};

/* What a batch costs a stage beside its layers: a hop of 50 us (docs/performance.md) and the coordinator's part. */
static const double batch_seconds = 1e-4;
/* More stages of fewer threads are tried first, and others must be predicted to be better than they by this much: the
 * threads of a stage wait for each other at every operation, so that whatever disturbs one of them stops all, while
 * stages wait for each other once a batch. Smaller batches likewise: answers under way wait for them. */
static const double worth_it = 0.97;

pk_workload pk_workload_usual(const pk_limits *limits, uint32_t max_tokens)
{
    uint32_t answer = max_tokens < limits->context ? max_tokens : limits->context / 2;
    uint32_t room = limits->context - answer;
    return (pk_workload){.documents = limits->sequences < DOCUMENTS ? limits->sequences : DOCUMENTS,
                         .prompt_tokens = room > PROMPT_TOKENS ? PROMPT_TOKENS
                                          : room               ? room
                                                               : 1,
                         .answer_tokens = answer};
}

pk_layout pk_layout_of(const pk_pipeline *pipeline)
{
    pk_layout layout = {.batch_rows = pipeline->limits.batch_rows};
    for (uint32_t i = 0; i < pipeline->stage_count; ++i) {
        const pk_stage_spec *stage = &pipeline->stages[i];
        if (stage->kind != PK_STAGE_LAYERS)
            continue;
        if (!layout.parts || stage->threads < layout.threads)
            layout.threads = stage->threads;
        layout.first[layout.parts++] = stage->first_layer;
        layout.first[layout.parts] = stage->last_layer + 1;
    }
    return layout;
}

/* Seconds of each layer for one chunk, at SAMPLES places of the document: linear in the position, so that a few tell.
 */
struct weights {
    double layer[SAMPLES][PK_MODEL_LAYERS_MAX];
    double chunks; /* of one document */
};

static void weigh(struct weights *out, const pk_choose_options *o, uint32_t threads, uint32_t batch_rows)
{
    double tokens = o->workload.prompt_tokens, rows = fmin(batch_rows, tokens), of_kind[2] = {-1, -1};
    out->chunks = ceil(tokens / rows);
    for (size_t i = 0; i < SAMPLES; i++, of_kind[0] = of_kind[1] = -1)
        for (size_t layer = 0; layer < o->model->layers; layer++) {
            double *seconds = &of_kind[o->model->kind[layer] == PK_LAYER_SOFTMAX]; /* layers of a kind are alike */
            pk_layer_cost cost = pk_layer_cost_of(o->model, NULL, layer);
            if (*seconds < 0)
                *seconds = pk_layer_seconds(&cost, o->model, o->speeds, threads,
                                            (pk_rows){.rows_each = tokens / out->chunks,
                                                      .sequences = 1,
                                                      .position = tokens * (double)i / SAMPLES});
            out->layer[i][layer] = *seconds;
        }
}

static double sum_of(const struct weights *w, size_t sample, uint32_t first, uint32_t end)
{
    double sum = batch_seconds;
    for (uint32_t layer = first; layer < end; layer++)
        sum += w->layer[sample][layer];
    return sum;
}

/* Over the document, the mean of what a layer takes. */
static double mean_of(const struct weights *w, uint32_t layer)
{
    double sum = 0;
    for (size_t i = 0; i < SAMPLES; i++)
        sum += w->layer[i][layer] / SAMPLES;
    return sum;
}

/* Cuts so that no part weighs more than `most`, each part as long as it may be while the rest still has a layer for
 * each part to come. False: that many parts do not do. */
static bool cut_below(const double *weights, uint32_t layers, double most, pk_layout *out)
{
    uint32_t at = 0;
    for (uint32_t part = 0; part < out->parts; part++) {
        uint32_t end = layers - (out->parts - part - 1), next = at + 1;
        double sum = weights[at];
        while (next < end && sum + weights[next] <= most)
            sum += weights[next++];
        if (sum > most)
            return false;
        out->first[part] = at;
        at = next;
    }
    out->first[out->parts] = layers;
    return at == layers;
}

/* The cut into out->parts parts whose heaviest is lightest, to a thousandth. */
static void cut(const struct weights *w, uint32_t layers, pk_layout *out)
{
    double weights[PK_MODEL_LAYERS_MAX], low = 0, high = 0;
    pk_layout trial = *out;
    for (uint32_t layer = 0; layer < layers; layer++)
        high += weights[layer] = mean_of(w, layer);
    high *= 1.001; /* the sum is found in another order below */
    low = high / out->parts / 2;
    cut_below(weights, layers, high, out);
    while (high - low > 1e-3 * high) {
        double middle = (low + high) / 2;
        if (cut_below(weights, layers, middle, &trial)) {
            high = middle;
            memcpy(out->first, trial.first, sizeof out->first);
        } else {
            low = middle;
        }
    }
}

/* The documents' chunks follow each other without a gap, each step as long as its heaviest stage; once, the way of the
 * first chunk to the last stage. */
static double predict_prefill(const struct weights *w, const pk_layout *layout, double documents)
{
    double seconds = 0, first = 0;
    for (size_t i = 0; i < SAMPLES; i++) {
        double heaviest = 0;
        for (uint32_t part = 0; part < layout->parts; part++) {
            double sum = sum_of(w, i, layout->first[part], layout->first[part + 1]);
            heaviest = fmax(heaviest, sum);
            first += i ? 0 : sum;
        }
        seconds += heaviest / SAMPLES * w->chunks * documents;
        first -= i ? 0 : heaviest;
    }
    return seconds + first;
}

/* One row of each document at a time, through one stage after the other. */
static double predict_decode(const pk_choose_options *o, const pk_layout *layout)
{
    const pk_workload *work = &o->workload;
    pk_rows rows = {.rows_each = 1,
                    .sequences = work->documents,
                    .position = (double)work->prompt_tokens + (double)work->answer_tokens / 2};
    double step =
        (layout->parts + 1) * batch_seconds + pk_head_seconds(o->model, o->speeds, layout->threads, work->documents);
    for (size_t layer = 0; layer < o->model->layers; layer++) {
        pk_layer_cost cost = pk_layer_cost_of(o->model, NULL, layer);
        step += pk_layer_seconds(&cost, o->model, o->speeds, layout->threads, rows);
    }
    return step * work->answer_tokens;
}

pk_prediction pk_predict(pk_choose_options options, const pk_layout *layout)
{
    struct weights w;
    weigh(&w, &options, layout->threads, layout->batch_rows);
    return (pk_prediction){.prefill = predict_prefill(&w, layout, options.workload.documents),
                           .decode = predict_decode(&options, layout)};
}

/* Tries every number of rows, and keeps the best in *best. */
static void try_rows(const pk_choose_options *o, pk_layout trial, bool fixed, pk_layout *best, double *seconds)
{
    struct weights w;
    double decode = predict_decode(o, &trial);
    uint32_t least = o->batch_rows ? o->batch_rows : ROWS_LEAST, most = o->batch_rows ? o->batch_rows : ROWS_MOST;
    for (trial.batch_rows = least; trial.batch_rows <= most; trial.batch_rows *= 2) {
        weigh(&w, o, trial.threads, trial.batch_rows);
        if (!fixed)
            cut(&w, (uint32_t)o->model->layers, &trial);
        double all = predict_prefill(&w, &trial, o->workload.documents) + decode;
        if (all < *seconds * worth_it) {
            *seconds = all;
            *best = trial;
        }
    }
}

void pk_choose(pk_choose_options options, bool fixed, pk_layout *out)
{
    double seconds = INFINITY;
    uint32_t most = options.cores < options.model->layers ? options.cores : (uint32_t)options.model->layers;
    if (fixed) {
        try_rows(&options, *out, true, out, &seconds);
        return;
    }
    for (uint32_t parts = most < STAGES_MOST ? most : STAGES_MOST; parts; parts--)
        for (uint32_t threads = options.cores / parts; threads; threads /= 2)
            try_rows(&options, (pk_layout){.parts = parts, .threads = threads}, false, out, &seconds);
}
