#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "loader/finite.h"
#include "loader/stream.h"
#include "loader/verify.h"
#include "scratch.h"

#include <math.h>
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

static void copy_nano(void)
{
    static const char *const names[] = {"config.json", "model.safetensors"};
    for (size_t i = 0; i < 2; i++) {
        char path[512];
        size_t bytes;
        snprintf(path, sizeof path, PK_GOLDEN "/nano/%s", names[i]);
        char *data = scratch_read(path, &bytes);
        scratch_write(names[i], data, bytes);
        free(data);
    }
}

/* A file of so many bytes, none like its neighbours. */
static char *make_file(const char *name, size_t bytes)
{
    char *data = malloc(bytes + 1);
    assert_non_null(data);
    for (size_t i = 0; i < bytes; i++)
        data[i] = (char)(i * 2654435761u >> 13);
    scratch_write(name, data, bytes);
    return data;
}

static void a_stream_gives_the_files_bytes_whatever_its_length(void **state)
{
    (void)state;
    static const size_t lengths[] = {0, 1, 4095, 4096, 4097, 4 << 20, (4 << 20) + 1, (16 << 20) + 4099};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        pk_stream *stream;
        const void *piece;
        size_t bytes, at = 0;
        char *data = make_file("file", lengths[i]);
        assert_ok(pk_stream_open(&stream, scratch_path("file")));
        for (;;) {
            assert_ok(pk_stream_next(stream, &piece, &bytes));
            if (!bytes)
                break;
            assert_true(at + bytes <= lengths[i]);
            assert_memory_equal(piece, data + at, bytes);
            at += bytes;
        }
        assert_int_equal(at, lengths[i]);
        assert_ok(pk_stream_next(stream, &piece, &bytes));
        assert_int_equal(bytes, 0);
        pk_stream_close(&stream);
        free(data);
    }
}

static void a_stream_may_be_closed_at_any_time(void **state)
{
    (void)state;
    free(make_file("file", 30 << 20));
    for (int pieces = 0; pieces < 9; pieces++) {
        pk_stream *stream;
        const void *piece;
        size_t bytes;
        assert_ok(pk_stream_open(&stream, scratch_path("file")));
        for (int i = 0; i < pieces; i++)
            assert_ok(pk_stream_next(stream, &piece, &bytes));
        pk_stream_close(&stream);
        assert_null(stream);
    }
}

static void a_digest_of_pieces_is_that_of_the_whole(void **state)
{
    (void)state;
    char data[3000];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (char)(i * 7 + i / 256);
    pk_digest whole = pk_digest_of(data, sizeof data);
    for (size_t cut = 0; cut <= sizeof data; cut += 97) {
        pk_digest_stream *stream;
        assert_ok(pk_digest_stream_open(&stream));
        pk_digest_stream_feed(stream, data, cut);
        pk_digest_stream_feed(stream, data + cut, sizeof data - cut);
        pk_digest pieces = pk_digest_stream_end(stream);
        assert_memory_equal(&pieces, &whole, sizeof whole);
        pk_digest_stream_close(&stream);
    }
}

/* 1, -2, NaN, 3, Inf, -Inf, NaN with its sign, the largest finite value. */
static const float values[] = {1, -2, NAN, 3, INFINITY, -INFINITY, -NAN, 3.38e38f};
static const uint16_t bf16[] = {0x3f80, 0xc000, 0x7fc0, 0x4040, 0x7f80, 0xff80, 0xffc1, 0x7f7f};
static const uint16_t f16[] = {0x3c00, 0xc000, 0x7e00, 0x4200, 0x7c00, 0xfc00, 0xfe01, 0x7bff};

static void nan_and_inf_are_counted_in_each_type_at_any_cut(void **state)
{
    (void)state;
    const struct {
        pk_dtype dtype;
        const void *data;
        size_t bytes;
    } cases[] = {{PK_F32, values, sizeof values}, {PK_BF16, bf16, sizeof bf16}, {PK_F16, f16, sizeof f16}};
    for (size_t i = 0; i < 3; i++)
        for (size_t first = 0; first <= cases[i].bytes; first++)
            for (size_t second = first; second <= cases[i].bytes; second++) {
                const char *data = cases[i].data;
                pk_finite finite = {.dtype = cases[i].dtype};
                pk_finite_feed(&finite, data, first);
                pk_finite_feed(&finite, data + first, second - first);
                pk_finite_feed(&finite, data + second, cases[i].bytes - second);
                assert_int_equal(finite.nan_count, 2);
                assert_int_equal(finite.inf_count, 2);
                assert_int_equal(finite.first, 2);
                assert_int_equal(finite.seen, 8);
            }
    pk_finite other = {.dtype = PK_I32};
    pk_finite_feed(&other, values, sizeof values);
    assert_int_equal(other.seen + other.nan_count, 0);
}

static pk_verify_report verify(pk_survey **survey)
{
    pk_verify_report report;
    assert_ok(pk_survey_open(survey, scratch_path("")));
    assert_ok(pk_verify(*survey, (pk_verify_options){0}, &report));
    return report;
}

