#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "loader/safetensors_writer.h"
#include "scratch.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static const pk_tensor_spec specs[] = {
    {.name = "odd \"name\\", .dtype = PK_U8, .rank = 1, .shape = {3}},
    {.name = "m", .dtype = PK_F32, .rank = 2, .shape = {2, 2}},
    {.name = "empty", .dtype = PK_F32, .rank = 2, .shape = {0, 9}},
    {.name = "scalar", .dtype = PK_I32, .rank = 0},
};
static const char bytes_of_all[] = "abcMMMMMMMMMMMMMMMMssss";

static void check_written(const char *path)
{
    pk_safetensors *file;
    size_t bytes;
    assert_ok(pk_safetensors_open(&file, path));
    assert_int_equal(pk_safetensors_count(file), 4);
    assert_int_equal(pk_safetensors_data_offset(file) % 8, 0);
    const pk_tensor_entry *odd = pk_safetensors_find(file, "odd \"name\\"), *m = pk_safetensors_find(file, "m");
    assert_non_null(odd);
    assert_int_equal(m->dtype, PK_F32);
    assert_int_equal(m->shape[1], 2);
    assert_int_equal(pk_safetensors_find(file, "scalar")->rank, 0);
    char *data = scratch_read(path, &bytes);
    assert_memory_equal(data + odd->offset, bytes_of_all, 23);
    assert_int_equal(bytes, odd->offset + 23);
    free(data);
    pk_safetensors_close(&file);
}

static void what_is_written_in_order_reads_back(void **state)
{
    (void)state;
    pk_safetensors_writer *writer;
    scratch_open();
    assert_ok(pk_safetensors_writer_open(&writer, scratch_path("w"), specs, 4));
    assert_ok(pk_safetensors_writer_write(writer, bytes_of_all, 10));
    assert_int_equal(access(scratch_path("w"), F_OK), -1); /* no name before it is complete */
    assert_ok(pk_safetensors_writer_write(writer, bytes_of_all + 10, 13));
    assert_ok(pk_safetensors_writer_finish(&writer));
    assert_null(writer);
    check_written(scratch_path("w"));
    assert_int_equal(access(scratch_path("w.partial"), F_OK), -1);
    scratch_close();
}

static void what_is_put_out_of_order_reads_back(void **state)
{
    (void)state;
    pk_safetensors_writer *writer;
    scratch_open();
    assert_ok(pk_safetensors_writer_open(&writer, scratch_path("w"), specs, 4));
    assert_ok(pk_safetensors_writer_put(writer, 3, 0, "ssss", 4));
    assert_ok(pk_safetensors_writer_put(writer, 1, 8, "MMMMMMMM", 8));
    assert_ok(pk_safetensors_writer_put(writer, 0, 0, "abc", 3));
    assert_ok(pk_safetensors_writer_put(writer, 1, 0, "MMMMMMMM", 8));
    assert_refused(pk_safetensors_writer_put(writer, 1, 12, "MMMMM", 5), PK_INVALID, "bytes 12 + 5 of tensor 1");
    assert_refused(pk_safetensors_writer_put(writer, 2, 0, "M", 1), PK_INVALID, "of tensor 2, which has 0");
    assert_ok(pk_safetensors_writer_finish(&writer));
    check_written(scratch_path("w"));
    scratch_close();
}

static void an_incomplete_file_leaves_nothing(void **state)
{
    (void)state;
    pk_safetensors_writer *writer;
    scratch_open();
    assert_ok(pk_safetensors_writer_open(&writer, scratch_path("w"), specs, 4));
    assert_ok(pk_safetensors_writer_write(writer, bytes_of_all, 22));
    assert_refused(pk_safetensors_writer_finish(&writer), PK_INVALID,
                   "22 bytes of data were written, the header promises 23");
    assert_null(writer);
    assert_int_equal(access(scratch_path("w"), F_OK), -1);
    assert_int_equal(access(scratch_path("w.partial"), F_OK), -1);
    assert_ok(pk_safetensors_writer_open(&writer, scratch_path("w"), specs, 4));
    assert_refused(pk_safetensors_writer_write(writer, bytes_of_all, 24), PK_INVALID, "1 bytes too many");
    pk_safetensors_writer_close(&writer);
    assert_int_equal(access(scratch_path("w.partial"), F_OK), -1);
    scratch_close();
}

