#include "pipeline/resolve.h"

#include "pipeline/footprint.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum {
    CONTEXT_DEFAULT = 262144,
    SEQUENCES_DEFAULT = 16,
    MAX_TOKENS_DEFAULT = 512,
    LIST_BYTES = 512,
};

/* A list for a message, cut where it would not fit. */
struct list {
    char text[LIST_BYTES];
    size_t length;
};

static void append(struct list *list, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void append(struct list *list, const char *format, ...)
{
    va_list arguments;
    if (list->length >= sizeof list->text)
        return;
    va_start(arguments, format);
    int bytes = vsnprintf(list->text + list->length, sizeof list->text - list->length, format, arguments);
    va_end(arguments);
    if (bytes > 0)
        list->length += (size_t)bytes;
}

/* Refuses the pipeline at the stage's place in its file, as far as it has one; `stage` may be NULL. */
static pk_err refuse(const pk_pipeline *pipeline, const pk_stage_spec *stage, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static pk_err refuse(const pk_pipeline *pipeline, const pk_stage_spec *stage, const char *format, ...)
{
    char message[PK_ERROR_TEXT_BYTES];
    const char *source = pipeline->source ? pipeline->source : "pipeline";
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    if (stage && stage->line)
        return pk_fail(PK_INVALID, "%s:%u:%u: stages.%s: %s", source, stage->line, stage->column, stage->name, message);
    return pk_fail(PK_INVALID, "%s: stages%s%s: %s", source, stage ? "." : "", stage ? stage->name : "", message);
}

static uint32_t count_kind(const pk_pipeline *pipeline, pk_stage_kind kind)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < pipeline->stage_count; ++i)
        count += pipeline->stages[i].kind == kind;
    return count;
}

static uint32_t smaller(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

static void make_layers_stage(pk_stage_spec *stage, const pk_layout *layout, uint32_t part)
{
    *stage = (pk_stage_spec){.kind = PK_STAGE_LAYERS,
                             .first_layer = layout->first[part],
                             .last_layer = layout->first[part + 1] - 1,
                             .threads = smaller(layout->threads, PK_LIMIT_THREADS)};
    snprintf(stage->name, sizeof stage->name, "layers-%u-%u", stage->first_layer, stage->last_layer);
}

static void make_plain_stage(pk_stage_spec *stage, pk_stage_kind kind)
{
    *stage = (pk_stage_spec){.kind = kind};
    snprintf(stage->name, sizeof stage->name, "%s", pk_stage_kind_word(kind));
}

/* The stages of a pipeline that nobody wrote. */
static pk_err make_stages(pk_pipeline *pipeline, const pk_layout *layout, pk_purpose purpose)
{
    bool text = purpose == PK_PURPOSE_TEXT;
    pk_stage_spec *stage = calloc(layout->parts + 3, sizeof *stage);
    if (!stage)
        return pk_fail(PK_NOMEM, "no memory for %u stages", layout->parts + 3);
    pipeline->stages = stage;
    if (text)
        make_plain_stage(stage++, PK_STAGE_TOKENIZE);
    for (uint32_t part = 0; part < layout->parts; ++part)
        make_layers_stage(stage++, layout, part);
    make_plain_stage(stage, PK_STAGE_HEAD);
    stage++->threads = smaller(layout->threads, PK_LIMIT_THREADS);
    if (text)
        make_plain_stage(stage++, PK_STAGE_DETOKENIZE);
    pipeline->stage_count = (uint32_t)(stage - pipeline->stages);
    return PK_OK;
}

static pk_err check_names(const pk_pipeline *pipeline)
{
    for (uint32_t i = 0; i < pipeline->stage_count; ++i)
        for (uint32_t j = 0; j < i; ++j)
            if (!strcmp(pipeline->stages[i].name, pipeline->stages[j].name))
                return refuse(pipeline, &pipeline->stages[i], "a second stage of this name, the first is number %u",
                              j + 1);
    return PK_OK;
}

static pk_err check_one(const pk_pipeline *pipeline, pk_stage_kind kind, bool wanted)
{
    uint32_t seen = 0;
    const char *word = pk_stage_kind_word(kind);
    for (uint32_t i = 0; i < pipeline->stage_count; ++i)
        if (pipeline->stages[i].kind == kind && seen++)
            return refuse(pipeline, &pipeline->stages[i], "a second %s stage, expected one", word);
    if (!seen && wanted)
        return refuse(pipeline, NULL, "no stage of kind %s, expected one: - { name: %s, kind: %s }", word, word, word);
    return PK_OK;
}

static pk_err check_kinds(const pk_pipeline *pipeline, pk_purpose purpose)
{
    bool text = purpose == PK_PURPOSE_TEXT;
    pk_err err = check_one(pipeline, PK_STAGE_TOKENIZE, text);
    if (!err)
        err = check_one(pipeline, PK_STAGE_HEAD, true);
    return err ? err : check_one(pipeline, PK_STAGE_DETOKENIZE, text);
}

/* The stages that hold `layer`: their number, and the first two. */
static uint32_t holders(const pk_pipeline *pipeline, uint32_t layer, const pk_stage_spec *out[2])
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < pipeline->stage_count; ++i) {
        const pk_stage_spec *stage = &pipeline->stages[i];
        if (stage->kind != PK_STAGE_LAYERS || layer < stage->first_layer || layer > stage->last_layer)
            continue;
        if (count < 2)
            out[count] = stage;
        ++count;
    }
    return count;
}

