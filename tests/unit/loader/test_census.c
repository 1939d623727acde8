#include "tests/unit/cmocka_all.h"

#include "loader/census.h"
#include "loader/checkpoint.h"
#include "loader/names.h"
#include "scratch.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int close_scratch(void **state)
{
    (void)state;
    scratch_close();
    return 0;
}

static int open_scratch(void **state)
{
    (void)state;
    scratch_open();
    return 0;
}

/* docs/model.md, section 1 */
static pk_model_config published(void)
{
    pk_model_config m1 = {.hidden = 6144,
                          .layers = 80,
                          .heads = 64,
                          .head_dim = 128,
                          .kv_heads = 8,
                          .inner = 9216,
                          .experts = 32,
                          .experts_per_token = 2,
                          .vocab = 200064};
    for (size_t layer = 7; layer < m1.layers; layer += 8)
        m1.kind[layer] = PK_LAYER_SOFTMAX;
    return m1;
}

/* An index of all its weights but number `without`. */
static void write_index(const pk_model_config *config, uint64_t total, size_t without)
{
    char *text = NULL;
    size_t bytes = 0, number = 0;
    FILE *out = open_memstream(&text, &bytes);
    pk_weight_walk walk = {0};
    pk_weight weight;
    fprintf(out, "{\"metadata\": {\"total_size\": %" PRIu64 "}, \"weight_map\": {\"x\": \"m.safetensors\"", total);
    while (pk_weight_next(config, &walk, &weight))
        if (number++ != without)
            fprintf(out, ", \"%s\": \"m.safetensors\"", pk_weight_describe(config, weight).name);
    fprintf(out, "}}");
    fclose(out);
    scratch_write("model.safetensors.index.json", text, bytes);
    free(text);
}

static void headers_are_counted_to_the_byte(void **state)
{
    static const char *const golden[] = {PK_GOLDEN "/nano", PK_GOLDEN "/duo", PK_GOLDEN "/shared"};
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        pk_model_config config;
        pk_checkpoint *checkpoint;
        pk_census census;
        assert_ok(pk_config_read(&config, golden[i]));
        assert_ok(pk_checkpoint_open(&checkpoint, golden[i]));
        assert_ok(pk_census_take(&census, golden[i], &config));
        assert_int_equal(census.source, PK_CENSUS_HEADERS);
        assert_int_equal(census.weights, pk_checkpoint_count(checkpoint));
        assert_true(census.whole.stored_bytes == pk_checkpoint_bytes(checkpoint));
        assert_int_equal(census.shared_inner > 0, config.shared_expert);
        pk_checkpoint_close(&checkpoint);
    }
}

static void an_index_tells_the_types_by_its_total(void **state)
{
    pk_model_config m1 = published();
    pk_census census;
    (void)state;
    write_index(&m1, 912210767872, SIZE_MAX);
    assert_ok(pk_census_take(&census, scratch_path("."), &m1));
    assert_int_equal(census.source, PK_CENSUS_INDEX);
    assert_int_equal(census.weights, 8243);
    assert_true(census.whole.parameters == 456089655296);
    assert_true(census.whole.stored_bytes == 912210767872);
    assert_int_equal(census.dtype, PK_BF16);
    assert_int_equal(census.router_dtype, PK_F32);
    assert_true(census.layer[0].expert_bytes == 32 * 169869312ull * 2);
    write_index(&m1, 912179310592, SIZE_MAX);
    assert_ok(pk_census_take(&census, scratch_path("."), &m1));
    assert_int_equal(census.router_dtype, PK_BF16);
}

static void an_index_of_another_model_is_refused(void **state)
{
    pk_model_config m1 = published();
    pk_census census;
    (void)state;
    write_index(&m1, 912210767873, SIZE_MAX);
    assert_refused(pk_census_take(&census, scratch_path("."), &m1), PK_CORRUPT,
                   "total_size is 912210767873 bytes, which the 456089655296 parameters of config.json are neither in "
                   "bf16 (router gates in bf16 or f32) nor in f32");
    write_index(&m1, 912210767872, 3);
    assert_refused(pk_census_take(&census, scratch_path("."), &m1), PK_CORRUPT,
                   "model.safetensors.index.json has no tensor model.layers.0.self_attn.qkv_proj.weight");
    const char totalless[] = "{\"weight_map\": {\"a\": \"b\"}}";
    scratch_write("model.safetensors.index.json", totalless, sizeof totalless - 1);
    assert_refused(pk_census_take(&census, scratch_path("."), &m1), PK_CORRUPT, "metadata.total_size is not there");
    scratch_write("model.safetensors.index.json", "[]", 2);
    assert_refused(pk_census_take(&census, scratch_path("."), &m1), PK_CORRUPT,
                   "weight_map is nothing, expected an object");
}

static void without_any_file_the_published_types_are_assumed_and_said(void **state)
{
    pk_model_config m1 = published();
    pk_census census;
    (void)state;
    assert_ok(pk_census_take(&census, scratch_path("."), &m1));
    assert_int_equal(census.source, PK_CENSUS_CONFIG);
    assert_true(census.whole.stored_bytes == 912210767872);
    assert_non_null(strstr(pk_census_source_words(census.source), "assumed"));
    m1.shared_expert = true;
    assert_refused(pk_census_take(&census, scratch_path("."), &m1), PK_IO,
                   "only their headers know the size of the shared expert");
}

static void a_tied_head_is_stored_once_and_resident_twice(void **state)
{
    pk_model_config m1 = published();
    pk_census own, tied;
    uint64_t embedding = 200064ull * 6144 * 2;
    (void)state;
    assert_ok(pk_census_take(&own, scratch_path("."), &m1));
    m1.tie_word_embeddings = true;
    assert_ok(pk_census_take(&tied, scratch_path("."), &m1));
    assert_true(own.whole.stored_bytes - tied.whole.stored_bytes == embedding);
    assert_true(own.whole.resident_bytes == tied.whole.resident_bytes);
    assert_true(own.head.stored_bytes == tied.head.stored_bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(headers_are_counted_to_the_byte),
        cmocka_unit_test_setup_teardown(an_index_tells_the_types_by_its_total, open_scratch, close_scratch),
        cmocka_unit_test_setup_teardown(an_index_of_another_model_is_refused, open_scratch, close_scratch),
        cmocka_unit_test_setup_teardown(without_any_file_the_published_types_are_assumed_and_said, open_scratch,
                                        close_scratch),
        cmocka_unit_test_setup_teardown(a_tied_head_is_stored_once_and_resident_twice, open_scratch, close_scratch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
