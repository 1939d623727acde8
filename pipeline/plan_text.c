/* plan_text.c - a plan for a person. */
#include "pipeline/plan.h"

#include "pipeline/generation.h"

#include <inttypes.h>
#include <string.h>

enum { NUMBER_BYTES = 32 };

/* "912,210,767,872" into out; returns out. */
static const char *grouped(char out[NUMBER_BYTES], uint64_t number)
{
    char digits[NUMBER_BYTES], *to = out;
    int count = snprintf(digits, sizeof digits, "%" PRIu64, number);
    for (int i = 0; i < count; i++) {
        if (i && (count - i) % 3 == 0)
            *to++ = ',';
        *to++ = digits[i];
    }
    *to = '\0';
    return out;
}

/* "280.0 MiB" into out; returns out. */
static const char *sized(char out[NUMBER_BYTES], uint64_t bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    double value = (double)bytes;
    size_t unit = 0;
    for (; value >= 1024 && unit + 1 < sizeof units / sizeof *units; unit++)
        value /= 1024;
    snprintf(out, NUMBER_BYTES, unit ? "%.1f %s" : "%.0f %s", value, units[unit]);
    return out;
}

static const char *type_words(pk_dtype dtype)
{
    return dtype ? pk_dtype_name(dtype) : "mixed types";
}

static void print_model(const pk_plan *plan, FILE *out)
{
    char a[NUMBER_BYTES], b[NUMBER_BYTES], c[NUMBER_BYTES];
    const pk_census *census = plan->of.census;
    const pk_footprint *sum = &plan->sum;
    fprintf(out, "model      %s: %s, %zu layers, by %s\n", plan->of.pipeline->model, plan->of.model->model_type,
            plan->of.model->layers, pk_census_source_words(census->source));
    fprintf(out, "weights    %s parameters, %s bytes (%s), %zu matrices and vectors; experts %s, router gates %s\n",
            grouped(a, census->whole.parameters), grouped(b, census->whole.stored_bytes),
            sized(c, census->whole.stored_bytes), census->weights, type_words(census->dtype),
            type_words(census->router_dtype));
    fprintf(out, "document   %s of boundary state and %s of tail, whatever its length; %s of KV cache a token\n",
            sized(a, sum->matrix_bytes), sized(b, sum->tail_bytes), sized(c, sum->kv_token_bytes));
    fprintf(out, "           in this version's mode: activations, state and cache in float32\n");
    fprintf(out, "           with activations: bf16 (not in this version): tail %s, KV cache %s a token\n",
            sized(a, sum->tail_bytes / 2), sized(b, sum->kv_token_bytes / 2));
}

static void print_machine(const pk_plan *plan, FILE *out)
{
    char a[NUMBER_BYTES];
    const pk_limits *limits = &plan->of.pipeline->limits;
    fprintf(out, "machine    %" PRIu32 " cores, %s of memory; speeds: %s\n", plan->of.machine->cores,
            sized(a, plan->memory_bytes), plan->of.speeds->source);
    fprintf(out,
            "limits     %" PRIu32 " sequences, a context of %" PRIu32 ", batches of %" PRIu32 " rows; stages %s\n\n",
            limits->sequences, limits->context, limits->batch_rows,
            plan->of.pipeline->chosen ? "chosen by these speeds" : "as the file says");
}

static void print_row(const char *name, const char *part, const char *device, const pk_footprint *f,
                      const pk_limits *limits, FILE *out)
{
    char weights[NUMBER_BYTES], states[NUMBER_BYTES], tails[NUMBER_BYTES], cache[NUMBER_BYTES], buffers[NUMBER_BYTES],
        all[NUMBER_BYTES];
    fprintf(out, "%-16s %-9s %-6s %-12s %10s %10s %10s %10s %10s %10s\n", name, part, "local", device,
            sized(weights, f->weight_bytes), sized(states, f->matrix_bytes * limits->sequences),
            sized(tails, f->tail_bytes * limits->sequences), sized(cache, f->kv_token_bytes * limits->context),
            sized(buffers, f->buffer_bytes), sized(all, pk_footprint_sum(f, limits->sequences, limits->context)));
}

static void print_stages(const pk_plan *plan, FILE *out)
{
    const pk_pipeline *pipeline = plan->of.pipeline;
    fprintf(out, "%-16s %-9s %-6s %-12s %10s %10s %10s %10s %10s %10s\n", "stage", "layers", "host", "device",
            "weights", "states", "tails", "KV cache", "buffers", "in all");
    for (uint32_t i = 0; i < pipeline->stage_count; i++) {
        const pk_stage_spec *stage = &pipeline->stages[i];
        char part[NUMBER_BYTES] = "", device[NUMBER_BYTES];
        pk_footprint f = pk_footprint_of_stage(pipeline, stage, plan->of.model, plan->of.census);
        if (stage->kind == PK_STAGE_LAYERS)
            snprintf(part, sizeof part, "%" PRIu32 "-%" PRIu32, stage->first_layer, stage->last_layer);
        snprintf(device, sizeof device, "%s x%" PRIu32, stage->device, stage->threads);
        print_row(stage->name, part, device, &f, &pipeline->limits, out);
    }
    print_row("all", "", "", &plan->sum, &pipeline->limits, out);
    fprintf(out, "states and tails of all sequences, the cache of one of them; vocabularies are not counted\n\n");
}

