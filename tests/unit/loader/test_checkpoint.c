#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "loader/checkpoint.h"
#include "scratch.h"

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

static void golden_checkpoints_are_opened(void **state)
{
    (void)state;
    static const struct {
        const char *dir;
        size_t files;
    } golden[] = {{PK_GOLDEN "/nano", 1}, {PK_GOLDEN "/duo", 3}, {PK_GOLDEN "/shared", 1}};
    for (size_t i = 0; i < 3; i++) {
        pk_checkpoint *checkpoint;
        assert_ok(pk_checkpoint_open(&checkpoint, golden[i].dir));
        assert_int_equal(pk_checkpoint_file_count(checkpoint), golden[i].files);
        assert_non_null(pk_checkpoint_find(checkpoint, "model.embed_tokens.weight"));
        assert_null(pk_checkpoint_find(checkpoint, "model.embed_tokens.bias"));
        uint64_t bytes = 0;
        for (size_t t = 0; t < pk_checkpoint_count(checkpoint); t++) {
            const pk_tensor_entry *entry = pk_checkpoint_at(checkpoint, t);
            assert_ptr_equal(pk_checkpoint_find(checkpoint, entry->name), entry);
            bytes += entry->bytes;
        }
        assert_int_equal(bytes, pk_checkpoint_bytes(checkpoint));
        pk_checkpoint_close(&checkpoint);
        assert_null(checkpoint);
        pk_checkpoint_close(&checkpoint);
    }
}

static void duos_total_is_what_its_index_says_and_its_norm_lies_in_the_middle(void **state)
{
    (void)state;
    pk_checkpoint *checkpoint;
    assert_ok(pk_checkpoint_open(&checkpoint, PK_GOLDEN "/duo"));
    assert_int_equal(pk_checkpoint_bytes(checkpoint), 3649280);
    const pk_tensor_entry *norm = pk_checkpoint_find(checkpoint, "model.norm.weight");
    assert_string_equal(pk_safetensors_path(norm->file), PK_GOLDEN "/duo/model-00001-of-00003.safetensors");
    assert_int_equal(norm->dtype, PK_BF16);
    const pk_tensor_entry *last = pk_checkpoint_find(checkpoint, "model.layers.15.input_layernorm.weight");
    assert_string_equal(pk_safetensors_path(last->file), PK_GOLDEN "/duo/model-00002-of-00003.safetensors");
    pk_checkpoint_close(&checkpoint);
}

static void require_says_what_was_found_and_what_was_expected(void **state)
{
    (void)state;
    pk_checkpoint *checkpoint;
    const pk_tensor_entry *entry = NULL;
    assert_ok(pk_checkpoint_open(&checkpoint, PK_GOLDEN "/nano"));
    assert_ok(pk_checkpoint_require(checkpoint, "model.embed_tokens.weight", 2, (uint64_t[]){384, 64}, &entry));
    assert_string_equal(entry->name, "model.embed_tokens.weight");
    assert_ok(pk_checkpoint_require(checkpoint, "model.embed_tokens.weight", 2, (uint64_t[]){0, 64}, NULL));
    assert_refused(pk_checkpoint_require(checkpoint, "model.embed_tokens.weight", 2, (uint64_t[]){385, 64}, &entry),
                   PK_CORRUPT,
                   "nano/model.safetensors: tensor model.embed_tokens.weight has shape [384, 64], expected [385, 64]");
    assert_null(entry);
    assert_refused(pk_checkpoint_require(checkpoint, "model.norm.weight", 2, (uint64_t[]){64, 1}, &entry), PK_CORRUPT,
                   "has shape [64], expected [64, 1]");
    assert_refused(pk_checkpoint_require(checkpoint, "model.nrom.weight", 1, (uint64_t[]){64}, &entry), PK_CORRUPT,
                   "nano: tensor model.nrom.weight is missing, expected it with shape [64]");
    pk_checkpoint_close(&checkpoint);
}

static void weights_of_other_dtypes_are_refused_only_when_asked_for(void **state)
{
    (void)state;
    pk_checkpoint *checkpoint;
    scratch_safetensors("model.safetensors",
                        "{\"q\":{\"dtype\":\"F8_E4M3\",\"shape\":[4],\"data_offsets\":[0,4]},"
                        "\"e\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[4,4]}}",
                        4);
    assert_ok(pk_checkpoint_open(&checkpoint, scratch_path("")));
    assert_refused(pk_checkpoint_require(checkpoint, "q", 1, (uint64_t[]){4}, NULL), PK_CORRUPT,
                   "tensor q is stored as F8_E4M3, expected F32, BF16 or F16");
    assert_refused(pk_checkpoint_require(checkpoint, "e", 1, (uint64_t[]){0}, NULL), PK_CORRUPT,
                   "tensor e has shape [0], expected");
    pk_checkpoint_close(&checkpoint);
}

