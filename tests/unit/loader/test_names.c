#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "loader/names.h"
#include "loader/weight_list.h"
#include "scratch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Every tensor of a golden model is one weight of its walk, with the right shape, and the other way round. */
static void check_walk(const char *dir)
{
    pk_model_config config;
    pk_checkpoint *checkpoint;
    pk_weight_entry entry;
    pk_weight weight;
    size_t count = 0;
    assert_ok(pk_config_read(&config, dir));
    assert_ok(pk_checkpoint_open(&checkpoint, dir));
    for (pk_weight_walk walk = {0}; pk_weight_next(&config, &walk, &weight); count++) {
        assert_true(pk_weight_exists(&config, weight));
        assert_ok(pk_weight_find(checkpoint, &config, PK_NAMES_OFFICIAL, weight, &entry));
        assert_string_equal(entry.values.name, pk_weight_describe(&config, weight).name);
    }
    assert_int_equal(count, pk_checkpoint_count(checkpoint));
    pk_checkpoint_close(&checkpoint);
}

static void the_walk_names_every_tensor_of_the_golden_models(void **state)
{
    (void)state;
    check_walk(PK_GOLDEN "/nano");
    check_walk(PK_GOLDEN "/duo");
    check_walk(PK_GOLDEN "/shared");
}

/* docs/model.md, section 2: 8,243 tensors and 456,089,655,296 parameters in the published model. */
static void the_published_model_has_its_published_size(void **state)
{
    (void)state;
    static pk_model_config config = {
        .hidden = 6144,
        .layers = 80,
        .heads = 64,
        .head_dim = 128,
        .kv_heads = 8,
        .rotary_dim = 64,
        .inner = 9216,
        .experts = 32,
        .experts_per_token = 2,
        .vocab = 200064,
    };
    size_t count = 0;
    uint64_t parameters = 0;
    pk_weight weight;
    for (size_t layer = 7; layer < 80; layer += 8)
        config.kind[layer] = PK_LAYER_SOFTMAX;
    for (pk_weight_walk walk = {0}; pk_weight_next(&config, &walk, &weight); count++) {
        pk_weight_spec spec = pk_weight_describe(&config, weight);
        parameters += spec.shape[0] * (spec.rank == 2 ? spec.shape[1] : 1);
    }
    assert_int_equal(count, 8243);
    assert_int_equal(parameters, UINT64_C(456089655296));
    assert_string_equal(pk_weight_describe(&config, (pk_weight){PK_WEIGHT_EXPERT_UP, 79, 31}).name,
                        "model.layers.79.block_sparse_moe.experts.31.w3.weight");
}

static void a_weight_exists_only_where_its_kind_of_layer_is(void **state)
{
    (void)state;
    pk_model_config config;
    assert_ok(pk_config_read(&config, PK_GOLDEN "/nano"));
    assert_true(pk_weight_exists(&config, (pk_weight){PK_WEIGHT_QKV, 6, 0}));
    assert_false(pk_weight_exists(&config, (pk_weight){PK_WEIGHT_QKV, 7, 0}));
    assert_true(pk_weight_exists(&config, (pk_weight){PK_WEIGHT_O, 7, 0}));
    assert_false(pk_weight_exists(&config, (pk_weight){PK_WEIGHT_O, 8, 0}));
    assert_false(pk_weight_exists(&config, (pk_weight){PK_WEIGHT_EXPERT_UP, 0, 4}));
    assert_false(pk_weight_exists(&config, (pk_weight){PK_WEIGHT_SHARED_UP, 0, 0}));
    assert_true(pk_weight_exists(&config, (pk_weight){PK_WEIGHT_HEAD, 0, 0}));
    config.tie_word_embeddings = true;
    assert_false(pk_weight_exists(&config, (pk_weight){PK_WEIGHT_HEAD, 0, 0}));
}

static void the_head_of_a_tied_model_is_its_embedding(void **state)
{
    (void)state;
    pk_model_config config;
    pk_checkpoint *checkpoint;
    pk_weight_entry entry;
    assert_ok(pk_config_read(&config, PK_GOLDEN "/nano"));
    assert_ok(pk_checkpoint_open(&checkpoint, PK_GOLDEN "/nano"));
    config.tie_word_embeddings = true;
    assert_ok(pk_weight_find(checkpoint, &config, PK_NAMES_OFFICIAL, (pk_weight){.role = PK_WEIGHT_HEAD}, &entry));
    assert_string_equal(entry.values.name, "model.embed_tokens.weight");
    pk_checkpoint_close(&checkpoint);
}

