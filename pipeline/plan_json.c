/* plan_json.c - a plan for a program. Bytes and counts are whole numbers, times seconds, prices per million tokens. */
#include "pipeline/plan.h"

#include "pipeline/generation.h"

#include <inttypes.h>

static void add_model(pk_json_text *out, const pk_plan *plan)
{
    const pk_census *census = plan->of.census;
    pk_json_text_raw(out, "{\"model\": {\"directory\": ");
    pk_json_text_word(out, plan->of.pipeline->model);
    pk_json_text_raw(out, ", \"known_by\": ");
    pk_json_text_word(out, pk_census_source_words(census->source));
    pk_json_text_raw(out,
                     ", \"layers\": %zu, \"weights\": %zu, \"parameters\": %" PRIu64 ", \"bytes\": %" PRIu64
                     ", \"expert_dtype\": \"%s\", \"router_dtype\": \"%s\"}",
                     plan->of.model->layers, census->weights, census->whole.parameters, census->whole.stored_bytes,
                     pk_dtype_name(census->dtype), pk_dtype_name(census->router_dtype));
}

/* Both modes, each with its name: 0 is this version's. */
static void add_sequence(pk_json_text *out, const pk_footprint *sum)
{
    static const char *const modes[] = {"f32", "bf16"};
    pk_json_text_raw(out, ",\n \"document\": [");
    for (uint64_t i = 0; i < 2; i++)
        pk_json_text_raw(out,
                         "%s{\"activations\": \"%s\", \"in_this_version\": %s, \"boundary_state_bytes\": %" PRIu64
                         ", \"tail_bytes\": %" PRIu64 ", \"kv_token_bytes\": %" PRIu64 "}",
                         i ? ", " : "", modes[i], i ? "false" : "true", sum->matrix_bytes, sum->tail_bytes >> i,
                         sum->kv_token_bytes >> i);
    pk_json_text_raw(out, "]");
}

static void add_bytes(pk_json_text *out, const pk_footprint *f, const pk_limits *limits)
{
    pk_json_text_raw(out,
                     "\"weight_bytes\": %" PRIu64 ", \"state_bytes\": %" PRIu64 ", \"tail_bytes\": %" PRIu64
                     ", \"kv_bytes\": %" PRIu64 ", \"buffer_bytes\": %" PRIu64 ", \"bytes\": %" PRIu64,
                     f->weight_bytes, f->matrix_bytes * limits->sequences, f->tail_bytes * limits->sequences,
                     f->kv_token_bytes * limits->context, f->buffer_bytes,
                     pk_footprint_sum(f, limits->sequences, limits->context));
}

static void add_stages(pk_json_text *out, const pk_plan *plan)
{
    const pk_pipeline *pipeline = plan->of.pipeline;
    const pk_limits *limits = &pipeline->limits;
    pk_json_text_raw(out,
                     ",\n \"machine\": {\"cores\": %" PRIu32 ", \"memory_bytes\": %" PRIu64 "}, \"chosen\": %s"
                     ", \"speeds\": ",
                     plan->of.machine->cores, plan->memory_bytes, plan->of.pipeline->chosen ? "true" : "false");
    pk_json_text_word(out, plan->of.speeds->source);
    pk_json_text_raw(out,
                     ",\n \"limits\": {\"context\": %" PRIu32 ", \"batch_rows\": %" PRIu32 ", \"sequences\": %" PRIu32
                     ", \"window\": %" PRIu32 "},\n \"stages\": [",
                     limits->context, limits->batch_rows, limits->sequences, limits->window);
    for (uint32_t i = 0; i < pipeline->stage_count; i++) {
        const pk_stage_spec *stage = &pipeline->stages[i];
        pk_footprint f = pk_footprint_of_stage(pipeline, stage, plan->of.model, plan->of.census);
        pk_json_text_raw(out, "%s\n  {\"name\": \"%s\", \"kind\": \"%s\", \"host\": \"local\", ", i ? "," : "",
                         stage->name, pk_stage_kind_word(stage->kind));
        if (stage->kind == PK_STAGE_LAYERS)
            pk_json_text_raw(out, "\"layers\": \"%" PRIu32 "-%" PRIu32 "\", ", stage->first_layer, stage->last_layer);
        pk_json_text_raw(out, "\"device\": \"%s\", \"threads\": %" PRIu32 ", ", stage->device, stage->threads);
        add_bytes(out, &f, limits);
        pk_json_text_raw(out, "}");
    }
    pk_json_text_raw(out, "],\n \"all\": {");
    add_bytes(out, &plan->sum, limits);
    pk_json_text_raw(out, "}");
}

