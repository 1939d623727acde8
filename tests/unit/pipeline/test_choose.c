#include "pipeline/choose.h"
#include "tests/unit/cmocka_all.h"

#include <math.h>

static pk_model_config model_of(size_t layers, size_t softmax_every)
{
    pk_model_config model = {.layers = layers,
                             .hidden = 1024,
                             .heads = 16,
                             .head_dim = 64,
                             .kv_heads = 4,
                             .inner = 1024,
                             .experts = 8,
                             .experts_per_token = 2,
                             .vocab = 8192,
                             .max_positions = 1000000};
    for (size_t layer = softmax_every - 1; layer < layers; layer += softmax_every)
        model.kind[layer] = PK_LAYER_SOFTMAX;
    return model;
}

static pk_choose_options asking(const pk_model_config *model, const pk_speeds *speeds, uint32_t cores, uint32_t tokens)
{
    return (pk_choose_options){.model = model,
                               .speeds = speeds,
                               .cores = cores,
                               .workload = {.documents = 4, .prompt_tokens = tokens, .answer_tokens = 16}};
}

static double seconds_of(pk_choose_options options, const pk_layout *layout)
{
    pk_prediction p = pk_predict(options, layout);
    return p.prefill + p.decode;
}

static void assert_covers(const pk_layout *layout, size_t layers, uint32_t cores)
{
    assert_true(layout->parts >= 1 && layout->parts <= layers);
    assert_int_equal(layout->first[0], 0);
    assert_int_equal(layout->first[layout->parts], layers);
    for (uint32_t part = 0; part < layout->parts; part++)
        assert_true(layout->first[part] < layout->first[part + 1]);
    assert_true(layout->threads >= 1 && layout->parts * layout->threads <= cores);
    assert_true(layout->batch_rows >= 64 && layout->batch_rows <= 4096);
}

static void a_choice_covers_the_layers_and_no_more_than_the_cores(void **state)
{
    static const size_t layers[] = {1, 2, 3, 7, 8, 17, 80}, every[] = {1, 2, 8, 100};
    static const uint32_t cores[] = {1, 2, 3, 6, 16, 64}, tokens[] = {1, 63, 1000, 32768, 1000000};
    pk_speeds speeds = pk_speeds_builtin();
    (void)state;
    for (size_t i = 0; i < 7 * 4 * 6 * 5; i++) {
        pk_model_config model = model_of(layers[i % 7], every[i / 7 % 4]);
        pk_layout layout;
        pk_choose(asking(&model, &speeds, cores[i / 28 % 6], tokens[i / 168]), false, &layout);
        assert_covers(&layout, model.layers, cores[i / 28 % 6]);
    }
}

static void layers_that_are_alike_are_cut_in_the_middle(void **state)
{
    pk_model_config model = model_of(16, 8);
    pk_speeds speeds = pk_speeds_builtin();
    pk_layout layout;
    (void)state;
    pk_choose(asking(&model, &speeds, 2, 32768), false, &layout);
    assert_int_equal(layout.parts, 2);
    assert_int_equal(layout.first[1], 8);
    assert_int_equal(layout.threads, 1);
}

/* One softmax layer at the end: with the document grows what it weighs, so that more of the others stand alone. */
static void a_longer_document_moves_the_cut_towards_the_softmax_layer(void **state)
{
    static const uint32_t tokens[] = {512, 8192, 16384, 24576};
    pk_model_config model = model_of(8, 8);
    pk_speeds speeds = pk_speeds_builtin();
    uint32_t before = 0, shortest = 0;
    (void)state;
    for (size_t i = 0; i < 4; i++) {
        pk_choose_options options = asking(&model, &speeds, 2, tokens[i]);
        pk_layout best = {.parts = 2, .first = {0, 1, 8}, .threads = 1, .batch_rows = 256}, trial = best;
        for (trial.first[1] = 1; trial.first[1] < 8; trial.first[1]++)
            if (seconds_of(options, &trial) < seconds_of(options, &best))
                best = trial;
        assert_true(best.first[1] >= before);
        before = best.first[1];
        shortest = i ? shortest : before;
    }
    assert_true(before > shortest);
}

/* Nearly: choose.c prefers more stages and small batches. By its own prediction, that is: whether that is true a
 * benchmark says, tests/bench/plan_choice.py. */
