#include "pipeline/run_summary.h"

#include <inttypes.h>

static double seconds(uint64_t ns)
{
    return (double)ns / 1e9;
}

static void add_stage(pk_json_text *out, const pk_fleet_stage *stage, bool first)
{
    pk_json_text_raw(out, "%s\n    {\"name\": \"%s\", \"kind\": \"%s\", ", first ? "" : ",", stage->spec->name,
                     pk_stage_kind_word(stage->spec->kind));
    if (stage->spec->kind == PK_STAGE_LAYERS)
        pk_json_text_raw(out, "\"layers\": \"%" PRIu32 "-%" PRIu32 "\", ", stage->spec->first_layer,
                         stage->spec->last_layer);
    if (stage->ready.device_name[0]) {
        pk_json_text_raw(out, "\"device\": ");
        pk_json_text_word(out, stage->ready.device_name);
        pk_json_text_raw(out, ", \"threads\": %" PRIu32 ", \"weight_bytes\": %" PRIu64 ", \"tensors\": %" PRIu64 ", ",
                         stage->spec->threads, stage->ready.bytes_total, stage->ready.tensors);
    }
    pk_json_text_raw(out,
                     "\"load_seconds\": %.3f, \"batches\": %" PRIu64 ", \"rows\": %" PRIu64 ", \"dropped\": %" PRIu64
                     ", \"busy_seconds\": %.3f, \"wait_seconds\": %.3f}",
                     seconds(stage->ready.load_ns), stage->counters.batches, stage->counters.rows,
                     stage->counters.dropped, seconds(stage->counters.busy_ns), seconds(stage->counters.wait_ns));
}

/* The only one, or how many there are; null where request files ask. */
static void put_question(pk_json_text *out, const pk_questions *questions)
{
    if (!questions)
        pk_json_text_raw(out, "null");
    else if (questions->count == 1)
        pk_json_text_word(out, questions->items[0].text);
    else
        pk_json_text_raw(out, "\"%zu questions\"", questions->count);
}

void pk_run_summary(pk_json_text *out, const pk_run_options *options, const pk_run_report *report,
                    const pk_fleet *fleet, const char *digest)
{
    const pk_run_progress *p = &report->progress;
    double work = seconds(report->work_ns);
    pk_json_text_raw(
        out, "{\n  \"requests\": %" PRIu64 ", \"done\": %" PRIu64 ", \"failed\": %" PRIu64 ", \"left\": %" PRIu64 ",\n",
        p->requests, p->ended - p->failed, p->failed, p->requests - p->ended);
    if (!fleet)
        pk_json_text_raw(out,
                         "  \"note\": \"the run that did the work ended before it could write this: its tokens and "
                         "times are not known\",\n");
    pk_json_text_raw(out, "  \"prompt_tokens\": %" PRIu64 ", \"completion_tokens\": %" PRIu64 ",\n", p->prompt_tokens,
                     p->sampled_tokens);
    if (p->match.of)
        pk_json_text_raw(out, "  \"exact_match\": {\"right\": %" PRIu64 ", \"of\": %" PRIu64 "},\n", p->match.right,
                         p->match.of);
    pk_json_text_raw(out, "  \"load_seconds\": %.3f, \"work_seconds\": %.3f, \"tokens_per_second\": %.1f,\n",
                     seconds(report->load_ns), work,
                     work > 0 ? (double)(p->prompt_tokens + p->sampled_tokens) / work : 0);
    if (fleet)
        pk_json_text_raw(out, "  \"epoch\": %" PRIu32 ", \"batches_dropped\": %" PRIu64 ",\n", pk_fleet_epoch(fleet),
                         pk_fleet_dropped(fleet));
    pk_json_text_raw(out, "  \"model\": ");
    pk_json_text_word(out, options->pipeline->model);
    pk_json_text_raw(out, ", \"model_digest\": \"%s\",\n  \"question\": ", digest);
    put_question(out, options->questions);
    pk_json_text_raw(out, ",\n");
    pk_json_text_raw(out,
                     "  \"numeric_mode\": \"cpu float32 (docs/numerics.md), weights as stored%s\",\n  \"stages\": [",
                     options->model->quantised == PK_I8   ? ", int8 in groups of 64"
                     : options->model->quantised == PK_I4 ? ", int4 in groups of 64"
                                                          : "");
    for (size_t i = 0; fleet && i < pk_fleet_count(fleet); i++) {
        pk_fleet_stage stage = pk_fleet_at(fleet, i);
        add_stage(out, &stage, i == 0);
    }
    pk_json_text_raw(out, "\n  ]\n}\n");
}
