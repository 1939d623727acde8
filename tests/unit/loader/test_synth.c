#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "loader/names.h"
#include "loader/reader.h"
#include "loader/synth.h"
#include "loader/synth_fill.h"
#include "scratch.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int open_scratch(void **state)
{
    (void)state;
    scratch_open();
    return 0;
}

static int close_scratch(void **state)
{
    (void)state;
    scratch_close();
    return 0;
}

static pk_synth_options small(const char *dir)
{
    pk_synth_options options = pk_synth_defaults();
    options.dir = dir;
    options.hidden = 64;
    options.heads = 4;
    options.head_dim = 20;
    options.rotary_dim = 10;
    options.inner = 24;
    options.vocab = 300;
    options.experts = 3;
    return options;
}

/* The walk's weights, all with their shapes, and nothing else. */
static void check_model(const char *dir, pk_dtype dtype)
{
    pk_model_config config;
    pk_checkpoint *checkpoint;
    pk_weight_entry entry;
    pk_weight weight;
    size_t count = 0;
    assert_ok(pk_config_read(&config, dir));
    assert_ok(pk_checkpoint_open(&checkpoint, dir));
    for (pk_weight_walk walk = {0}; pk_weight_next(&config, &walk, &weight); count++) {
        assert_ok(pk_weight_find(checkpoint, &config, PK_NAMES_OFFICIAL, weight, &entry));
        assert_int_equal(entry.dtype, weight.role == PK_WEIGHT_ROUTER ? PK_F32 : dtype);
    }
    assert_int_equal(count, pk_checkpoint_count(checkpoint));
    pk_checkpoint_close(&checkpoint);
}

static void a_synthetic_checkpoint_reads_back(void **state)
{
    (void)state;
    pk_synth_options options = small(scratch_path("m"));
    pk_model_config config;
    uint64_t bytes;
    options.eos_id = 7;
    assert_ok(pk_synth_bytes(&options, &bytes));
    assert_ok(pk_synth(&options));
    check_model(scratch_path("m"), PK_BF16);
    assert_ok(pk_config_read(&config, scratch_path("m")));
    assert_int_equal(config.hidden, 64);
    assert_int_equal(config.kind[6], PK_LAYER_LIGHTNING);
    assert_int_equal(config.kind[7], PK_LAYER_SOFTMAX);
    assert_true(config.mlp_scale.alpha == 2.0); /* (2 · 8)^¼ */
    assert_true(config.rope_theta == 1e7);
    assert_int_equal(config.eos_ids[0], 7);
    assert_true(config.postnorm);
    assert_int_equal(access(scratch_path("m/model-00000-of-00001.safetensors"), F_OK), 0);

    pk_checkpoint *checkpoint;
    assert_ok(pk_checkpoint_open(&checkpoint, scratch_path("m")));
    assert_int_equal(pk_checkpoint_bytes(checkpoint), bytes);
    pk_checkpoint_close(&checkpoint);
}

static void every_branch_of_the_architecture_can_be_made(void **state)
{
    (void)state;
    pk_synth_options options = small(scratch_path("m"));
    options.shared_inner = 40;
    options.tie_word_embeddings = true;
    options.postnorm = false;
    options.dtype = PK_F16;
    options.softmax_every = 1;
    options.layers = 1;
    options.alpha = 1.5;
    options.beta = 0.5;
    assert_ok(pk_synth(&options));
    check_model(scratch_path("m"), PK_F16);
    options.dir = scratch_path("n");
    options.softmax_every = 0;
    options.dtype = PK_F32;
    assert_ok(pk_synth(&options));
    check_model(scratch_path("n"), PK_F32);
}

static void assert_same_file(const char *a, const char *b, bool same)
{
    size_t a_bytes, b_bytes;
    char *left = scratch_read(scratch_path(a), &a_bytes), *right = scratch_read(scratch_path(b), &b_bytes);
    assert_int_equal(a_bytes, b_bytes);
    assert_int_equal(!memcmp(left, right, a_bytes), same);
    free(left);
    free(right);
}

static void the_same_seed_gives_the_same_bytes(void **state)
{
    (void)state;
    pk_synth_options options = small(scratch_path("a"));
    options.seed = 5;
    assert_ok(pk_synth(&options));
    options.dir = scratch_path("b");
    assert_ok(pk_synth(&options));
    options.dir = scratch_path("c");
    options.seed = 6;
    assert_ok(pk_synth(&options));
    assert_same_file("a/model-00000-of-00001.safetensors", "b/model-00000-of-00001.safetensors", true);
    assert_same_file("a/model-00000-of-00001.safetensors", "c/model-00000-of-00001.safetensors", false);
    assert_same_file("a/config.json", "c/config.json", true);
    assert_same_file("a/model.safetensors.index.json", "c/model.safetensors.index.json", true);
}

