#include "check.h"

#include "pipeline/footprint.h"
#include "pipeline/graph.h"
#include "pipeline/resolve.h"

#include <stdio.h>

/* As in MiniMax-M1 but narrow: softmax layers are 7, 15, … */
static pk_model_config model_of(size_t layers)
{
    pk_model_config model = {.layers = layers,
                             .hidden = 1024,
                             .heads = 4,
                             .head_dim = 32,
                             .kv_heads = 2,
                             .inner = 2048,
                             .experts = 8,
                             .experts_per_token = 2,
                             .vocab = 1000,
                             .max_positions = 100000};
    for (size_t layer = 7; layer < layers; layer += 8)
        model.kind[layer] = PK_LAYER_SOFTMAX;
    return model;
}

struct setting {
    size_t layers;
    uint32_t cores;
    uint64_t memory_bytes;
    pk_purpose purpose;
};

static pk_err resolve(pk_pipeline *p, struct setting setting)
{
    pk_model_config model = model_of(setting.layers);
    pk_machine machine = {.cores = setting.cores ? setting.cores : 2,
                          .memory_bytes = setting.memory_bytes ? setting.memory_bytes : 8ull << 30};
    return pk_pipeline_resolve(p,
                               (pk_resolve_options){.model = &model, .machine = &machine, .purpose = setting.purpose});
}

static void resolve_good(pk_pipeline *p, struct setting setting)
{
    if (resolve(p, setting))
        fail_msg("refused: %s", pk_error_text());
}

/* The stages in short: "tokenize tokenize, low layers 0-3 x2, …". */
static char *summary(const pk_pipeline *p)
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    for (uint32_t i = 0; i < p->stage_count; ++i) {
        const pk_stage_spec *s = &p->stages[i];
        fprintf(out, "%s%s", i ? ", " : "", s->name);
        if (s->kind == PK_STAGE_LAYERS)
            fprintf(out, "=%u-%u", s->first_layer, s->last_layer);
        fprintf(out, " x%u %s", s->threads, s->device);
    }
    fclose(out);
    return text;
}

static void assert_made(struct setting setting, const char *expected)
{
    pk_pipeline p;
    pk_pipeline_init(&p);
    resolve_good(&p, setting);
    char *text = summary(&p);
    assert_string_equal(text, expected);
    free(text);
    pk_pipeline_fini(&p);
}

static void without_a_file_stages_fit_machine_and_model(void **state)
{
    (void)state;
    assert_made((struct setting){.layers = 80, .cores = 2},
                "tokenize x1 cpu, layers-0-39=0-39 x1 cpu, layers-40-79=40-79 x1 cpu, head x1 cpu, detokenize x1 cpu");
    assert_made((struct setting){.layers = 80, .cores = 1},
                "tokenize x1 cpu, layers-0-79=0-79 x1 cpu, head x1 cpu, detokenize x1 cpu");
    assert_made((struct setting){.layers = 80, .cores = 16},
                "tokenize x1 cpu, layers-0-19=0-19 x4 cpu, layers-20-39=20-39 x4 cpu, layers-40-59=40-59 x4 cpu, "
                "layers-60-79=60-79 x4 cpu, head x4 cpu, detokenize x1 cpu");
    assert_made((struct setting){.layers = 1, .cores = 4},
                "tokenize x1 cpu, layers-0-0=0-0 x4 cpu, head x4 cpu, detokenize x1 cpu");
    assert_made((struct setting){.layers = 5, .cores = 2},
                "tokenize x1 cpu, layers-0-4=0-4 x2 cpu, head x2 cpu, detokenize x1 cpu"); /* 3 against 2 */
    assert_made((struct setting){.layers = 46, .cores = 2},
                "tokenize x1 cpu, layers-0-22=0-22 x1 cpu, layers-23-45=23-45 x1 cpu, head x1 cpu, detokenize x1 cpu");
    assert_made((struct setting){.layers = 80, .cores = 2, .purpose = PK_PURPOSE_IDS},
                "layers-0-39=0-39 x1 cpu, layers-40-79=40-79 x1 cpu, head x1 cpu");
}

