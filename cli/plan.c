/* plan.c - penstock plan: will it fit, where does everything go, how fast could it be; starts nothing. */
#include "cli/command.h"
#include "cli/json.h"
#include "cli/source.h"
#include "pipeline/plan.h"

struct values {
    pk_source source;
    bool flops, json;
    double price;
    const char *purpose;
};

static const pk_option options[] = {
    PK_SOURCE_OPTIONS(struct values, source),
    PK_PURPOSE_OPTION(struct values, purpose),
    {.name = "flops",
     .type = PK_OPTION_FLAG,
     .group = "Output",
     .help = "also the arithmetic of answers of 32K to 128K tokens, beside DeepSeek-R1's",
     PK_OPTION_INTO(struct values, flops)},
    {.name = "price",
     .type = PK_OPTION_REAL,
     .argument = "X",
     .group = "Output",
     .help = "what this machine costs an hour, in any currency: also the price of a million tokens",
     PK_OPTION_INTO(struct values, price)},
    PK_JSON_OPTION(struct values, json),
    {0},
};

/* Resolves as `run` does. What `run` refuses for want of memory is resolved without that bound, so that a plan can say
 * the whole of it; `refusal` keeps the words. */
static pk_err resolve(pk_pipeline *pipeline, pk_resolve_options how, char refusal[PK_ERROR_TEXT_BYTES])
{
    const pk_machine boundless = {.cores = how.machine->cores, .memory_bytes = UINT64_MAX / 4};
    pk_err err = pk_pipeline_resolve(pipeline, how);
    *refusal = '\0';
    if (err != PK_NOMEM)
        return err;
    snprintf(refusal, PK_ERROR_TEXT_BYTES, "%s", pk_error_text());
    how.machine = &boundless;
    return pk_pipeline_resolve(pipeline, how);
}

static pk_exit print(const pk_plan *plan, bool json)
{
    pk_json_text text = {0};
    if (!json)
        return pk_exit_report(PK_DOING_OUTPUT, pk_plan_print(plan, stdout));
    pk_plan_json(plan, &text);
    return pk_json_print(&text);
}

/* The plan's own verdict, else what `run` would say. */
static pk_err judge(const pk_plan *plan, const char *refusal)
{
    pk_err err = pk_plan_check(plan);
    return err || !*refusal ? err : pk_fail(PK_NOMEM, "%s", refusal);
}

static pk_exit plan(const struct values *values, pk_pipeline *pipeline, const pk_model_config *model)
{
    char refusal[PK_ERROR_TEXT_BYTES];
    pk_machine machine = pk_machine_read();
    pk_speeds speeds = pk_speeds_read(machine.cores);
    pk_census census;
    pk_plan made;
    pk_err err = pk_census_take(&census, pipeline->model, model);
    if (err)
        return pk_exit_report(PK_DOING_MODEL, err);
    err = resolve(pipeline,
                  (pk_resolve_options){.model = model,
                                       .machine = &machine,
                                       .speeds = &speeds,
                                       .weight_bytes = census.whole.resident_bytes,
                                       .purpose = pk_purpose_of(values->purpose)},
                  refusal);
    if (err)
        return pk_exit_report(PK_DOING_USAGE, err);
    pk_plan_make(&made, (pk_plan_options){.pipeline = pipeline,
                                          .model = model,
                                          .census = &census,
                                          .machine = &machine,
                                          .speeds = &speeds,
                                          .price = values->price,
                                          .generation_table = values->flops});
    pk_exit code = print(&made, values->json);
    return code ? code : pk_exit_report(PK_DOING_USAGE, judge(&made, refusal));
}

static pk_exit run(const void *parsed, const pk_words *operands)
{
    const struct values *values = parsed;
    pk_pipeline pipeline;
    pk_model_config model;
    if (values->price < 0)
        return pk_exit_report(PK_DOING_USAGE, pk_fail(PK_INVALID, "--price %g, expected 0 or more", values->price));
    pk_exit code = pk_source_read(&values->source, operands->count ? operands->items[0] : NULL, &pipeline, &model);
    if (!code)
        code = plan(values, &pipeline, &model);
    pk_pipeline_fini(&pipeline);
    return code;
}

const pk_command pk_command_plan = {
    .name = "plan",
    .group = "Pipelines",
    .summary = "will it fit, where does everything go, how fast could it be; starts nothing",
    .operands = "[PIPELINE.yaml]",
    .maximum = 1,
    .details = "From metadata alone: config.json and the headers of the weight files, or their index where they are "
               "not there.\n"
               "Ends with 4 when the pipeline does not fit this machine's memory. Speeds are those that `penstock "
               "doctor` has\n"
               "measured here, or built-in ones.",
    .options = options,
    .values_bytes = sizeof(struct values),
    .examples = {"penstock plan -m /models/MiniMax-M1-80k --flops", "penstock plan pipeline.yaml --price 2.50 --json"},
    .run = run,
};