static void a_shared_experts_size_comes_from_its_tensors(void **state)
{
    (void)state;
    pk_model_config config;
    pk_checkpoint *checkpoint;
    pk_weight_entry entry;
    assert_ok(pk_config_read(&config, PK_GOLDEN "/shared"));
    assert_ok(pk_checkpoint_open(&checkpoint, PK_GOLDEN "/shared"));
    assert_int_equal(pk_weight_describe(&config, (pk_weight){.role = PK_WEIGHT_SHARED_DOWN}).shape[1], 0);
    assert_ok(
        pk_weight_find(checkpoint, &config, PK_NAMES_OFFICIAL, (pk_weight){.role = PK_WEIGHT_SHARED_DOWN}, &entry));
    assert_int_equal(entry.shape[1], 16);
    assert_ok(pk_weight_find(checkpoint, &config, PK_NAMES_OFFICIAL, (pk_weight){.role = PK_WEIGHT_SHARED_COEFFICIENT},
                             &entry));
    assert_int_equal(entry.shape[0], 1);
    pk_checkpoint_close(&checkpoint);
}

static void a_model_of_another_shape_is_refused_by_tensor(void **state)
{
    (void)state;
    pk_model_config config;
    pk_checkpoint *checkpoint;
    pk_weight_entry entry;
    assert_ok(pk_config_read(&config, PK_GOLDEN "/nano"));
    assert_ok(pk_checkpoint_open(&checkpoint, PK_GOLDEN "/nano"));
    config.kv_heads = 4;
    assert_refused(
        pk_weight_find(checkpoint, &config, PK_NAMES_OFFICIAL, (pk_weight){.role = PK_WEIGHT_K, .layer = 7}, &entry),
        PK_CORRUPT, "tensor model.layers.7.self_attn.k_proj.weight has shape [32, 64], expected [64, 64]");
    pk_checkpoint_close(&checkpoint);
}

/* Fused experts: every weight is a range of rows of its own, and the ranges fill the tensors. */
static void fused_weights_fill_their_tensors(void **state)
{
    (void)state;
    pk_model_config config;
    pk_weight weight;
    uint64_t rows[2] = {0, 0};
    assert_ok(pk_config_read(&config, PK_GOLDEN "/nano"));
    for (pk_weight_walk walk = {0}; pk_weight_next(&config, &walk, &weight);) {
        pk_weight_place place = pk_weight_stored(&config, PK_NAMES_IN_TREE, weight);
        if (!place.fused || weight.layer != 1)
            continue;
        bool down = weight.role == PK_WEIGHT_EXPERT_DOWN;
        assert_string_equal(place.name,
                            down ? "model.layers.1.mlp.experts.down_proj" : "model.layers.1.mlp.experts.gate_up_proj");
        assert_true(place.first_row + place.rows <= place.shape[0] * place.shape[1]);
        rows[down] += place.rows;
    }
    assert_int_equal(rows[0], 4 * 64);
    assert_int_equal(rows[1], 4 * 64);
    pk_weight_place up = pk_weight_stored(&config, PK_NAMES_IN_TREE, (pk_weight){PK_WEIGHT_EXPERT_UP, 1, 3});
    assert_int_equal(up.first_row, 3 * 64 + 32);
}

static void the_list_has_each_tensor_once(void **state)
{
    (void)state;
    pk_model_config config;
    pk_weight_list list;
    assert_ok(pk_config_read(&config, PK_GOLDEN "/nano"));
    assert_ok(pk_weight_list_init(&list, &config, PK_NAMES_IN_TREE));
    assert_non_null(pk_weight_list_find(&list, "model.layers.7.mlp.experts.gate_up_proj"));
    assert_null(pk_weight_list_find(&list, "model.layers.7.block_sparse_moe.gate.weight"));
    for (size_t i = 1; i < list.count; i++)
        assert_true(strcmp(list.items[i - 1].place.name, list.items[i].place.name) < 0);
    pk_weight_list_fini(&list);
    config.layers = PK_MODEL_LAYERS_MAX;
    config.experts = PK_MODEL_EXPERTS_MAX;
    assert_refused(pk_weight_list_init(&list, &config, PK_NAMES_OFFICIAL), PK_INVALID, "more than 1048576 tensors");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_walk_names_every_tensor_of_the_golden_models),
        cmocka_unit_test(the_published_model_has_its_published_size),
        cmocka_unit_test(a_weight_exists_only_where_its_kind_of_layer_is),
        cmocka_unit_test(the_head_of_a_tied_model_is_its_embedding),
        cmocka_unit_test(a_shared_experts_size_comes_from_its_tensors),
        cmocka_unit_test(fused_weights_fill_their_tensors),
        cmocka_unit_test(the_list_has_each_tensor_once),
        cmocka_unit_test(a_model_of_another_shape_is_refused_by_tensor),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