static void a_whole_checkpoint_is_read_to_its_last_value(void **state)
{
    (void)state;
    pk_survey *survey;
    size_t bytes;
    copy_nano();
    pk_verify_report report = verify(&survey);
    assert_int_equal(survey->fault_count, 0);
    assert_int_equal(report.file_count, 2);
    assert_int_equal(report.tensors, survey->tensor_count);
    assert_int_equal(report.values, survey->sum.parameters);
    char *data = scratch_read(scratch_path("model.safetensors"), &bytes);
    pk_digest digest = pk_digest_of(data, bytes);
    assert_string_equal(report.files[1].name, "model.safetensors");
    assert_int_equal(report.files[1].bytes, bytes);
    assert_memory_equal(&report.files[1].digest, &digest, sizeof digest);
    free(data);
    pk_verify_fini(&report);
    pk_survey_close(&survey);
}

static void a_value_that_is_not_finite_is_named_by_tensor_and_index(void **state)
{
    (void)state;
    pk_survey *survey;
    copy_nano();
    assert_ok(pk_survey_open(&survey, scratch_path("")));
    const pk_tensor_entry *tensor = pk_survey_find(survey, "model.layers.3.self_attn.qkv_proj.weight")->entry;
    uint64_t offset = tensor->offset + 2 * (5 * tensor->shape[1] + 7);
    pk_survey_close(&survey);
    size_t bytes;
    char *data = scratch_read(scratch_path("model.safetensors"), &bytes);
    memcpy(data + offset, &bf16[5], 2);
    memcpy(data + offset + 20, &bf16[2], 2);
    scratch_write("model.safetensors", data, bytes);
    free(data);
    pk_verify_report report = verify(&survey);
    assert_int_equal(survey->fault_count, 1);
    assert_int_equal(survey->faults[0].kind, PK_SURVEY_FAULT_VALUE);
    assert_string_equal(survey->faults[0].what,
                        "tensor model.layers.3.self_attn.qkv_proj.weight holds 1 NaN and 1 Inf, the first at [5, 7]");
    pk_verify_fini(&report);
    pk_survey_close(&survey);
}

/* Compares with these sums; returns the first fault, which the next call makes invalid. */
static const char *first_fault(const char *sums)
{
    static char said[512];
    pk_survey *survey;
    pk_verify_report report = verify(&survey);
    scratch_write("sums", sums, strlen(sums));
    assert_ok(pk_verify_compare(survey, &report, scratch_path("sums")));
    snprintf(said, sizeof said, "%s", survey->fault_count ? survey->faults[0].what : "");
    pk_verify_fini(&report);
    pk_survey_close(&survey);
    return said;
}

static void sums_tell_what_changed_is_lacking_or_was_never_there(void **state)
{
    (void)state;
    pk_survey *survey;
    char *sums, *second;
    copy_nano();
    pk_verify_report report = verify(&survey);
    assert_ok(pk_verify_sums_text(&report, &sums));
    pk_verify_fini(&report);
    pk_survey_close(&survey);
    assert_string_equal(first_fault(sums), "");
    second = strchr(sums, '\n') + 1;
    assert_string_equal(first_fault(second), "config.json is not in the sums");
    second[0] = second[0] == '0' ? '1' : '0';
    assert_non_null(strstr(first_fault(sums), "model.safetensors has the digest "));
    char more[512];
    snprintf(more, sizeof more, "%.32s  gone.safetensors\n", sums);
    assert_string_equal(first_fault(more), "gone.safetensors is in the sums and was not read");
    assert_non_null(strstr(first_fault("what is this\n"), "the sums have a line \"what is this\", expected 32"));
    free(sums);
}

static void a_file_that_is_not_there_is_a_fault(void **state)
{
    (void)state;
    pk_survey *survey;
    size_t bytes;
    copy_nano();
    char *index = scratch_read(PK_GOLDEN "/duo/model.safetensors.index.json", &bytes);
    scratch_write("model.safetensors.index.json", index, bytes);
    free(index);
    assert_int_equal(unlink(scratch_path("model.safetensors")), 0);
    pk_verify_report report = verify(&survey);
    bool told = false;
    for (size_t i = 0; i < survey->fault_count; i++)
        told = told || (survey->faults[i].kind == PK_SURVEY_FAULT_ABSENT &&
                        strstr(survey->faults[i].what, "model-00000-of-00003.safetensors: is not there"));
    assert_true(told);
    pk_verify_fini(&report);
    pk_survey_close(&survey);
}

#define IN_SCRATCH(test) cmocka_unit_test_setup_teardown(test, open_scratch, close_scratch)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_SCRATCH(a_stream_gives_the_files_bytes_whatever_its_length),
        IN_SCRATCH(a_stream_may_be_closed_at_any_time),
        cmocka_unit_test(a_digest_of_pieces_is_that_of_the_whole),
        cmocka_unit_test(nan_and_inf_are_counted_in_each_type_at_any_cut),
        IN_SCRATCH(a_whole_checkpoint_is_read_to_its_last_value),
        IN_SCRATCH(a_value_that_is_not_finite_is_named_by_tensor_and_index),
        IN_SCRATCH(sums_tell_what_changed_is_lacking_or_was_never_there),
        IN_SCRATCH(a_file_that_is_not_there_is_a_fault),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