static void limits_have_the_defaults_that_are_documented(void **state)
{
    pk_pipeline p;
    (void)state;
    pk_pipeline_init(&p);
    resolve_good(&p, (struct setting){.layers = 16});
    assert_int_equal(p.limits.context, 100000);
    assert_int_equal(p.limits.batch_rows, 2048); /* chosen: test_choose.c */
    assert_int_equal(p.limits.sequences, 16);
    assert_int_equal(p.limits.window, 7);
    assert_int_equal(p.generation.max_tokens, 512);
    assert_true(p.generation.temperature == 0 && p.generation.seed == 0);
    pk_pipeline_fini(&p);
}

static void what_the_file_says_is_kept(void **state)
{
    pk_pipeline p;
    (void)state;
    parse_good(&p, "version: 1\n"
                   "limits: { context: 300, batch_rows: 7, sequences: 2, window: 1 }\n"
                   "generation: { max_tokens: 3, temperature: 1, seed: 5 }\n"
                   "stages:\n"
                   "  - { kind: head, threads: 3 }\n"
                   "  - { kind: detokenize }\n"
                   "  - { name: low, kind: layers, layers: 0-2, device: \"cpu:plain\" }\n"
                   "  - { kind: tokenize }\n"
                   "  - { name: high, kind: layers, layers: 3-7, threads: 5 }\n");
    resolve_good(&p, (struct setting){.layers = 8, .cores = 8});
    char *text = summary(&p);
    assert_string_equal(text, "tokenize x1 cpu, low=0-2 x4 cpu:plain, high=3-7 x5 cpu, head x3 cpu, detokenize x1 cpu");
    free(text);
    assert_int_equal(p.limits.context, 300);
    assert_int_equal(p.limits.batch_rows, 7);
    assert_int_equal(p.limits.sequences, 2);
    assert_int_equal(p.limits.window, 1);
    assert_int_equal(p.generation.max_tokens, 3);
    pk_pipeline_fini(&p);
}

static void overrides_meet_the_stages_that_were_made(void **state)
{
    pk_pipeline p;
    (void)state;
    pk_pipeline_init(&p);
    assert_int_equal(pk_pipeline_set(&p, "stages.layers-0-7.threads=6"), PK_OK);
    resolve_good(&p, (struct setting){.layers = 16});
    char *text = summary(&p);
    assert_string_equal(
        text, "tokenize x1 cpu, layers-0-7=0-7 x6 cpu, layers-8-15=8-15 x1 cpu, head x1 cpu, detokenize x1 cpu");
    free(text);
    pk_pipeline_fini(&p);
    assert_int_equal(pk_pipeline_set(&p, "stages.low.threads=6"), PK_OK);
    assert_error(resolve(&p, (struct setting){.layers = 16}), PK_INVALID,
                 "--set stages.low.threads: no stage is called \"low\", there are tokenize, layers-0-7, layers-8-15, "
                 "head, detokenize");
    pk_pipeline_fini(&p);
}

/* A file of layers stages and what a text pipeline needs besides. */
static void assert_stages_refused(const char *stages, const char *message)
{
    char text[2048];
    pk_pipeline p;
    snprintf(text, sizeof text, "version: 1\nstages:\n%s", stages);
    parse_good(&p, text);
    assert_error(resolve(&p, (struct setting){.layers = 32}), PK_INVALID, message);
    pk_pipeline_fini(&p);
}

#define ENDS " - { kind: tokenize }\n - { kind: head }\n - { kind: detokenize }\n"

static void missing_and_doubled_layers_are_named_by_range(void **state)
{
    (void)state;
    assert_stages_refused(ENDS
                          " - { name: a, kind: layers, layers: 0-7 }\n - { name: b, kind: layers, layers: 16-30 }\n",
                          "p.yaml: stages: the model's layers 0-31 must each be in one stage; missing: 8-15, 31");
    assert_stages_refused(
        ENDS " - { name: a, kind: layers, layers: 0-17 }\n - { name: b, kind: layers, layers: 16-31 }\n",
        "p.yaml: stages: the model's layers 0-31 must each be in one stage; doubled: 16-17 (a and b)");
    assert_stages_refused(ENDS " - { name: a, kind: layers, layers: 1-9 }\n - { name: b, kind: layers, layers: 9-20 }\n"
                               " - { name: c, kind: layers, layers: 10-12 }\n",
                          "p.yaml: stages: the model's layers 0-31 must each be in one stage; missing: 0, 21-31; "
                          "doubled: 9 (a and b), 10-12 (b and c)");
    assert_stages_refused(ENDS, "p.yaml: stages: the model's layers 0-31 must each be in one stage; missing: 0-31");
}

