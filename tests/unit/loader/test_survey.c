#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "loader/survey.h"
#include "scratch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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

static void copy_file(const char *dir, const char *name)
{
    char path[512];
    size_t bytes;
    snprintf(path, sizeof path, "%s/%s", dir, name);
    char *data = scratch_read(path, &bytes);
    scratch_write(name, data, bytes);
    free(data);
}

static pk_survey *survey_of(const char *dir)
{
    pk_survey *survey;
    assert_ok(pk_survey_open(&survey, dir));
    return survey;
}

static void assert_fault(const pk_survey *survey, pk_survey_fault_kind kind, const char *words)
{
    for (size_t i = 0; i < survey->fault_count; i++)
        if (survey->faults[i].kind == kind && strstr(survey->faults[i].what, words))
            return;
    fail_msg("no fault of kind %s says \"%s\"; the first of %zu: %s", pk_survey_fault_word(kind), words,
             survey->fault_count, survey->fault_count ? survey->faults[0].what : "");
}

static void golden_checkpoints_have_no_fault(void **state)
{
    (void)state;
    static const char *const names[] = {PK_GOLDEN "/nano", PK_GOLDEN "/duo", PK_GOLDEN "/shared"};
    for (size_t i = 0; i < 3; i++) {
        pk_survey *survey = survey_of(names[i]);
        pk_survey_sum all = {0};
        assert_int_equal(survey->fault_count, 0);
        assert_int_equal(survey->extra_count + survey->absent_count + survey->headless_count, 0);
        assert_int_equal(survey->sum.tensors, survey->tensor_count);
        for (size_t part = 0; part < PK_SURVEY_PARTS_COUNT; part++) {
            all.parameters += survey->parts[part].parameters;
            all.bytes += survey->parts[part].bytes;
        }
        assert_int_equal(all.parameters, survey->sum.parameters);
        assert_int_equal(all.bytes, survey->sum.bytes);
        pk_survey_close(&survey);
    }
}

/* Sizes of shared experts stand in no config: they come from the tensors. */
static void shared_experts_are_counted(void **state)
{
    (void)state;
    pk_survey *survey = survey_of(PK_GOLDEN "/shared");
    pk_survey_sum shared = survey->parts[PK_SURVEY_PART_SHARED];
    assert_int_equal(shared.tensors, 4 * survey->config.layers);
    assert_int_equal(shared.parameters, survey->config.layers * (3 * 16 + 1) * survey->config.hidden);
    pk_survey_close(&survey);
}

static void an_index_without_its_files_is_enough(void **state)
{
    (void)state;
    copy_file(PK_GOLDEN "/duo", "config.json");
    copy_file(PK_GOLDEN "/duo", "model.safetensors.index.json");
    pk_survey *survey = survey_of(scratch_path(""));
    pk_survey *whole = survey_of(PK_GOLDEN "/duo");
    assert_int_equal(survey->fault_count, 0);
    assert_int_equal(survey->shard_count, 3);
    assert_int_equal(survey->absent_count, 3);
    assert_int_equal(survey->tensor_count, whole->tensor_count);
    assert_int_equal(survey->headless_count, whole->tensor_count);
    assert_int_equal(survey->sum.parameters, whole->sum.parameters);
    assert_int_equal(survey->sum.bytes, 0);
    assert_int_equal(survey->index.total_bytes, whole->sum.bytes);
    copy_file(PK_GOLDEN "/duo", "model-00001-of-00003.safetensors");
    pk_survey_close(&survey);
    survey = survey_of(scratch_path(""));
    assert_int_equal(survey->absent_count, 2);
    assert_int_equal(survey->fault_count, 0);
    assert_true(survey->sum.bytes > 0 && survey->sum.bytes < whole->sum.bytes);
    pk_survey_close(&survey);
    pk_survey_close(&whole);
}

