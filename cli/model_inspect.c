/* model_inspect.c - penstock model inspect: what a checkpoint is, from its metadata alone. */
#include "cli/command.h"
#include "cli/json.h"
#include "cli/model_survey.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct values {
    bool json;
};

static const pk_option options[] = {
    PK_JSON_OPTION(struct values, json),
    {0},
};

enum { LISTED = 10 }; /* names of one kind that are shown to people; JSON has all */

/* "LLLLLLLS x10": the shortest unit that the layers repeat; `unit` has room for all. */
static size_t repeating_unit(const pk_model_config *c, char unit[PK_MODEL_LAYERS_MAX + 1])
{
    size_t length = 1;
    for (; length < c->layers; length++) {
        size_t at = length;
        while (c->layers % length == 0 && at < c->layers && c->kind[at] == c->kind[at - length])
            at++;
        if (at == c->layers)
            break;
    }
    for (size_t i = 0; i < length; i++)
        unit[i] = c->kind[i] == PK_LAYER_SOFTMAX ? 'S' : 'L';
    unit[length] = '\0';
    return c->layers / length;
}

static size_t count_softmax(const pk_model_config *c)
{
    size_t count = 0;
    for (size_t layer = 0; layer < c->layers; layer++)
        count += c->kind[layer] == PK_LAYER_SOFTMAX;
    return count;
}

static void print_shape(const pk_model_config *c)
{
    char unit[PK_MODEL_LAYERS_MAX + 1];
    size_t times = repeating_unit(c, unit), softmax = count_softmax(c);
    printf("dialect      %s (model_type %s)\n",
           c->dialect == PK_DIALECT_IN_TREE ? "of transformers' own tree" : "of the published files", c->model_type);
    printf("layers       %zu: %s", c->layers, unit);
    if (times > 1)
        printf(" ×%zu", times);
    printf("   (L lightning %zu, S softmax %zu)\n", c->layers - softmax, softmax);
    printf("width        %zu; %zu heads of %zu, %zu key/value heads, %zu dimensions rotated by theta %g\n", c->hidden,
           c->heads, c->head_dim, c->kv_heads, c->rotary_dim, c->rope_theta);
    printf("experts      %zu of inner width %zu, %zu for each token%s\n", c->experts, c->inner, c->experts_per_token,
           c->shared_expert ? ", and a shared one in each layer" : "");
    printf("residual     %s; alpha/beta lightning %g/%g, softmax %g/%g, experts %g/%g\n",
           c->postnorm ? "of the normalised value (postnorm)" : "of the value before the norm",
           c->lightning_scale.alpha, c->lightning_scale.beta, c->softmax_scale.alpha, c->softmax_scale.beta,
           c->mlp_scale.alpha, c->mlp_scale.beta);
    printf("vocabulary   %zu ids%s; context up to %zu tokens\n", c->vocab,
           c->tie_word_embeddings ? ", the embedding is the head" : "", c->max_positions);
}

static void print_sum(const char *word, const pk_survey_sum *sum, bool bytes)
{
    printf("  %-20s %8" PRIu64 " tensors %18" PRIu64 " parameters", word, sum->tensors, sum->parameters);
    if (bytes)
        printf(" %18" PRIu64 " bytes", sum->bytes);
    putchar('\n');
}

static void print_sums(const pk_survey *s)
{
    bool bytes = s->headless_count < s->tensor_count;
    printf("parameters\n");
    for (size_t part = 0; part < PK_SURVEY_PARTS_COUNT; part++)
        if (s->parts[part].tensors)
            print_sum(pk_survey_part_word((pk_survey_part)part), &s->parts[part], bytes);
    print_sum("all", &s->sum, bytes);
}