static void layers_beyond_the_model_are_refused_at_their_stage(void **state)
{
    (void)state;
    assert_stages_refused(" - { name: a, kind: layers, layers: 0-39 }\n" ENDS,
                          "p.yaml:3:4: stages.a: layers 0-39, but the model has 32 (0-31)");
}

static void layers_out_of_order_are_refused(void **state)
{
    (void)state;
    assert_stages_refused(
        " - { name: b, kind: layers, layers: 16-31 }\n - { name: a, kind: layers, layers: 0-15 }\n" ENDS,
        "p.yaml:4:4: stages.a: layers 0-15 stand behind layers 16-31 of b, expected them in order");
}

static void each_end_of_the_pipeline_is_there_once(void **state)
{
    (void)state;
    assert_stages_refused(
        " - { name: a, kind: layers, layers: 0-31 }\n - { kind: tokenize }\n - { kind: detokenize }\n",
        "p.yaml: stages: no stage of kind head, expected one: - { name: head, kind: head }");
    assert_stages_refused(
        " - { name: a, kind: layers, layers: 0-31 }\n - { kind: head }\n - { kind: detokenize }\n",
        "p.yaml: stages: no stage of kind tokenize, expected one: - { name: tokenize, kind: tokenize }");
    assert_stages_refused(" - { name: a, kind: layers, layers: 0-31 }\n" ENDS " - { name: h2, kind: head }\n",
                          "p.yaml:7:4: stages.h2: a second head stage, expected one");
}

static void two_stages_of_one_name_are_refused(void **state)
{
    pk_pipeline p;
    (void)state;
    pk_pipeline_init(&p);
    assert_int_equal(pk_pipeline_set(&p, "stages.head.name=tokenize"), PK_OK);
    assert_error(resolve(&p, (struct setting){.layers = 8}), PK_INVALID,
                 "pipeline: stages.tokenize: a second stage of this name, the first is number 1");
    pk_pipeline_fini(&p);
    assert_stages_refused(
        " - { name: a, kind: layers, layers: 0-15 }\n - { name: a, kind: layers, layers: 16-31 }\n" ENDS,
        "p.yaml:4:4: stages.a: a second stage of this name, the first is number 1");
}

static void ids_need_no_text_stages(void **state)
{
    pk_pipeline p;
    (void)state;
    parse_good(&p, "version: 1\nstages: [{ name: a, kind: layers, layers: 0-7 }, { kind: head }]\n");
    resolve_good(&p, (struct setting){.layers = 8, .purpose = PK_PURPOSE_IDS});
    assert_int_equal(p.stage_count, 2);
    pk_pipeline_fini(&p);
}

static void the_footprint_is_the_formula_of_the_full_model(void **state)
{
    pk_model_config m1 = model_of(80);
    (void)state;
    m1.heads = 64;
    m1.head_dim = 128;
    m1.kv_heads = 8;
    assert_int_equal(pk_footprint_kv_token_bytes(&m1), 10 * 2 * 8 * 128 * 4);
    assert_true(pk_footprint_slot_bytes(&m1) == (280ull << 20) + (280ull << 20)); /* matrices, tails */
    assert_true(pk_footprint_bytes(&m1, 65, 2) == 2 * (560ull << 20) + 128 * 81920);
}