static void print_fits(const pk_plan *plan, FILE *out)
{
    char a[NUMBER_BYTES], b[NUMBER_BYTES], c[NUMBER_BYTES];
    bool any = false;
    for (size_t i = 0; i < plan->fit_count && plan->fits[i].context; i++, any = true)
        fprintf(out, "%s%s of %s",
                any ? ", " : "fits       documents at a time, tokens of each: ", grouped(a, plan->fits[i].documents),
                grouped(b, plan->fits[i].context));
    if (any)
        fputc('\n', out);
    if (plan->needed_bytes > plan->memory_bytes)
        fprintf(out, "fits NOT   %s needed, %s there: %s too much\n", sized(a, plan->needed_bytes),
                sized(b, plan->memory_bytes), sized(c, plan->needed_bytes - plan->memory_bytes));
    else
        fprintf(out, "           the pipeline as it stands takes %s of %s\n", sized(a, plan->needed_bytes),
                sized(b, plan->memory_bytes));
}

static void print_work(const pk_plan_work *work, FILE *out)
{
    fprintf(out, "%-8s %9.0f %12.0f %11.3f %11.3f %12.3g %12.3g  %-10s %10.3g\n", work->name,
            work->rows.sequences * work->rows.rows_each, work->rows.position, work->flops * 1e-9, work->bytes * 1e-9,
            work->compute_s * 1e3, work->memory_s * 1e3, work->compute_s > work->memory_s ? "arithmetic" : "memory",
            work->predicted_s * 1e3);
}

static void print_costs(const pk_plan *plan, FILE *out)
{
    const pk_workload *w = &plan->workload;
    char a[NUMBER_BYTES];
    fprintf(out, "\n%-8s %9s %12s %11s %11s %12s %12s  %-10s %10s\n", "a token", "rows", "position", "GFLOP", "GB",
            "ms, at FMA", "ms, reading", "limited by", "predicted");
    for (size_t i = 0; i < PK_PLAN_WORKS; i++)
        print_work(&plan->works[i], out);
    fprintf(out,
            "predicted  %" PRIu32 " documents of %s tokens, one behind the other: %.1f s of prefill (%.1f tokens/s)",
            w->documents, grouped(a, w->prompt_tokens), plan->predicted.prefill,
            (double)w->documents * w->prompt_tokens / plan->predicted.prefill);
    fprintf(out, ",\n           then answers of %" PRIu32 " tokens, decoded together: %.1f s (%.1f tokens/s)\n",
            w->answer_tokens, plan->predicted.decode, (double)w->documents * w->answer_tokens / plan->predicted.decode);
    if (plan->needed_bytes > plan->memory_bytes)
        fprintf(out, "           as if everything fitted into memory\n");
}

static void print_price(const pk_plan *plan, FILE *out)
{
    const pk_workload *w = &plan->workload;
    double second = plan->of.price / 3600;
    fprintf(out, "price      at %.2f an hour of this machine: %.4g per million tokens of prefill, %.4g of decode\n",
            plan->of.price, 1e6 * second * plan->predicted.prefill / ((double)w->documents * w->prompt_tokens),
            1e6 * second * plan->predicted.decode / ((double)w->documents * w->answer_tokens));
}

static void print_generation(const pk_plan *plan, FILE *out)
{
    fprintf(out, "\n%-10s %12s %22s %22s\n", "answer of", "PFLOP", "DeepSeek-R1, naive", "DeepSeek-R1, absorbed");
    for (size_t i = 0; i < PK_GENERATION_LENGTHS; i++) {
        pk_generation_cost cost = pk_generation_cost_of(plan->of.model, plan->of.census, pk_generation_lengths[i]);
        fprintf(out, "%7" PRIu32 " K %13.3f %13.3f (%4.1f %%) %13.3f (%4.1f %%)\n", cost.tokens / 1024,
                cost.flops * 1e-15, cost.naive * 1e-15, 100 * cost.flops / cost.naive, cost.absorbed * 1e-15,
                100 * cost.flops / cost.absorbed);
    }
    fprintf(out,
            "A whole answer after an empty prompt, decoded token by token, head included, a multiply-add as two.\n"
            "naive: DeepSeek-R1 with keys and values expanded for each head; absorbed: in its 512 + 64 latent\n"
            "dimensions. In brackets this model's part. The article behind MiniMax-M1 claims less than 50 %% at 64K\n"
            "and about 25 %% at 100K.\n");
}

pk_err pk_plan_print(const pk_plan *plan, FILE *out)
{
    print_model(plan, out);
    print_machine(plan, out);
    print_stages(plan, out);
    print_fits(plan, out);
    print_costs(plan, out);
    if (plan->of.price > 0)
        print_price(plan, out);
    if (plan->of.generation_table)
        print_generation(plan, out);
    return fflush(out) || ferror(out) ? pk_fail_errno(PK_IO, "print the plan") : PK_OK;
}