static void print_files(const pk_survey *s)
{
    printf("files        %zu %s, %zu tensors", s->shard_count,
           s->index.count ? "named by the index" : "without an index", s->tensor_count);
    if (s->index.total_bytes)
        printf(", %" PRIu64 " bytes by the index's word", s->index.total_bytes);
    putchar('\n');
    if (s->absent_count)
        printf("             %zu of them are not here\n", s->absent_count);
    for (size_t i = 0; i < s->dtype_count; i++)
        printf("  %-20s %8" PRIu64 " tensors %18" PRIu64 " bytes\n", s->dtypes[i].dtype, s->dtypes[i].tensors,
               s->dtypes[i].bytes);
    printf("names        %s\n",
           s->naming == PK_NAMES_IN_TREE ? "of transformers' own tree, experts fused" : "of the published files");
    printf("tokenizer    %s", s->tokenizer_file_count ? s->tokenizer_files[0] : "none");
    for (size_t i = 1; i < s->tokenizer_file_count; i++)
        printf(" and %s", s->tokenizer_files[i]);
    putchar('\n');
}

static void print_extra(const pk_survey *s)
{
    if (s->constant_count)
        printf("constants    %zu tensors of decays and slopes, which nobody reads\n", s->constant_count);
    if (s->extra_count)
        printf("extra        %zu tensors that the model has no use for\n", s->extra_count);
    for (size_t i = 0; i < s->extra_count && i < LISTED; i++)
        printf("  %s\n", s->extra[i]);
    if (s->extra_count > LISTED)
        printf("  and %zu more\n", s->extra_count - LISTED);
}

static void print_faults(const pk_survey *s)
{
    if (s->fault_count)
        printf("faults       %zu\n", s->fault_count);
    for (size_t i = 0; i < s->fault_count && i < LISTED; i++)
        printf("  %s\n", s->faults[i].what);
    if (s->fault_count > LISTED)
        printf("  and %zu more\n", s->fault_count - LISTED);
}

static void print_differences(const pk_survey *s)
{
    const char *notes[PK_CONFIG_NOTES_MAX];
    size_t count = s->has_config ? pk_config_differences(&s->config, notes) : 0;
    if (count)
        printf("arithmetic   official; transformers itself\n");
    for (size_t i = 0; i < count; i++)
        printf("  %s\n", notes[i]);
}

static void print_verdicts(const pk_survey *s)
{
    char why[PK_WHY_NOT_BYTES];
    printf("logits       %s\n", pk_survey_why_not(s, false, why) ? why : "can be computed");
    printf("run          %s\n", pk_survey_why_not(s, true, why) ? why : "can be run");
}

static void print_text(const pk_survey *s)
{
    printf("%s\n", s->dir);
    if (s->has_config)
        print_shape(&s->config);
    if (s->has_config)
        print_sums(s);
    print_files(s);
    print_extra(s);
    print_differences(s);
    print_faults(s);
    print_verdicts(s);
}

static void json_shape(pk_json_text *out, const pk_model_config *c)
{
    char unit[PK_MODEL_LAYERS_MAX + 1];
    size_t times = repeating_unit(c, unit);
    pk_json_text_raw(out, ", \"model_type\": ");
    pk_json_text_word(out, c->model_type);
    pk_json_text_raw(out, ", \"dialect\": \"%s\"", c->dialect == PK_DIALECT_IN_TREE ? "in-tree" : "official");
    pk_json_text_raw(
        out,
        ", \"shape\": {\"layers\": %zu, \"layers_unit\": \"%s\", \"layers_times\": %zu, \"softmax_layers\": "
        "%zu, \"hidden\": %zu, \"heads\": %zu, \"head_dim\": %zu, \"kv_heads\": %zu, \"rotary_dim\": %zu, "
        "\"rope_theta\": %.17g, ",
        c->layers, unit, times, count_softmax(c), c->hidden, c->heads, c->head_dim, c->kv_heads, c->rotary_dim,
        c->rope_theta);
    pk_json_text_raw(out,
                     "\"experts\": %zu, \"experts_per_token\": %zu, \"inner\": %zu, \"shared_expert\": %s, \"vocab\": "
                     "%zu, \"max_positions\": %zu, \"postnorm\": %s, \"tie_word_embeddings\": %s}",
                     c->experts, c->experts_per_token, c->inner, c->shared_expert ? "true" : "false", c->vocab,
                     c->max_positions, c->postnorm ? "true" : "false", c->tie_word_embeddings ? "true" : "false");
}