/* What stages reserve is compared with this in tests/e2e/plan.py. */
static void the_footprint_of_stages_adds_up_to_the_models(void **state)
{
    pk_model_config model = model_of(16);
    static pk_census census;
    pk_pipeline p;
    uint64_t token = 0, slot = 0, weights = 0;
    (void)state;
    assert_int_equal(pk_census_take(&census, "/nowhere", &model), PK_OK);
    pk_pipeline_init(&p);
    resolve_good(&p, (struct setting){.layers = 16});
    for (uint32_t i = 0; i < p.stage_count; ++i) {
        pk_footprint part = pk_footprint_of_stage(&p, &p.stages[i], &model, &census);
        token += part.kv_token_bytes;
        slot += part.matrix_bytes + part.tail_bytes;
        weights += part.weight_bytes;
        assert_int_equal(part.weight_bytes > 0, part.buffer_bytes > 0);
    }
    assert_true(token == pk_footprint_kv_token_bytes(&model));
    assert_true(slot == pk_footprint_slot_bytes(&model));
    assert_true(weights == census.whole.resident_bytes);
    pk_pipeline_fini(&p);
}

static void a_footprint_too_large_for_a_number_saturates(void **state)
{
    pk_footprint huge = {.weight_bytes = 1, .matrix_bytes = UINT64_MAX / 2, .kv_token_bytes = 1};
    (void)state;
    assert_true(pk_footprint_sum(&huge, 3, 0) == UINT64_MAX);
    assert_true(pk_footprint_sum(&huge, 0, UINT64_MAX / 2) > UINT64_MAX / 2);
    assert_true(pk_footprint_sum(&huge, 0, 65) == 1 + 128);
}

static void the_context_shrinks_to_half_of_the_memory(void **state)
{
    pk_model_config model = model_of(8);
    uint64_t token = pk_footprint_kv_token_bytes(&model), slots = 16 * pk_footprint_slot_bytes(&model);
    pk_pipeline p;
    (void)state;
    pk_pipeline_init(&p);
    resolve_good(&p, (struct setting){.layers = 8, .memory_bytes = 2 * (slots + 1000 * token)});
    assert_int_equal(p.limits.context, 960); /* whole blocks of 64 */
    pk_pipeline_fini(&p);
}

static void weights_leave_less_for_the_context(void **state)
{
    pk_model_config model = model_of(8);
    uint64_t token = pk_footprint_kv_token_bytes(&model), slots = 16 * pk_footprint_slot_bytes(&model);
    uint64_t memory = 4 * (slots + 1000 * token);
    pk_machine machine = {.cores = 2, .memory_bytes = memory};
    pk_resolve_options options = {.model = &model, .machine = &machine, .weight_bytes = memory / 4};
    pk_pipeline p;
    (void)state;
    pk_pipeline_init(&p);
    assert_int_equal(pk_pipeline_resolve(&p, options), PK_OK); /* a quarter: half of the memory is left all the same */
    uint32_t half = p.limits.context;
    pk_pipeline_fini(&p);
    options.weight_bytes = memory / 4 * 3;
    assert_int_equal(pk_pipeline_resolve(&p, options), PK_OK);
    assert_int_equal(p.limits.context, 960);
    assert_true(half > 1920);
    pk_pipeline_fini(&p);
    options.weight_bytes = memory + 1;
    assert_int_equal(pk_pipeline_resolve(&p, options), PK_NOMEM);
    assert_non_null(strstr(pk_error_text(), "does not fit: the weights need "));
    pk_pipeline_fini(&p);
}

static void what_does_not_fit_is_said(void **state)
{
    pk_pipeline p;
    (void)state;
    pk_pipeline_init(&p);
    p.limits.context = 100000;
    assert_error(
        resolve(&p, (struct setting){.layers = 8, .memory_bytes = 50 << 20}), PK_NOMEM,
        "does not fit: 16 state slots and the cache of one sequence of 100000 tokens need 0.1 GiB, this machine "
        "has 0.0 GiB; lower limits.sequences or limits.context");
    pk_pipeline_fini(&p);
    p.limits.sequences = 4096;
    assert_error(resolve(&p, (struct setting){.layers = 8, .memory_bytes = 1ull << 30}), PK_NOMEM,
                 "does not fit: 4096 state slots alone need 2.2 GiB, more than half of this machine's 1.0 GiB; lower "
                 "limits.sequences");
    pk_pipeline_fini(&p);
}

static void a_context_beyond_the_model_is_refused(void **state)
{
    pk_pipeline p;
    (void)state;
    pk_pipeline_init(&p);
    p.limits.context = 100001;
    assert_error(resolve(&p, (struct setting){.layers = 8}), PK_INVALID,
                 "limits.context: 100001 tokens, but the model has 100000 positions");
    pk_pipeline_fini(&p);
}