static void append_range(struct list *list, uint32_t first, uint32_t last)
{
    append(list, list->length ? ", %u" : "%u", first);
    if (last > first)
        append(list, "-%u", last);
}

/* Lists the layers that no stage has, and those that several have with two of these, as ranges. */
static void list_faults(const pk_pipeline *pipeline, uint32_t layers, struct list *missing, struct list *doubled)
{
    const pk_stage_spec *of[2] = {NULL, NULL}, *next[2] = {NULL, NULL};
    for (uint32_t first = 0, last; first < layers; first = last + 1) {
        uint32_t count = holders(pipeline, first, of);
        for (last = first; last + 1 < layers; ++last) /* while all is as at `first` */
            if (holders(pipeline, last + 1, next) != count || (count > 1 && (next[0] != of[0] || next[1] != of[1])))
                break;
        if (!count)
            append_range(missing, first, last);
        else if (count > 1) {
            append_range(doubled, first, last);
            append(doubled, " (%s and %s)", of[0]->name, of[1]->name);
        }
    }
}

static pk_err check_coverage(const pk_pipeline *pipeline, uint32_t layers)
{
    struct list missing = {.length = 0}, doubled = {.length = 0};
    list_faults(pipeline, layers, &missing, &doubled);
    if (!missing.length && !doubled.length)
        return PK_OK;
    return refuse(pipeline, NULL, "the model's layers 0-%u must each be in one stage%s%s%s%s", layers - 1,
                  missing.length ? "; missing: " : "", missing.text, doubled.length ? "; doubled: " : "", doubled.text);
}

static pk_err check_layers(const pk_pipeline *pipeline, uint32_t layers)
{
    const pk_stage_spec *before = NULL;
    for (uint32_t i = 0; i < pipeline->stage_count; ++i) {
        const pk_stage_spec *stage = &pipeline->stages[i];
        if (stage->kind != PK_STAGE_LAYERS)
            continue;
        if (stage->last_layer >= layers)
            return refuse(pipeline, stage, "layers %u-%u, but the model has %u (0-%u)", stage->first_layer,
                          stage->last_layer, layers, layers - 1);
        if (before && stage->first_layer < before->first_layer)
            return refuse(pipeline, stage, "layers %u-%u stand behind layers %u-%u of %s, expected them in order",
                          stage->first_layer, stage->last_layer, before->first_layer, before->last_layer, before->name);
        before = stage;
    }
    return check_coverage(pipeline, layers);
}