static void json_sum(pk_json_text *out, const char *word, const pk_survey_sum *sum)
{
    pk_json_text_raw(out, "\"%s\": {\"tensors\": %" PRIu64 ", \"parameters\": %" PRIu64 ", \"bytes\": %" PRIu64 "}",
                     word, sum->tensors, sum->parameters, sum->bytes);
}

static void json_sums(pk_json_text *out, const pk_survey *s)
{
    pk_json_text_raw(out, ", \"parts\": {");
    for (size_t part = 0; part < PK_SURVEY_PARTS_COUNT; part++) {
        json_sum(out, pk_survey_part_word((pk_survey_part)part), &s->parts[part]);
        pk_json_text_raw(out, ", ");
    }
    json_sum(out, "all", &s->sum);
    pk_json_text_raw(out, "}");
}

static void json_files(pk_json_text *out, const pk_survey *s)
{
    pk_json_text_raw(
        out, ", \"names\": \"%s\", \"files\": %zu, \"files_absent\": %zu, \"tensors\": %zu, \"index_bytes\": ",
        s->naming == PK_NAMES_IN_TREE ? "in-tree" : "official", s->shard_count, s->absent_count, s->tensor_count);
    pk_json_text_raw(out, s->index.total_bytes ? "%" PRIu64 : "null", s->index.total_bytes);
    pk_json_text_raw(out, ", \"dtypes\": {");
    for (size_t i = 0; i < s->dtype_count; i++)
        pk_json_text_raw(out, "%s\"%s\": {\"tensors\": %" PRIu64 ", \"bytes\": %" PRIu64 "}", i ? ", " : "",
                         s->dtypes[i].dtype, s->dtypes[i].tensors, s->dtypes[i].bytes);
    pk_json_text_raw(out, "}, \"tokenizer\": %s, \"constants\": %zu, \"extra\": [",
                     s->tokenizer_file_count ? "true" : "false", s->constant_count);
    for (size_t i = 0; i < s->extra_count; i++) {
        pk_json_text_raw(out, i ? ", " : "");
        pk_json_text_word(out, s->extra[i]);
    }
    pk_json_text_raw(out, "]");
}

static void json_verdict(pk_json_text *out, const char *word, const pk_survey *s, bool text)
{
    char why[PK_WHY_NOT_BYTES];
    pk_json_text_raw(out, ", \"%s\": ", word);
    if (pk_survey_why_not(s, text, why))
        pk_json_text_word(out, why);
    else
        pk_json_text_raw(out, "true");
}

static pk_exit print_json(const pk_survey *s)
{
    pk_json_text out = {0};
    pk_json_text_raw(&out, "{\"dir\": ");
    pk_json_text_word(&out, s->dir);
    if (s->has_config) {
        json_shape(&out, &s->config);
        json_sums(&out, s);
    }
    json_files(&out, s);
    pk_survey_json_faults(&out, s);
    json_verdict(&out, "logits", s, false);
    json_verdict(&out, "run", s, true);
    pk_json_text_raw(&out, "}\n");
    return pk_json_print(&out);
}

static pk_exit inspect(const void *parsed, const pk_words *operands)
{
    const struct values *values = parsed;
    pk_survey *survey = NULL;
    pk_err err = pk_survey_open(&survey, operands->items[0]);
    if (err)
        return pk_exit_report(PK_DOING_MODEL, err);
    pk_exit code = PK_EXIT_OK;
    if (values->json)
        code = print_json(survey);
    else
        print_text(survey);
    pk_survey_close(&survey);
    return code;
}

const pk_command pk_command_model_inspect = {
    .name = "model inspect",
    .group = "Models",
    .summary = "tell what a checkpoint is and whether it can be run",
    .operands = "DIR",
    .minimum = 1,
    .maximum = 1,
    .details =
        "Reads config, index and the headers of the files that are there: config.json and\n"
        "model.safetensors.index.json are enough. Exit 0 also when it cannot be run; the last two lines say why.",
    .options = options,
    .values_bytes = sizeof(struct values),
    .examples = {"penstock model inspect tests/golden/nano", "penstock model inspect DIR --json | jq .parts"},
    .run = inspect,
};
