#include "pipeline/plan.h"

#include <math.h>

static void add(pk_footprint *to, pk_footprint part)
{
    to->weight_bytes += part.weight_bytes;
    to->matrix_bytes += part.matrix_bytes;
    to->tail_bytes += part.tail_bytes;
    to->kv_token_bytes += part.kv_token_bytes;
    to->buffer_bytes += part.buffer_bytes;
}

/* Whole blocks only, and no more than the model's positions. */
static uint64_t longest_context(const pk_plan *plan, uint32_t documents)
{
    uint64_t fixed = pk_footprint_sum(&plan->sum, documents, 0), token = plan->sum.kv_token_bytes * documents;
    uint64_t positions = plan->of.model->max_positions;
    if (fixed > plan->memory_bytes)
        return 0;
    uint64_t fits = token ? (plan->memory_bytes - fixed) / token / PK_BLOCK_TOKENS * PK_BLOCK_TOKENS : positions;
    return fits < positions ? fits : positions;
}

static void find_fits(pk_plan *plan)
{
    for (uint32_t documents = 1; plan->fit_count < PK_PLAN_FITS; documents *= 2) {
        uint64_t context = longest_context(plan, documents);
        plan->fits[plan->fit_count++] = (pk_plan_fit){.documents = documents, .context = context};
        if (!context)
            break;
    }
}

static double layers_seconds(const pk_plan *plan, pk_rows rows, uint32_t threads)
{
    double seconds = 0;
    for (size_t layer = 0; layer < plan->of.model->layers; layer++) {
        pk_layer_cost cost = pk_layer_cost_of(plan->of.model, plan->of.census, layer);
        seconds += pk_layer_seconds(&cost, plan->of.model, plan->of.speeds, threads, rows);
    }
    return seconds;
}

/* A batch that is limited by one thing: the whole machine's arithmetic, or its memory. */
static pk_plan_work work_of(const pk_plan *plan, const char *name, pk_rows rows, double heads)
{
    const pk_speeds *speeds = plan->of.speeds;
    uint32_t cores = plan->of.machine->cores;
    double all = rows.rows_each * rows.sequences, position = rows.position + (rows.rows_each - 1) / 2;
    pk_plan_work out = {.name = name, .rows = rows};
    out.flops = pk_row_flops(plan->of.model, plan->of.census, position) + heads * pk_head_flops(plan->of.model);
    out.bytes = pk_batch_bytes(plan->of.model, plan->of.census, rows) / all;
    out.compute_s = out.flops * 1e-9 / pk_speed_at(speeds->fma, speeds->threads, cores);
    out.memory_s = out.bytes * 1e-9 / pk_speed_at(speeds->read, speeds->threads, cores);
    return out;
}

static void describe_work(pk_plan *plan)
{
    const pk_workload *work = &plan->workload;
    double rows = fmin(plan->of.pipeline->limits.batch_rows, work->prompt_tokens), half = work->prompt_tokens / 2.0;
    double after = (double)work->prompt_tokens + work->answer_tokens / 2.0;
    uint32_t threads = pk_layout_of(plan->of.pipeline).threads;
    plan->works[0] = work_of(plan, "prefill", (pk_rows){rows, 1, fmax(half - rows / 2, 0)}, 0);
    plan->works[0].predicted_s = plan->predicted.prefill / work->documents / work->prompt_tokens;
    plan->works[1] = work_of(plan, "decode", (pk_rows){1, 1, after}, 1);
    plan->works[1].predicted_s = layers_seconds(plan, plan->works[1].rows, threads) +
                                 pk_head_seconds(plan->of.model, plan->of.speeds, threads, 1);
    plan->works[2] = work_of(plan, "decode", (pk_rows){1, work->documents, after}, 1);
    plan->works[2].predicted_s = plan->predicted.decode / work->answer_tokens / work->documents;
}

void pk_plan_make(pk_plan *out, pk_plan_options options)
{
    const pk_limits *limits = &options.pipeline->limits;
    pk_layout layout = pk_layout_of(options.pipeline);
    *out = (pk_plan){.of = options, .memory_bytes = options.machine->memory_bytes};
    for (uint32_t i = 0; i < options.pipeline->stage_count; ++i)
        add(&out->sum,
            pk_footprint_of_stage(options.pipeline, &options.pipeline->stages[i], options.model, options.census));
    out->needed_bytes = pk_footprint_sum(&out->sum, limits->sequences, limits->context);
    out->workload = pk_workload_usual(limits, options.pipeline->generation.max_tokens);
    out->predicted = pk_predict((pk_choose_options){.model = options.model,
                                                    .speeds = options.speeds,
                                                    .workload = out->workload,
                                                    .cores = options.machine->cores},
                                &layout);
    find_fits(out);
    describe_work(out);
}

pk_err pk_plan_check(const pk_plan *plan)
{
    const pk_limits *limits = &plan->of.pipeline->limits;
    double gib = 0x1p30, needed = (double)plan->needed_bytes / gib, memory = (double)plan->memory_bytes / gib;
    if (plan->needed_bytes <= plan->memory_bytes)
        return PK_OK;
    return pk_fail(
        PK_NOMEM,
        "does not fit: %.1f GiB are needed (%.1f GiB of weights, %.1f GiB of buffers, %u state slots of %.1f MiB, "
        "the cache of one sequence of %u tokens), this machine has %.1f GiB: %.1f GiB too much",
        needed, (double)plan->sum.weight_bytes / gib, (double)plan->sum.buffer_bytes / gib, limits->sequences,
        (double)(plan->sum.matrix_bytes + plan->sum.tail_bytes) / 0x1p20, limits->context, memory, needed - memory);
}