static void damage_is_noted_and_the_rest_is_told(void **state)
{
    (void)state;
    static const char *const names[] = {"config.json", "model.safetensors.index.json",
                                        "model-00000-of-00003.safetensors", "model-00001-of-00003.safetensors",
                                        "model-00002-of-00003.safetensors"};
    for (size_t i = 0; i < 5; i++)
        copy_file(PK_GOLDEN "/duo", names[i]);
    assert_int_equal(truncate(scratch_path("model-00001-of-00003.safetensors"), 100), 0);
    pk_survey *survey = survey_of(scratch_path(""));
    assert_int_equal(survey->fault_count, 1);
    assert_fault(survey, PK_SURVEY_FAULT_SHARD, "model-00001-of-00003.safetensors: header length");
    assert_true(survey->headless_count > 0 && survey->headless_count < survey->tensor_count);
    pk_survey_close(&survey);
    scratch_write("config.json", "{\"model_type\": \"llama\"}", 23);
    survey = survey_of(scratch_path(""));
    assert_false(survey->has_config);
    assert_fault(survey, PK_SURVEY_FAULT_CONFIG, "model_type is \"llama\"");
    assert_int_equal(survey->shard_count, 3);
    pk_survey_close(&survey);
}

/* In the header of nano a name of the same length is put in the place of another. */
static void rename_in_header(const char *from, const char *to)
{
    size_t bytes;
    char *data = scratch_read(scratch_path("model.safetensors"), &bytes);
    char *at = memmem(data, bytes, from, strlen(from));
    assert_non_null(at);
    memcpy(at, to, strlen(to));
    scratch_write("model.safetensors", data, bytes);
    free(data);
}

static void a_slip_in_a_name_is_missing_and_extra(void **state)
{
    (void)state;
    copy_file(PK_GOLDEN "/nano", "config.json");
    copy_file(PK_GOLDEN "/nano", "model.safetensors");
    rename_in_header("layers.3.self_attn.qkv_proj", "layers.3.self_attn.qvk_proj");
    rename_in_header("layers.4.self_attn.norm.weight\"", "layers.4.self_attn.slope_rate\" ");
    pk_survey *survey = survey_of(scratch_path(""));
    assert_int_equal(survey->missing_count, 2);
    assert_fault(survey, PK_SURVEY_FAULT_MISSING,
                 "tensor model.layers.3.self_attn.qkv_proj.weight is missing, expected it with shape [192, 64]; the "
                 "nearest name there is model.layers.3.self_attn.qvk_proj.weight");
    assert_fault(survey, PK_SURVEY_FAULT_MISSING, "model.layers.4.self_attn.norm.weight is missing");
    assert_int_equal(survey->extra_count, 1);
    assert_string_equal(survey->extra[0], "model.layers.3.self_attn.qvk_proj.weight");
    assert_int_equal(survey->constant_count, 1);
    pk_survey_close(&survey);
}

static void other_shapes_and_types_are_faults(void **state)
{
    (void)state;
    size_t bytes;
    copy_file(PK_GOLDEN "/nano", "model.safetensors");
    char *config = scratch_read(PK_GOLDEN "/nano/config.json", &bytes);
    char *at = memmem(config, bytes, "\"vocab_size\": 384", 17);
    assert_non_null(at);
    memcpy(at, "\"vocab_size\": 300", 17);
    scratch_write("config.json", config, bytes);
    free(config);
    rename_in_header("\"F32\"", "\"I32\"");
    pk_survey *survey = survey_of(scratch_path(""));
    assert_fault(survey, PK_SURVEY_FAULT_SHAPE, "tensor lm_head.weight has shape [384, 64], expected [300, 64]");
    assert_fault(survey, PK_SURVEY_FAULT_DTYPE, "is stored as I32, expected F32, BF16 or F16");
    pk_survey_close(&survey);
}

static void a_directory_of_something_else_is_refused(void **state)
{
    (void)state;
    pk_survey *survey;
    assert_refused(pk_survey_open(&survey, scratch_path("")), PK_IO, "has neither config.json nor model.safetensors");
    assert_null(survey);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_checkpoints_have_no_fault),
        cmocka_unit_test(shared_experts_are_counted),
        cmocka_unit_test_setup_teardown(an_index_without_its_files_is_enough, open_scratch, close_scratch),
        cmocka_unit_test_setup_teardown(damage_is_noted_and_the_rest_is_told, open_scratch, close_scratch),
        cmocka_unit_test_setup_teardown(a_slip_in_a_name_is_missing_and_extra, open_scratch, close_scratch),
        cmocka_unit_test_setup_teardown(other_shapes_and_types_are_faults, open_scratch, close_scratch),
        cmocka_unit_test_setup_teardown(a_directory_of_something_else_is_refused, open_scratch, close_scratch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