#define W(offsets) "{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":" offsets "}"

/* Two shards, a and b in the first, c in the second, under this weight_map. */
static pk_err open_with_index(const char *index)
{
    pk_checkpoint *checkpoint = NULL;
    scratch_safetensors("one.safetensors", "{\"a\":" W("[0,4]") ",\"b\":" W("[4,8]") "}", 8);
    scratch_safetensors("two.safetensors", "{\"c\":" W("[0,4]") "}", 4);
    scratch_write("model.safetensors.index.json", index, strlen(index));
    pk_err err = pk_checkpoint_open(&checkpoint, scratch_path(""));
    assert_true(!err == !!checkpoint);
    if (!err)
        assert_int_equal(pk_checkpoint_count(checkpoint), 3);
    pk_checkpoint_close(&checkpoint);
    return err;
}

#define MAP(map) "{\"metadata\":{},\"weight_map\":{" map "}}"
#define AB       "\"b\":\"one.safetensors\",\"a\":\"one.safetensors\""

static void the_order_of_an_index_does_not_matter(void **state)
{
    (void)state;
    assert_ok(open_with_index(MAP("\"c\":\"two.safetensors\"," AB)));
    assert_ok(open_with_index(MAP("\"a\":\"one.safetensors\",\"c\":\"two.safetensors\",\"b\":\"one.safetensors\"")));
}

static void an_index_that_lies_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *index;
        pk_err err;
        const char *words;
    } lies[] = {
        {"", PK_CORRUPT, "model.safetensors.index.json: JSON at line 1"},
        {"[]", PK_CORRUPT, "weight_map is nothing, expected an object"},
        {"{\"weight_map\": 3}", PK_CORRUPT, "weight_map is 3, expected an object"},
        {MAP(""), PK_CORRUPT, "weight_map is empty"},
        {MAP(AB ",\"c\\u001b[2J\":\"s2\""), PK_CORRUPT,
         "weight_map: a tensor's name has a control character at byte 1"},
        {MAP(AB ",\"c\":3"), PK_CORRUPT, "a tensor of weight_map lies in 3, expected the plain name of a file"},
        {MAP(AB ",\"c\":\"\""), PK_CORRUPT, "lies in \"\", expected the plain name"},
        {MAP(AB ",\"c\":\"../two.safetensors\""), PK_CORRUPT,
         "lies in \"../two.safetensors\", expected the plain name"},
        {MAP(AB ",\"c\":\"/etc/passwd\""), PK_CORRUPT, "lies in \"/etc/passwd\", expected the plain name"},
        {MAP(AB ",\"c\":\"..\""), PK_CORRUPT, "lies in \"..\", expected the plain name"},
        {MAP(AB ",\"c\":\"a\\u001bb\""), PK_CORRUPT, "lies in \"a?b\", expected the plain name"},
        {MAP(AB ",\"c\":\"three.safetensors\""), PK_IO, "three.safetensors: No such file"},
        {MAP(AB ",\"c\":\"one.safetensors\""), PK_CORRUPT, "tensor c is not in one.safetensors"},
        {MAP("\"a\":\"one.safetensors\",\"c\":\"two.safetensors\""), PK_CORRUPT,
         "one.safetensors has 2 tensors, model.safetensors.index.json puts 1 there"},
        {MAP(AB "," AB ",\"c\":\"two.safetensors\""), PK_CORRUPT, "duplicate object key near '\"b\"'"},
    };
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++)
        assert_refused(open_with_index(lies[i].index), lies[i].err, lies[i].words);
}

static void a_directory_without_weights_is_refused(void **state)
{
    (void)state;
    pk_checkpoint *checkpoint;
    assert_refused(pk_checkpoint_open(&checkpoint, scratch_path("")), PK_IO,
                   "has neither model.safetensors nor model.safetensors.index.json");
    assert_refused(pk_checkpoint_open(&checkpoint, "/no/such"), PK_IO, "/no/such: has neither");
}