static void a_resolved_pipeline_printed_and_read_resolves_to_itself(void **state)
{
    pk_pipeline p, back;
    char *text[2] = {NULL, NULL};
    size_t bytes;
    (void)state;
    pk_pipeline_init(&p);
    assert_int_equal(pk_pipeline_set_model(&p, "/m"), PK_OK);
    resolve_good(&p, (struct setting){.layers = 80, .cores = 6});
    FILE *out = open_memstream(&text[0], &bytes);
    assert_int_equal(pk_pipeline_print(&p, out), PK_OK);
    fclose(out);
    parse_good(&back, text[0]);
    resolve_good(&back, (struct setting){.layers = 80, .cores = 1, .memory_bytes = 64ull << 30});
    out = open_memstream(&text[1], &bytes);
    assert_int_equal(pk_pipeline_print(&back, out), PK_OK);
    fclose(out);
    assert_string_equal(text[0], text[1]);
    free(text[0]);
    free(text[1]);
    pk_pipeline_fini(&p);
    pk_pipeline_fini(&back);
}

static void the_picture_shows_processes_layers_and_threads(void **state)
{
    static const char expected[] =
        "model   /m\n"
        "limits  5 batches of at most 512 rows in flight; 16 sequences of at most 100000 tokens\n"
        "\n"
        "       +-------------+    +-----------------+    +----------------+    +-------------+\n"
        "       | coordinator |    | layers-0-7      |    | head           |    | coordinator |\n"
        "ids -> | penstock    | -> | penstock-layers | -> | penstock-head  | -> | penstock    | -> logits\n"
        "       |             |    | layers 0-7      |    |                |    |             |\n"
        "       |             |    | 1 thread, cpu   |    | 2 threads, cpu |    |             |\n"
        "       +-------------+    +-----------------+    +----------------+    +-------------+\n";
    pk_pipeline p;
    char *text = NULL;
    size_t bytes;
    (void)state;
    pk_pipeline_init(&p);
    assert_int_equal(pk_pipeline_set_model(&p, "/m"), PK_OK);
    assert_int_equal(pk_pipeline_set(&p, "stages.head.threads=2"), PK_OK);
    assert_int_equal(pk_pipeline_set(&p, "limits.batch_rows=512"), PK_OK);
    resolve_good(&p, (struct setting){.layers = 8, .cores = 1, .purpose = PK_PURPOSE_IDS});
    FILE *out = open_memstream(&text, &bytes);
    assert_int_equal(pk_graph_draw(&p, (pk_graph_options){.columns = 120, .ascii = true}, out), PK_OK);
    fclose(out);
    assert_string_equal(text, expected);
    free(text);
    pk_pipeline_fini(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_file_stages_fit_machine_and_model),
        cmocka_unit_test(limits_have_the_defaults_that_are_documented),
        cmocka_unit_test(what_the_file_says_is_kept),
        cmocka_unit_test(overrides_meet_the_stages_that_were_made),
        cmocka_unit_test(missing_and_doubled_layers_are_named_by_range),
        cmocka_unit_test(layers_beyond_the_model_are_refused_at_their_stage),
        cmocka_unit_test(layers_out_of_order_are_refused),
        cmocka_unit_test(each_end_of_the_pipeline_is_there_once),
        cmocka_unit_test(two_stages_of_one_name_are_refused),
        cmocka_unit_test(ids_need_no_text_stages),
        cmocka_unit_test(the_footprint_is_the_formula_of_the_full_model),
        cmocka_unit_test(the_footprint_of_stages_adds_up_to_the_models),
        cmocka_unit_test(a_footprint_too_large_for_a_number_saturates),
        cmocka_unit_test(the_context_shrinks_to_half_of_the_memory),
        cmocka_unit_test(weights_leave_less_for_the_context),
        cmocka_unit_test(what_does_not_fit_is_said),
        cmocka_unit_test(a_context_beyond_the_model_is_refused),
        cmocka_unit_test(a_resolved_pipeline_printed_and_read_resolves_to_itself),
        cmocka_unit_test(the_picture_shows_processes_layers_and_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