static pk_err digest_rows(void *user, const pk_tensor_entry *tensor, uint64_t first_row, uint64_t row_count,
                          const void *rows)
{
    (void)first_row;
    *(pk_digest *)user = pk_digest_of(rows, (size_t)(row_count * pk_tensor_row_bytes(tensor)));
    return PK_OK;
}

/* Every tensor fits one piece, so each digest is of the whole. */
static pk_digest *digest_tensors(const char *dir, size_t *count)
{
    pk_checkpoint *checkpoint;
    pk_reader *reader;
    assert_ok(pk_checkpoint_open(&checkpoint, dir));
    *count = pk_checkpoint_count(checkpoint);
    pk_digest *digests = calloc(*count, sizeof *digests);
    assert_ok(pk_reader_open(&reader, (pk_reader_options){.kind = PK_READER_PREAD}));
    for (size_t i = 0; i < *count; i++)
        assert_ok(
            pk_reader_read(reader, &(pk_read_request){pk_checkpoint_at(checkpoint, i), &digests[i]}, 1, digest_rows));
    pk_reader_close(&reader);
    pk_checkpoint_close(&checkpoint);
    return digests;
}

static void sharding_changes_no_weight(void **state)
{
    (void)state;
    size_t a_count, b_count;
    pk_synth_options options = small(scratch_path("a"));
    assert_ok(pk_synth(&options));
    options.dir = scratch_path("b/");
    options.shard_bytes = 50000;
    assert_ok(pk_synth(&options));
    check_model(scratch_path("b"), PK_BF16);
    pk_checkpoint *checkpoint;
    assert_ok(pk_checkpoint_open(&checkpoint, scratch_path("b")));
    assert_in_range(pk_checkpoint_file_count(checkpoint), 10, 100);
    pk_checkpoint_close(&checkpoint);
    pk_digest *a = digest_tensors(scratch_path("a"), &a_count), *b = digest_tensors(scratch_path("b"), &b_count);
    assert_int_equal(a_count, b_count);
    assert_memory_equal(a, b, a_count * sizeof *a);
    for (size_t i = 1; i < a_count; i++)
        assert_memory_not_equal(&a[i - 1], &a[i], sizeof *a);
    free(a);
    free(b);
}

static void every_element_depends_on_its_index_alone(void **state)
{
    (void)state;
    enum { COUNT = 20000 };
    static const pk_dtype dtypes[] = {PK_F32, PK_BF16, PK_F16};
    static float whole[COUNT], part[COUNT];
    for (size_t d = 0; d < 3; d++) {
        pk_synth_tensor tensor = {pk_synth_key(1, "w"), dtypes[d], 0.0f, 0.5f};
        size_t element = pk_dtype_bytes(dtypes[d]);
        pk_synth_fill(&tensor, 0, COUNT, whole);
        for (size_t first = 0; first < COUNT; first += 2052) {
            size_t count = COUNT - first < 777 ? COUNT - first : 777;
            pk_synth_fill(&tensor, first, count, part);
            assert_memory_equal(part, (char *)whole + first * element, count * element);
        }
    }
}

static void spread_and_rounding_are_as_promised(void **state)
{
    (void)state;
    enum { COUNT = 1 << 16 };
    static float full[COUNT];
    static uint16_t bf16[COUNT], f16[COUNT];
    static const struct {
        float center, spread;
    } cases[] = {{0.0f, 1.75f}, {1.0f, 0.125f}, {0.0f, 0.02f}, {0.0f, 0.0001f}};
    for (size_t c = 0; c < 4; c++) {
        pk_synth_tensor tensor = {pk_synth_key(9, "w"), PK_F32, cases[c].center, cases[c].spread};
        double sum = 0, squares = 0;
        pk_synth_fill(&tensor, 0, COUNT, full);
        tensor.dtype = PK_BF16;
        pk_synth_fill(&tensor, 0, COUNT, bf16);
        tensor.dtype = PK_F16;
        pk_synth_fill(&tensor, 0, COUNT, f16);
        for (size_t i = 0; i < COUNT; i++) {
            double value = (double)full[i] - cases[c].center, size = fabs((double)full[i]);
            sum += value;
            squares += value * value;
            assert_true(fabs(value) <= cases[c].spread);
            assert_true(fabs((double)pk_bf16_to_f32(bf16[i]) - full[i]) <= size * 0x1p-8);
            assert_true(fabs((double)pk_f16_to_f32(f16[i]) - full[i]) <= fmax(size * 0x1p-11, 0x1p-25));
        }
        double deviation = sqrt(squares / COUNT), expected = cases[c].spread / sqrt(3.0);
        assert_true(fabs(deviation / expected - 1) < 0.02);
        assert_true(fabs(sum / COUNT) < 5 * expected / sqrt(COUNT));
    }
}