static void copy_model(const char *from, const char *name)
{
    size_t bytes;
    char path[512];
    snprintf(path, sizeof path, "%s/%s", from, name);
    char *data = scratch_read(path, &bytes);
    scratch_write(name, data, bytes);
    free(data);
}

static pk_digest fingerprint(const char *dir)
{
    pk_checkpoint *checkpoint;
    pk_digest digest;
    assert_ok(pk_checkpoint_open(&checkpoint, dir));
    assert_ok(pk_checkpoint_fingerprint(checkpoint, &digest));
    pk_checkpoint_close(&checkpoint);
    return digest;
}

static void fingerprints_tell_models_apart_and_nothing_else(void **state)
{
    (void)state;
    pk_digest nano = fingerprint(PK_GOLDEN "/nano"), duo = fingerprint(PK_GOLDEN "/duo"), other;
    assert_memory_not_equal(&nano, &duo, sizeof nano);
    copy_model(PK_GOLDEN "/nano", "model.safetensors");
    copy_model(PK_GOLDEN "/nano", "config.json");
    other = fingerprint(scratch_path(""));
    assert_memory_equal(&nano, &other, sizeof nano); /* another place and time */
    scratch_append("config.json", "\n", 1);
    other = fingerprint(scratch_path(""));
    assert_memory_not_equal(&nano, &other, sizeof nano);

    size_t bytes;
    copy_model(PK_GOLDEN "/nano", "config.json");
    char *data = scratch_read(PK_GOLDEN "/nano/model.safetensors", &bytes);
    data[bytes - 1] = (char)(data[bytes - 1] ^ 1); /* other weights under the same headers */
    scratch_write("model.safetensors", data, bytes);
    other = fingerprint(scratch_path(""));
    assert_memory_not_equal(&nano, &other, sizeof nano);
    free(data);
}

/* Other ids are other answers, whichever files they come from; a file that nobody reads is no difference. */
static void a_fingerprint_knows_the_tokenizer(void **state)
{
    (void)state;
    static const char *const steps[] = {"merges.txt", "vocab.json", "tokenizer.json"};
    copy_model(PK_GOLDEN "/nano", "model.safetensors");
    copy_model(PK_GOLDEN "/nano", "config.json");
    pk_digest before = fingerprint(scratch_path("")), now;
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        scratch_write(steps[i], "a b\n", 4);
        now = fingerprint(scratch_path(""));
        assert_memory_not_equal(&now, &before, sizeof now);
        scratch_append(steps[i], "c d\n", 4);
        before = fingerprint(scratch_path(""));
        assert_memory_not_equal(&now, &before, sizeof now);
    }
    scratch_append("merges.txt", "e f\n", 4);
    now = fingerprint(scratch_path(""));
    assert_memory_equal(&now, &before, sizeof now);
}

static void a_file_that_changed_has_no_fingerprint(void **state)
{
    (void)state;
    pk_checkpoint *checkpoint;
    pk_digest digest;
    copy_model(PK_GOLDEN "/nano", "model.safetensors");
    copy_model(PK_GOLDEN "/nano", "config.json");
    assert_ok(pk_checkpoint_open(&checkpoint, scratch_path("")));
    scratch_append("model.safetensors", "x", 1);
    assert_refused(pk_checkpoint_fingerprint(checkpoint, &digest), PK_CORRUPT,
                   "model.safetensors: has changed since its header was read");
    pk_checkpoint_close(&checkpoint);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_checkpoints_are_opened),
        cmocka_unit_test(duos_total_is_what_its_index_says_and_its_norm_lies_in_the_middle),
        cmocka_unit_test(require_says_what_was_found_and_what_was_expected),
        cmocka_unit_test_setup_teardown(weights_of_other_dtypes_are_refused_only_when_asked_for, open_scratch,
                                        close_scratch),
        cmocka_unit_test_setup_teardown(the_order_of_an_index_does_not_matter, open_scratch, close_scratch),
        cmocka_unit_test_setup_teardown(an_index_that_lies_is_refused, open_scratch, close_scratch),
        cmocka_unit_test_setup_teardown(a_directory_without_weights_is_refused, open_scratch, close_scratch),
        cmocka_unit_test_setup_teardown(fingerprints_tell_models_apart_and_nothing_else, open_scratch, close_scratch),
        cmocka_unit_test_setup_teardown(a_fingerprint_knows_the_tokenizer, open_scratch, close_scratch),
        cmocka_unit_test_setup_teardown(a_file_that_changed_has_no_fingerprint, open_scratch, close_scratch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
