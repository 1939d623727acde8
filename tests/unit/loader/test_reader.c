#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "loader/checkpoint.h"
#include "loader/reader.h"
#include "loader/safetensors_writer.h"
#include "scratch.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* One tensor's destination: the bytes as they should be, and how often each row came. */
struct target {
    const pk_tensor_entry *entry;
    uint8_t *bytes;
    uint8_t *seen; /* [rows] */
};

static pk_err collect(void *user, const pk_tensor_entry *tensor, uint64_t first_row, uint64_t row_count,
                      const void *rows)
{
    struct target *target = user;
    uint64_t row_bytes = pk_tensor_row_bytes(tensor);
    size_t element = pk_dtype_bytes(tensor->dtype);
    assert_ptr_equal(tensor, target->entry);
    assert_in_range(first_row + row_count, 1, pk_tensor_rows(tensor));
    assert_int_equal((uintptr_t)rows % (element ? element : 1), 0);
    memcpy(target->bytes + first_row * row_bytes, rows, (size_t)(row_count * row_bytes));
    for (uint64_t row = first_row; row < first_row + row_count; row++)
        target->seen[row]++;
    return PK_OK;
}

/* The oracle: the file's bytes by stdio. */
static void assert_target_is_the_file(const struct target *target)
{
    const pk_tensor_entry *entry = target->entry;
    uint8_t *expected = malloc((size_t)entry->bytes + 1);
    FILE *file = fopen(pk_safetensors_path(entry->file), "r");
    assert_non_null(file);
    assert_int_equal(fseek(file, (long)entry->offset, SEEK_SET), 0);
    assert_int_equal(fread(expected, 1, (size_t)entry->bytes, file), entry->bytes);
    fclose(file);
    assert_memory_equal(target->bytes, expected, (size_t)entry->bytes);
    for (uint64_t row = 0; entry->bytes && row < pk_tensor_rows(entry); row++)
        assert_int_equal(target->seen[row], 1);
    free(expected);
}

struct progress {
    uint64_t done, total;
};

static void note_progress(void *context, uint64_t done, uint64_t total)
{
    struct progress *progress = context;
    assert_true(done > progress->done && done <= total);
    *progress = (struct progress){done, total};
}

/* Reads all these tensors, last one first, and compares. */
static pk_reader_counters read_and_compare(const pk_tensor_entry *const *entries, size_t count,
                                           pk_reader_options options)
{
    struct target *targets = calloc(count + 1, sizeof *targets);
    pk_read_request *requests = calloc(count + 1, sizeof *requests);
    struct progress progress = {0};
    pk_reader *reader;
    uint64_t total = 0;
    for (size_t i = 0; i < count; i++) {
        targets[i].entry = entries[i];
        targets[i].bytes = calloc(1, (size_t)entries[i]->bytes + 1);
        targets[i].seen = calloc(1, (size_t)pk_tensor_rows(entries[i]) + 1);
        requests[count - 1 - i] = (pk_read_request){entries[i], &targets[i]};
        total += entries[i]->bytes;
    }
    options.progress = note_progress;
    options.progress_context = &progress;
    assert_ok(pk_reader_open(&reader, options));
    assert_ok(pk_reader_read(reader, requests, count, collect));
    pk_reader_counters counters = pk_reader_count(reader);
    assert_int_equal(counters.tensors, count);
    assert_int_equal(counters.bytes, total);
    assert_int_equal(progress.done, total);
    for (size_t i = 0; i < count; i++) {
        assert_target_is_the_file(&targets[i]);
        free(targets[i].bytes);
        free(targets[i].seen);
    }
    if (pk_reader_note(reader))
        print_message("note: %s\n", pk_reader_note(reader));
    pk_reader_close(&reader);
    free(requests);
    free(targets);
    return counters;
}