static void no_cut_threads_or_rows_are_predicted_to_be_better(void **state)
{
    static const uint32_t tokens[] = {700, 4096, 32768};
    pk_speeds speeds = pk_speeds_builtin();
    (void)state;
    for (size_t i = 0; i < 6; i++) {
        pk_model_config model = model_of(8, i / 3 ? 8 : 3);
        pk_choose_options options = asking(&model, &speeds, 2, tokens[i % 3]);
        pk_layout chosen, trial = {.first = {0}};
        pk_choose(options, false, &chosen);
        double seconds = seconds_of(options, &chosen);
        for (trial.batch_rows = 64; trial.batch_rows <= 4096; trial.batch_rows *= 2)
            for (uint32_t cut = 0; cut < 8; cut++)
                for (trial.threads = 1; trial.threads <= (cut ? 1 : 2); trial.threads++) {
                    trial.parts = cut ? 2 : 1;
                    trial.first[1] = cut ? cut : 8;
                    trial.first[2] = 8;
                    assert_true(seconds <= 1.035 * seconds_of(options, &trial));
                }
    }
}

static void rows_that_were_said_stay(void **state)
{
    pk_model_config model = model_of(8, 8);
    pk_speeds speeds = pk_speeds_builtin();
    pk_choose_options options = asking(&model, &speeds, 2, 4096);
    pk_layout layout;
    (void)state;
    options.batch_rows = 37;
    pk_choose(options, false, &layout);
    assert_int_equal(layout.batch_rows, 37);
}

static void stages_that_were_said_stay(void **state)
{
    pk_model_config model = model_of(8, 8);
    pk_speeds speeds = pk_speeds_builtin();
    pk_layout layout = {.parts = 3, .first = {0, 1, 2, 8}, .threads = 5};
    (void)state;
    pk_choose(asking(&model, &speeds, 2, 4096), true, &layout);
    assert_int_equal(layout.parts, 3);
    assert_int_equal(layout.first[1], 1);
    assert_int_equal(layout.first[2], 2);
    assert_int_equal(layout.threads, 5);
    assert_true(layout.batch_rows >= 64);
}

static void the_usual_workload_stays_within_the_context(void **state)
{
    (void)state;
    for (uint32_t context = 1; context < 200000; context = context * 3 / 2 + 1)
        for (uint32_t answer = 1; answer < 100000; answer *= 4) {
            pk_limits limits = {.context = context, .sequences = 16};
            pk_workload work = pk_workload_usual(&limits, answer);
            assert_true(work.prompt_tokens >= 1 && work.prompt_tokens <= 32768);
            assert_true((uint64_t)work.prompt_tokens + work.answer_tokens <= context || context == 1);
        }
}

/* docs/model.md, section 8 */
static void costs_are_those_of_the_full_model(void **state)
{
    pk_model_config m1 = {.layers = 80,
                          .hidden = 6144,
                          .heads = 64,
                          .head_dim = 128,
                          .kv_heads = 8,
                          .inner = 9216,
                          .experts = 32,
                          .experts_per_token = 2,
                          .vocab = 200064};
    (void)state;
    for (size_t layer = 7; layer < m1.layers; layer += 8)
        m1.kind[layer] = PK_LAYER_SOFTMAX;
    double start = pk_row_flops(&m1, NULL, 0), head = pk_head_flops(&m1);
    assert_true(fabs(start / (91.89e9 + 0.367e9) - 1) < 1e-3);
    assert_true(fabs(head / 2.458e9 - 1) < 1e-3);
    assert_true(fabs(pk_row_flops(&m1, NULL, 1) - start - 327680) < 16); /* of 9e10 */
    assert_true(fabs((pk_row_flops(&m1, NULL, 1e6) + head) / 438e9 - 1) < 0.04);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_choice_covers_the_layers_and_no_more_than_the_cores),
        cmocka_unit_test(layers_that_are_alike_are_cut_in_the_middle),
        cmocka_unit_test(a_longer_document_moves_the_cut_towards_the_softmax_layer),
        cmocka_unit_test(no_cut_threads_or_rows_are_predicted_to_be_better),
        cmocka_unit_test(rows_that_were_said_stay),
        cmocka_unit_test(stages_that_were_said_stay),
        cmocka_unit_test(the_usual_workload_stays_within_the_context),
        cmocka_unit_test(costs_are_those_of_the_full_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