static void add_fits(pk_json_text *out, const pk_plan *plan)
{
    bool fits = plan->needed_bytes <= plan->memory_bytes;
    pk_json_text_raw(out, ",\n \"fits\": %s, \"too_much_bytes\": %" PRIu64 ", \"largest\": [", fits ? "true" : "false",
                     fits ? 0 : plan->needed_bytes - plan->memory_bytes);
    for (size_t i = 0; i < plan->fit_count && plan->fits[i].context; i++)
        pk_json_text_raw(out, "%s{\"documents\": %" PRIu32 ", \"context\": %" PRIu64 "}", i ? ", " : "",
                         plan->fits[i].documents, plan->fits[i].context);
    pk_json_text_raw(out, "]");
}

static void add_costs(pk_json_text *out, const pk_plan *plan)
{
    pk_json_text_raw(out, ",\n \"token\": [");
    for (size_t i = 0; i < PK_PLAN_WORKS; i++) {
        const pk_plan_work *work = &plan->works[i];
        pk_json_text_raw(out,
                         "%s\n  {\"work\": \"%s\", \"rows\": %.0f, \"position\": %.0f, \"flops\": %.6g, \"bytes\": %.6g"
                         ", \"limited_by\": \"%s\", \"least_seconds\": %.4g, \"predicted_seconds\": %.4g}",
                         i ? "," : "", work->name, work->rows.rows_each * work->rows.sequences, work->rows.position,
                         work->flops, work->bytes, work->compute_s > work->memory_s ? "arithmetic" : "memory",
                         work->compute_s > work->memory_s ? work->compute_s : work->memory_s, work->predicted_s);
    }
    pk_json_text_raw(out,
                     "],\n \"workload\": {\"documents\": %" PRIu32 ", \"prompt_tokens\": %" PRIu32
                     ", \"answer_tokens\": %" PRIu32 ", \"prefill_seconds\": %.4g, \"decode_seconds\": %.4g}",
                     plan->workload.documents, plan->workload.prompt_tokens, plan->workload.answer_tokens,
                     plan->predicted.prefill, plan->predicted.decode);
}

static void add_price(pk_json_text *out, const pk_plan *plan)
{
    const pk_workload *w = &plan->workload;
    double million = plan->of.price / 3600 * 1e6 / w->documents;
    pk_json_text_raw(out, ",\n \"price\": {\"hour\": %.6g, \"prefill_million\": %.6g, \"decode_million\": %.6g}",
                     plan->of.price, million * plan->predicted.prefill / w->prompt_tokens,
                     million * plan->predicted.decode / w->answer_tokens);
}

static void add_generation(pk_json_text *out, const pk_plan *plan)
{
    pk_json_text_raw(out, ",\n \"generation\": [");
    for (size_t i = 0; i < PK_GENERATION_LENGTHS; i++) {
        pk_generation_cost cost = pk_generation_cost_of(plan->of.model, plan->of.census, pk_generation_lengths[i]);
        pk_json_text_raw(out,
                         "%s\n  {\"tokens\": %" PRIu32 ", \"flops\": %.6g, \"deepseek_r1_naive_flops\": %.6g"
                         ", \"deepseek_r1_absorbed_flops\": %.6g}",
                         i ? "," : "", cost.tokens, cost.flops, cost.naive, cost.absorbed);
    }
    pk_json_text_raw(out, "]");
}

void pk_plan_json(const pk_plan *plan, pk_json_text *out)
{
    add_model(out, plan);
    add_sequence(out, &plan->sum);
    add_stages(out, plan);
    add_fits(out, plan);
    add_costs(out, plan);
    if (plan->of.price > 0)
        add_price(out, plan);
    if (plan->of.generation_table)
        add_generation(out, plan);
    pk_json_text_raw(out, "}\n");
}