static pk_reader_counters read_directory(const char *dir, pk_reader_options options)
{
    pk_checkpoint *checkpoint;
    assert_ok(pk_checkpoint_open(&checkpoint, dir));
    size_t count = pk_checkpoint_count(checkpoint);
    const pk_tensor_entry **entries = calloc(count, sizeof *entries);
    for (size_t i = 0; i < count; i++)
        entries[i] = pk_checkpoint_at(checkpoint, i);
    pk_reader_counters counters = read_and_compare(entries, count, options);
    free(entries);
    pk_checkpoint_close(&checkpoint);
    return counters;
}

/* Both engines against stdio, in pieces from one page to the default, shallow and deep. */
static void both_engines_give_the_files_bytes(void **state)
{
    (void)state;
    static const char *const dirs[] = {PK_GOLDEN "/nano", PK_GOLDEN "/duo", PK_GOLDEN "/shared"};
    static const size_t pieces[] = {4096, 4097, 12345, 65536, 0};
    static const unsigned depths[] = {1, 3, 0};
    for (size_t d = 0; d < 3; d++)
        for (size_t p = 0; p < sizeof pieces / sizeof *pieces; p++) {
            read_directory(dirs[d], (pk_reader_options){.kind = PK_READER_PREAD, .piece_bytes = pieces[p]});
            for (size_t q = 0; q < 3; q++)
                read_directory(dirs[d], (pk_reader_options){.piece_bytes = pieces[p], .depth = depths[q]});
        }
}

static void io_uring_is_used_where_it_is_allowed(void **state)
{
    (void)state;
    pk_reader_counters counters = read_directory(PK_GOLDEN "/nano", (pk_reader_options){0});
    if (!counters.uring)
        skip();
    counters = read_directory(PK_GOLDEN "/nano", (pk_reader_options){.kind = PK_READER_URING, .piece_bytes = 8192});
    assert_true(counters.uring);
    assert_in_range(counters.reads, 831632 / 8192, 400);
}

/* Neighbours are read together: the many small tensors of duo take few reads. */
static void small_neighbours_share_a_read(void **state)
{
    (void)state;
    pk_reader_counters counters = read_directory(PK_GOLDEN "/duo", (pk_reader_options){.kind = PK_READER_PREAD});
    assert_int_equal(counters.reads, 3);
    assert_true(counters.file_bytes < 3649280 + 3 * 8192 + 200000);
}

/* Dtypes, ranks and offsets that no golden model has: odd offsets, rank 0, 1 and 3, empty tensors, rows longer than a
 * piece. */
static void odd_layouts_are_read(void **state)
{
    (void)state;
    static const pk_tensor_spec specs[] = {
        {.name = "byte", .dtype = PK_U8, .rank = 1, .shape = {1}},
        {.name = "f32", .dtype = PK_F32, .rank = 2, .shape = {1000, 3}},
        {.name = "three", .dtype = PK_U8, .rank = 3, .shape = {3, 5, 7}},
        {.name = "bf16", .dtype = PK_BF16, .rank = 2, .shape = {2, 30001}},
        {.name = "none", .dtype = PK_F32, .rank = 2, .shape = {4, 0}},
        {.name = "scalar", .dtype = PK_F16, .rank = 0},
        {.name = "vector", .dtype = PK_I32, .rank = 1, .shape = {20000}},
        {.name = "cube", .dtype = PK_F32, .rank = 3, .shape = {2, 3, 4}},
    };
    enum { COUNT = sizeof specs / sizeof *specs };
    pk_safetensors_writer *writer;
    pk_safetensors *file;
    uint64_t total = 0, bytes;
    scratch_open();
    for (size_t i = 0; i < COUNT; i++, total += bytes)
        assert_ok(pk_tensor_spec_bytes(&bytes, &specs[i]));
    uint8_t *data = malloc((size_t)total);
    for (size_t i = 0; i < total; i++)
        data[i] = (uint8_t)(i * 2654435761u >> 13);
    assert_ok(pk_safetensors_writer_open(&writer, scratch_path("odd"), specs, COUNT));
    assert_ok(pk_safetensors_writer_write(writer, data, (size_t)total));
    assert_ok(pk_safetensors_writer_finish(&writer));
    free(data);
    assert_ok(pk_safetensors_open(&file, scratch_path("odd")));
    const pk_tensor_entry *entries[COUNT];
    for (size_t i = 0; i < COUNT; i++)
        entries[i] = pk_safetensors_at(file, i);
    for (size_t piece = 4096; piece <= 1 << 20; piece *= 4) {
        read_and_compare(entries, COUNT, (pk_reader_options){.kind = PK_READER_PREAD, .piece_bytes = piece});
        read_and_compare(entries, COUNT, (pk_reader_options){.depth = 4, .piece_bytes = piece});
    }
    pk_safetensors_close(&file);
    scratch_close();
}