static void a_directory_with_anything_in_it_is_refused(void **state)
{
    (void)state;
    pk_synth_options options = small(scratch_path("m"));
    assert_int_equal(mkdir(scratch_path("m"), 0777), 0);
    assert_ok(pk_synth(&options)); /* an empty one is taken */
    assert_refused(pk_synth(&options), PK_INVALID, "m: is not empty, expected a new or an empty directory");
    scratch_write("file", "x", 1);
    options.dir = scratch_path("file");
    assert_refused(pk_synth(&options), PK_INVALID, "file: Not a directory");
    options.dir = scratch_path("no/such/parent");
    assert_refused(pk_synth(&options), PK_IO, "mkdir");
    options.dir = "";
    assert_refused(pk_synth(&options), PK_INVALID, "no directory is named");
}

static void assert_only(const char *name)
{
    struct dirent *entry;
    DIR *listing = opendir(scratch_path(""));
    while ((entry = readdir(listing)))
        if (entry->d_name[0] != '.')
            assert_string_equal(entry->d_name, name);
    closedir(listing);
}

static void a_failure_leaves_nothing(void **state)
{
    (void)state;
    pk_synth_options options = small(scratch_path("m"));
    options.tokenizer = "/no/such/tokenizer.json";
    assert_refused(pk_synth(&options), PK_IO, "/no/such/tokenizer.json: No such file");
    assert_only("nothing");
}

static void tokenizer_files_are_copied(void **state)
{
    (void)state;
    pk_synth_options options = small(scratch_path("m"));
    scratch_write("t.json", "{}", 2);
    options.tokenizer = scratch_path("t.json");
    assert_ok(pk_synth(&options));
    assert_int_equal(access(scratch_path("m/tokenizer.json"), F_OK), 0);
    assert_int_equal(access(scratch_path("m/tokenizer_config.json"), F_OK), -1);
    scratch_write("tokenizer_config.json", "{\"eos_token\": \"x\"}", 18);
    options.dir = scratch_path("n");
    options.tokenizer = scratch_path("t.json");
    assert_ok(pk_synth(&options));
    assert_same_file("tokenizer_config.json", "n/tokenizer_config.json", true);
}

static void shapes_that_no_model_has_are_refused_by_field(void **state)
{
    (void)state;
    pk_synth_options options = small(scratch_path("m"));
    options.kv_heads = 3;
    assert_refused(pk_synth(&options), PK_INVALID, "num_key_value_heads is 3, expected a divisor");
    options = small(scratch_path("m"));
    options.layers = 1u << 30;
    assert_refused(pk_synth(&options), PK_INVALID, "num_hidden_layers is 1073741824");
    options = small(scratch_path("m"));
    options.dtype = PK_I32;
    assert_refused(pk_synth(&options), PK_INVALID, "dtype is I32, expected BF16, F16 or F32");
    options = small(scratch_path("m"));
    options.alpha = NAN;
    assert_refused(pk_synth(&options), PK_INVALID, "JSON at line");
    options = small(scratch_path("m"));
    options.shared_inner = SIZE_MAX;
    assert_refused(pk_synth(&options), PK_INVALID, "shared_intermediate_size");
    assert_only("nothing");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_synthetic_checkpoint_reads_back, open_scratch, close_scratch),
        cmocka_unit_test_setup_teardown(every_branch_of_the_architecture_can_be_made, open_scratch, close_scratch),
        cmocka_unit_test_setup_teardown(the_same_seed_gives_the_same_bytes, open_scratch, close_scratch),
        cmocka_unit_test_setup_teardown(sharding_changes_no_weight, open_scratch, close_scratch),
        cmocka_unit_test(every_element_depends_on_its_index_alone),
        cmocka_unit_test(spread_and_rounding_are_as_promised),
        cmocka_unit_test_setup_teardown(a_directory_with_anything_in_it_is_refused, open_scratch, close_scratch),
        cmocka_unit_test_setup_teardown(a_failure_leaves_nothing, open_scratch, close_scratch),
        cmocka_unit_test_setup_teardown(tokenizer_files_are_copied, open_scratch, close_scratch),
        cmocka_unit_test_setup_teardown(shapes_that_no_model_has_are_refused_by_field, open_scratch, close_scratch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