/* Into the order in which a document passes them; within a kind as written. */
static pk_err order_stages(pk_pipeline *pipeline)
{
    pk_stage_spec *ordered = malloc(pipeline->stage_count * sizeof *ordered);
    uint32_t count = 0;
    if (!ordered)
        return pk_fail(PK_NOMEM, "no memory for %u stages", pipeline->stage_count);
#define X(name, code, word, text)                                                                                      \
    for (uint32_t i = 0; i < pipeline->stage_count; ++i)                                                               \
        if (pipeline->stages[i].kind == PK_STAGE_##name)                                                               \
            ordered[count++] = pipeline->stages[i];
    PK_STAGE_KINDS(X)
#undef X
    free(pipeline->stages);
    pipeline->stages = ordered;
    return PK_OK;
}

static void fill_stages(pk_pipeline *pipeline, const pk_machine *machine)
{
    uint32_t share = machine->cores / count_kind(pipeline, PK_STAGE_LAYERS);
    for (uint32_t i = 0; i < pipeline->stage_count; ++i) {
        pk_stage_spec *stage = &pipeline->stages[i];
        bool computes = stage->kind == PK_STAGE_LAYERS || stage->kind == PK_STAGE_HEAD;
        if (!stage->threads)
            stage->threads = computes && share > 1 ? smaller(share, PK_LIMIT_THREADS) : 1;
        if (!*stage->device)
            memcpy(stage->device, "cpu", sizeof "cpu");
    }
}

/* What the key/value cache of one sequence may fill beside the state slots. */
static uint32_t fitting_context(const pk_model_config *model, uint64_t room, uint32_t sequences)
{
    uint64_t slots = pk_footprint_bytes(model, 0, sequences), token = pk_footprint_kv_token_bytes(model);
    if (slots >= room)
        return 0;
    uint64_t tokens = token ? (room - slots) / token : CONTEXT_DEFAULT;
    if (tokens >= CONTEXT_DEFAULT)
        return CONTEXT_DEFAULT;
    return (uint32_t)(tokens / PK_BLOCK_TOKENS * PK_BLOCK_TOKENS);
}

static double gib(uint64_t bytes)
{
    return (double)bytes / 0x1p30;
}

/* The weights beside everything else, where they are known. */
static pk_err check_memory(const pk_limits *limits, pk_resolve_options options)
{
    uint64_t memory = options.machine->memory_bytes, weights = options.weight_bytes;
    uint64_t needed = pk_footprint_bytes(options.model, limits->context, limits->sequences);
    if (weights > memory)
        return pk_fail(PK_NOMEM, "does not fit: the weights need %.1f GiB, this machine has %.1f GiB", gib(weights),
                       gib(memory));
    if (!limits->context)
        return pk_fail(
            PK_NOMEM,
            "does not fit: %u state slots alone need %.1f GiB, more than half of this machine's %.1f GiB%s; lower "
            "limits.sequences",
            limits->sequences, gib(needed), gib(memory), weights ? ", or than the weights leave" : "");
    if (needed > memory - weights)
        return pk_fail(PK_NOMEM,
                       "does not fit: %u state slots and the cache of one sequence of %u tokens need %.1f GiB, "
                       "this machine has %.1f GiB%s; lower limits.sequences or limits.context",
                       limits->sequences, limits->context, gib(needed), gib(memory - weights),
                       weights ? " beside the weights" : "");
    return PK_OK;
}

static pk_err fill_context(pk_limits *limits, pk_resolve_options options)
{
    uint64_t positions = options.model->max_positions;
    uint64_t room = pk_footprint_room(options.machine->memory_bytes, options.weight_bytes);
    if (limits->context > positions)
        return pk_fail(PK_INVALID, "limits.context: %u tokens, but the model has %llu positions", limits->context,
                       (unsigned long long)positions);
    if (!limits->context) {
        uint32_t fitting = fitting_context(options.model, room, limits->sequences);
        limits->context = fitting < positions ? fitting : (uint32_t)positions;
    }
    limits->kv_tokens = pk_footprint_kv_tokens(options.model, room, limits->context, limits->sequences);
    return check_memory(limits, options);
}

/* Nothing of these depends on the stages. */
static pk_err fill_limits(pk_pipeline *pipeline, pk_resolve_options options)
{
    if (!pipeline->limits.sequences)
        pipeline->limits.sequences = SEQUENCES_DEFAULT;
    if (!pipeline->generation.max_tokens)
        pipeline->generation.max_tokens = MAX_TOKENS_DEFAULT;
    if (!(pipeline->generation.top_p > 0))
        pipeline->generation.top_p = 1;
    if (!pipeline->limits.silent_seconds)
        pipeline->limits.silent_seconds = PK_SILENT_SECONDS;
    if (!pipeline->limits.hung_seconds)
        pipeline->limits.hung_seconds = PK_HUNG_SECONDS;
    return fill_context(&pipeline->limits, options);
}

static pk_choose_options choosing(const pk_pipeline *pipeline, pk_resolve_options options, const pk_speeds *builtin)
{
    return (pk_choose_options){.model = options.model,
                               .speeds = options.speeds ? options.speeds : builtin,
                               .workload = pk_workload_usual(&pipeline->limits, pipeline->generation.max_tokens),
                               .cores = options.machine->cores,
                               .batch_rows = pipeline->limits.batch_rows};
}

static pk_err choose_stages(pk_pipeline *pipeline, pk_resolve_options options)
{
    pk_speeds builtin = pk_speeds_builtin();
    pk_layout layout;
    pk_choose(choosing(pipeline, options, &builtin), false, &layout);
    pipeline->limits.batch_rows = layout.batch_rows;
    pipeline->chosen = true;
    return make_stages(pipeline, &layout, options.purpose);
}

static void choose_rows(pk_pipeline *pipeline, pk_resolve_options options)
{
    pk_speeds builtin = pk_speeds_builtin();
    pk_layout layout = pk_layout_of(pipeline);
    pk_choose(choosing(pipeline, options, &builtin), true, &layout);
    pipeline->limits.batch_rows = layout.batch_rows;
}

pk_err pk_pipeline_resolve(pk_pipeline *pipeline, pk_resolve_options options)
{
    pk_err err = fill_limits(pipeline, options);
    if (!err && !pipeline->stage_count)
        err = choose_stages(pipeline, options);
    if (err || (err = pk_pipeline_set_kept(pipeline)) || (err = check_names(pipeline)) ||
        (err = check_kinds(pipeline, options.purpose)) ||
        (err = check_layers(pipeline, (uint32_t)options.model->layers)) || (err = order_stages(pipeline)))
        return err;
    fill_stages(pipeline, options.machine);
    if (!pipeline->limits.window)
        pipeline->limits.window = 2 * (count_kind(pipeline, PK_STAGE_LAYERS) + 1) + 1;
    if (!pipeline->limits.batch_rows)
        choose_rows(pipeline, options);
    return PK_OK;
}