static pk_err count_rows(void *user, const pk_tensor_entry *tensor, uint64_t first_row, uint64_t row_count,
                         const void *rows)
{
    (void)first_row, (void)rows;
    *(uint64_t *)user += row_count * pk_tensor_row_bytes(tensor);
    return PK_OK;
}

static const pk_reader_kind kinds[] = {PK_READER_PREAD, PK_READER_AUTO};

static void one_tensor_may_be_asked_for_twice(void **state)
{
    (void)state;
    pk_checkpoint *checkpoint;
    assert_ok(pk_checkpoint_open(&checkpoint, PK_GOLDEN "/shared"));
    const pk_tensor_entry *entry = pk_checkpoint_find(checkpoint, "model.embed_tokens.weight");
    for (size_t k = 0; k < 2; k++) {
        pk_reader *reader;
        uint64_t a = 0, b = 0;
        assert_ok(pk_reader_open(&reader, (pk_reader_options){.kind = kinds[k], .piece_bytes = 4096}));
        assert_ok(pk_reader_read(reader, (pk_read_request[]){{entry, &a}, {entry, &b}}, 2, count_rows));
        assert_int_equal(a, entry->bytes);
        assert_int_equal(b, entry->bytes);
        assert_ok(pk_reader_read(reader, NULL, 0, count_rows));
        assert_int_equal(pk_reader_count(reader).tensors, 2);
        pk_reader_close(&reader);
    }
    pk_checkpoint_close(&checkpoint);
}

static pk_err refuse_rows(void *user, const pk_tensor_entry *tensor, uint64_t first_row, uint64_t row_count,
                          const void *rows)
{
    (void)tensor, (void)first_row, (void)row_count, (void)rows;
    return --*(int *)user ? PK_OK : pk_fail(PK_NOMEM, "no place for these rows");
}

static void the_callbacks_error_ends_the_reading(void **state)
{
    (void)state;
    pk_checkpoint *checkpoint;
    assert_ok(pk_checkpoint_open(&checkpoint, PK_GOLDEN "/shared"));
    const pk_tensor_entry *entry = pk_checkpoint_find(checkpoint, "model.embed_tokens.weight");
    for (size_t k = 0; k < 2; k++) {
        pk_reader *reader;
        int calls = 3;
        assert_ok(pk_reader_open(&reader, (pk_reader_options){.kind = kinds[k], .piece_bytes = 4096}));
        assert_refused(pk_reader_read(reader, &(pk_read_request){entry, &calls}, 1, refuse_rows), PK_NOMEM,
                       "no place for these rows");
        assert_int_equal(calls, 0);
        assert_int_equal(pk_reader_count(reader).tensors, 0);
        pk_reader_close(&reader);
    }
    pk_checkpoint_close(&checkpoint);
}

/* The entry's file is changed behind the reader's back in each of these ways. */
static void append_a_byte(void)
{
    scratch_append("model.safetensors", "x", 1);
}

static void cut_it(void)
{
    assert_int_equal(truncate(scratch_path("model.safetensors"), 100000), 0);
}

static void write_it_again(void)
{
    size_t bytes;
    char *data = scratch_read(scratch_path("model.safetensors"), &bytes);
    scratch_write("model.safetensors", data, bytes); /* same size and bytes, another mtime */
    free(data);
}