static void specs_that_cannot_be_written_are_refused(void **state)
{
    (void)state;
    static const struct {
        pk_tensor_spec specs[2];
        const char *words;
    } bad[] = {
        {{{.name = "a", .dtype = PK_F32}, {.name = "a", .dtype = PK_F32}}, "two tensors are named a"},
        {{{.name = "a", .dtype = PK_F32}, {.name = "", .dtype = PK_F32}}, "a tensor's name has 0 bytes"},
        {{{.name = "a", .dtype = PK_F32}, {.name = "__metadata__", .dtype = PK_F32}}, "is reserved"},
        {{{.name = "a", .dtype = PK_F32}, {.name = "b\n", .dtype = PK_F32}}, "control character at byte 1"},
        {{{.name = "a", .dtype = PK_F32}, {.name = "b", .dtype = 99}}, "tensor b: 99 is not a dtype"},
        {{{.name = "a", .dtype = PK_F32}, {.name = "b", .dtype = PK_F32, .rank = 9}}, "tensor b: rank 9"},
        {{{.name = "a", .dtype = PK_F32}, {.name = "b", .dtype = PK_F32, .rank = 2, .shape = {1u << 31, 1u << 31}}},
         "tensor b: shape exceeds 2^62 bytes"},
    };
    scratch_open();
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        pk_safetensors_writer *writer;
        assert_refused(pk_safetensors_writer_open(&writer, scratch_path("w"), bad[i].specs, 2), PK_INVALID,
                       bad[i].words);
        assert_null(writer);
        assert_int_equal(access(scratch_path("w.partial"), F_OK), -1);
    }
    scratch_close();
}

/* Larger than the writer's buffer, in steps that do not divide it. */
static void a_large_file_reads_back(void **state)
{
    (void)state;
    enum { WORDS = 3 << 20, STEP = 100003 };
    static const pk_tensor_spec large = {.name = "w", .dtype = PK_I32, .rank = 1, .shape = {WORDS}};
    pk_safetensors_writer *writer;
    pk_safetensors *file;
    size_t bytes;
    uint32_t *words = malloc(WORDS * sizeof *words);
    for (uint32_t i = 0; i < WORDS; i++)
        words[i] = i * 2654435761u;
    scratch_open();
    assert_ok(pk_safetensors_writer_open(&writer, scratch_path("w"), &large, 1));
    for (size_t done = 0; done < WORDS * sizeof *words; done += STEP) {
        size_t rest = WORDS * sizeof *words - done;
        assert_ok(pk_safetensors_writer_write(writer, (char *)words + done, rest < STEP ? rest : STEP));
    }
    assert_ok(pk_safetensors_writer_finish(&writer));
    assert_ok(pk_safetensors_open(&file, scratch_path("w")));
    char *data = scratch_read(scratch_path("w"), &bytes);
    assert_memory_equal(data + pk_safetensors_data_offset(file), words, WORDS * sizeof *words);
    pk_safetensors_close(&file);
    free(data);
    free(words);
    scratch_close();
}

static void a_file_that_cannot_be_created_is_an_error_with_its_path(void **state)
{
    (void)state;
    pk_safetensors_writer *writer;
    scratch_open();
    assert_int_equal(symlink("elsewhere", scratch_path("w.partial")), 0); /* never written through */
    assert_refused(pk_safetensors_writer_open(&writer, scratch_path("w"), specs, 4), PK_IO, "create");
    assert_refused(pk_safetensors_writer_open(&writer, scratch_path("no/such/w"), specs, 4), PK_IO, "No such file");
    scratch_close();
}

static void a_write_that_fails_is_an_error_and_leaves_nothing(void **state)
{
    (void)state;
    static const pk_tensor_spec large = {.name = "w", .dtype = PK_U8, .rank = 1, .shape = {8 << 20}};
    struct rlimit before, low;
    pk_safetensors_writer *writer;
    char *zeros = calloc(1, 8 << 20);
    scratch_open();
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    low = (struct rlimit){65536, before.rlim_max};
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &low), 0);
    assert_ok(pk_safetensors_writer_open(&writer, scratch_path("w"), &large, 1));
    pk_err err = pk_safetensors_writer_write(writer, zeros, 8 << 20);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_refused(err, PK_IO, "File too large");
    assert_refused(pk_safetensors_writer_finish(&writer), PK_IO, "an earlier write failed");
    assert_int_equal(access(scratch_path("w"), F_OK), -1);
    assert_int_equal(access(scratch_path("w.partial"), F_OK), -1);
    free(zeros);
    scratch_close();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_in_order_reads_back),
        cmocka_unit_test(what_is_put_out_of_order_reads_back),
        cmocka_unit_test(an_incomplete_file_leaves_nothing),
        cmocka_unit_test(specs_that_cannot_be_written_are_refused),
        cmocka_unit_test(a_large_file_reads_back),
        cmocka_unit_test(a_file_that_cannot_be_created_is_an_error_with_its_path),
        cmocka_unit_test(a_write_that_fails_is_an_error_and_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