static void remove_it(void)
{
    assert_int_equal(unlink(scratch_path("model.safetensors")), 0);
}

static void a_file_that_changed_after_its_header_was_read_is_refused(void **state)
{
    (void)state;
    static const struct {
        void (*change)(void);
        pk_err err;
        const char *words;
    } changes[] = {
        {append_a_byte, PK_CORRUPT, "has changed since its header was read (831632 bytes then, 831633 now)"},
        {cut_it, PK_CORRUPT, "has changed since its header was read"},
        {write_it_again, PK_CORRUPT, "has changed since its header was read"},
        {remove_it, PK_IO, "No such file"},
    };
    for (size_t i = 0; i < 8; i++) {
        pk_safetensors *file;
        pk_reader *reader;
        size_t bytes;
        uint64_t rows = 0;
        scratch_open();
        char *data = scratch_read(PK_GOLDEN "/nano/model.safetensors", &bytes);
        scratch_write("model.safetensors", data, bytes);
        free(data);
        assert_ok(pk_safetensors_open(&file, scratch_path("model.safetensors")));
        usleep(20000); /* mtime has the resolution of the kernel's tick */
        changes[i / 2].change();
        assert_ok(pk_reader_open(&reader, (pk_reader_options){.kind = kinds[i % 2]}));
        assert_refused(pk_reader_read(reader, &(pk_read_request){pk_safetensors_at(file, 0), &rows}, 1, count_rows),
                       changes[i / 2].err, changes[i / 2].words);
        assert_int_equal(rows, 0);
        pk_reader_close(&reader);
        pk_safetensors_close(&file);
        scratch_close();
    }
}

static pk_err cut_while_reading(void *user, const pk_tensor_entry *tensor, uint64_t first_row, uint64_t row_count,
                                const void *rows)
{
    (void)tensor, (void)first_row, (void)row_count, (void)rows;
    if (++*(int *)user == 1) {
        usleep(20000);
        cut_it();
    }
    return PK_OK;
}

static void a_file_cut_while_it_is_read_is_refused(void **state)
{
    (void)state;
    for (size_t k = 0; k < 2; k++) {
        pk_safetensors *file;
        pk_reader *reader;
        size_t bytes;
        scratch_open();
        char *data = scratch_read(PK_GOLDEN "/nano/model.safetensors", &bytes);
        scratch_write("model.safetensors", data, bytes);
        free(data);
        assert_ok(pk_safetensors_open(&file, scratch_path("model.safetensors")));
        int calls = 0;
        size_t count = pk_safetensors_count(file);
        pk_read_request *requests = calloc(count, sizeof *requests);
        for (size_t i = 0; i < count; i++)
            requests[i] = (pk_read_request){pk_safetensors_at(file, i), &calls};
        assert_ok(pk_reader_open(&reader, (pk_reader_options){.kind = kinds[k], .piece_bytes = 4096, .depth = 2}));
        pk_err err = pk_reader_read(reader, requests, count, cut_while_reading);
        assert_refused(err, PK_CORRUPT, "model.safetensors: ");
        pk_reader_close(&reader);
        pk_safetensors_close(&file);
        free(requests);
        scratch_close();
    }
}

static void options_out_of_range_are_refused(void **state)
{
    (void)state;
    pk_reader *reader;
    assert_refused(pk_reader_open(&reader, (pk_reader_options){.depth = 257}), PK_INVALID, "depth is 257");
    assert_refused(pk_reader_open(&reader, (pk_reader_options){.piece_bytes = 4095}), PK_INVALID, "4095 bytes");
    assert_refused(pk_reader_open(&reader, (pk_reader_options){.kind = 7}), PK_INVALID, "7 is not a kind of reader");
    assert_null(reader);
}

/* From here on this process gets `cause` for system call `number`, when argument `which` has all bits of `bits`. For
 * ever, so these tests come last. Skips where filters are not allowed. */
static void refuse_calls(int number, unsigned which, uint32_t bits, int cause)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)number, 0, 4),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)(offsetof(struct seccomp_data, args) + 8 * which)),
        BPF_STMT(BPF_ALU | BPF_AND | BPF_K, bits),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, bits, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (uint32_t)cause),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof code / sizeof *code, code};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
        skip();
}

/* Reads one tensor of nano and returns what the reader notes about it; the caller frees it. */
static char *note_of(pk_reader_kind reader_kind, pk_reader_counters *counters)
{
    pk_checkpoint *checkpoint;
    pk_reader *reader;
    uint64_t bytes = 0;
    assert_ok(pk_checkpoint_open(&checkpoint, PK_GOLDEN "/nano"));
    pk_read_request request = {pk_checkpoint_at(checkpoint, 0), &bytes};
    assert_ok(pk_reader_open(&reader, (pk_reader_options){.kind = reader_kind}));
    assert_ok(pk_reader_read(reader, &request, 1, count_rows));
    assert_ok(pk_reader_read(reader, &request, 1, count_rows)); /* the second time knows */
    assert_int_equal(bytes, 2 * request.tensor->bytes);
    *counters = pk_reader_count(reader);
    assert_non_null(pk_reader_note(reader));
    char *note = strdup(pk_reader_note(reader));
    pk_reader_close(&reader);
    pk_checkpoint_close(&checkpoint);
    return note;
}

static void without_o_direct_files_are_read_through_the_page_cache(void **state)
{
    (void)state;
    pk_reader_counters counters;
    refuse_calls(SYS_openat, 2, O_DIRECT, EINVAL);
    for (size_t k = 0; k < 2; k++) {
        char *note = note_of(kinds[k], &counters);
        assert_non_null(strstr(note, "O_DIRECT is refused for "));
        free(note);
        read_directory(PK_GOLDEN "/duo", (pk_reader_options){.kind = kinds[k], .piece_bytes = 65536});
    }
}

static void without_io_uring_files_are_read_with_pread(void **state)
{
    (void)state;
    pk_reader *reader;
    pk_reader_counters counters;
    pk_checkpoint *checkpoint;
    refuse_calls(SYS_io_uring_setup, 0, 0, EPERM);
    char *note = note_of(PK_READER_AUTO, &counters);
    assert_string_equal(note, "io_uring is refused here (io_uring_setup: Operation not permitted); reading with pread");
    assert_false(counters.uring);
    free(note);
    read_directory(PK_GOLDEN "/duo", (pk_reader_options){.piece_bytes = 65536});
    assert_ok(pk_reader_open(&reader, (pk_reader_options){.kind = PK_READER_URING}));
    assert_ok(pk_checkpoint_open(&checkpoint, PK_GOLDEN "/nano"));
    uint64_t bytes = 0;
    assert_refused(pk_reader_read(reader, &(pk_read_request){pk_checkpoint_at(checkpoint, 0), &bytes}, 1, count_rows),
                   PK_IO, "io_uring is refused here: io_uring_setup: Operation not permitted");
    assert_int_equal(bytes, 0);
    pk_checkpoint_close(&checkpoint);
    pk_reader_close(&reader);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_engines_give_the_files_bytes),
        cmocka_unit_test(io_uring_is_used_where_it_is_allowed),
        cmocka_unit_test(small_neighbours_share_a_read),
        cmocka_unit_test(odd_layouts_are_read),
        cmocka_unit_test(one_tensor_may_be_asked_for_twice),
        cmocka_unit_test(the_callbacks_error_ends_the_reading),
        cmocka_unit_test(a_file_that_changed_after_its_header_was_read_is_refused),
        cmocka_unit_test(a_file_cut_while_it_is_read_is_refused),
        cmocka_unit_test(options_out_of_range_are_refused),
        cmocka_unit_test(without_o_direct_files_are_read_through_the_page_cache),
        cmocka_unit_test(without_io_uring_files_are_read_with_pread),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
