/* Thousands of damaged safetensors files, each opened and, where it is accepted, read: what is refused is refused by
 * name, and what is accepted has a layout without holes and overlaps and gives exactly the file's bytes. The mutants
 * are all cuts, all flips of a bit of the header, all that a table of wrong entries says, and random splices from a
 * seed (PK_SEED; printed). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "loader/reader.h"
#include "loader/safetensors.h"
#include "scratch.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum {
    TENSORS = 6,
    DATA_BYTES = 24 + 32 + 10 + 3 + 8,
    FILE_BYTES_MAX = 8192,
    SPLICES = 3000,
    GROWTH_KIB_MAX = 64 << 10, /* resident, over all mutants, with what a sanitizer needs */
};

static const char name[] = "model.safetensors";

struct tensor {
    const char *name, *dtype, *shape;
    int64_t begin, end;
};

static const struct tensor good[TENSORS] = {
    {"embed", "F32", "[2,3]", 0, 24}, {"empty", "F32", "[0,7]", 24, 24}, {"gate", "BF16", "[4,4]", 24, 56},
    {"norm", "F16", "[5]", 56, 66},   {"bytes", "U8", "[3]", 66, 69},    {"count", "I64", "[]", 69, 77},
};

struct file {
    uint8_t bytes[FILE_BYTES_MAX];
    size_t size, header_bytes;
};

static unsigned accepted, refused;

/* Freed memory is kept for a while by the address sanitizer; so much of it is no growth of ours. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "quarantine_size_mb=8";
}

static struct file render(const struct tensor *tensors, size_t count)
{
    struct file file = {0};
    char *text = (char *)file.bytes + 8;
    size_t room = sizeof file.bytes - 8 - DATA_BYTES, used = 0;
    used += (size_t)snprintf(text, room, "{\"__metadata__\":{\"format\":\"pt\"}");
    for (size_t i = 0; i < count; i++)
        used += (size_t)snprintf(text + used, room - used,
                                 ",\"%s\":{\"dtype\":\"%s\",\"shape\":%s,\"data_offsets\":[%" PRId64 ",%" PRId64 "]}",
                                 tensors[i].name, tensors[i].dtype, tensors[i].shape, tensors[i].begin, tensors[i].end);
    used += (size_t)snprintf(text + used, room - used, "}  ");
    assert_true(used < room);
    for (unsigned i = 0; i < 8; i++)
        file.bytes[i] = (uint8_t)((uint64_t)used >> 8 * i);
    file.header_bytes = 8 + used;
    file.size = file.header_bytes + DATA_BYTES;
    for (size_t i = 0; i < DATA_BYTES; i++)
        file.bytes[file.header_bytes + i] = (uint8_t)(i * 37 + 1);
    return file;
}

static pk_err copy_rows(void *user, const pk_tensor_entry *tensor, uint64_t first_row, uint64_t row_count,
                        const void *rows)
{
    uint64_t row_bytes = pk_tensor_row_bytes(tensor);
    memcpy((uint8_t *)user + first_row * row_bytes, rows, (size_t)(row_count * row_bytes));
    return PK_OK;
}

static void assert_reads_as(const pk_tensor_entry *entry, const uint8_t *expected)
{
    pk_reader *reader;
    uint8_t *read = calloc(1, (size_t)entry->bytes + 1);
    assert_ok(pk_reader_open(&reader, (pk_reader_options){.kind = PK_READER_PREAD, .piece_bytes = 4096}));
    assert_ok(pk_reader_read(reader, &(pk_read_request){entry, read}, 1, copy_rows));
    assert_memory_equal(read, expected, (size_t)entry->bytes);
    pk_reader_close(&reader);
    free(read);
}

/* The tensors of an accepted file are its data, all of it, each byte once. */
static void assert_covers(const pk_safetensors *table, const struct file *file)
{
    uint64_t end = pk_safetensors_data_offset(table);
    for (size_t i = 0; i < pk_safetensors_count(table); i++) {
        const pk_tensor_entry *entry = pk_safetensors_at(table, i);
        assert_int_equal(entry->offset, end);
        end += entry->bytes;
        assert_true(end <= file->size);
        assert_reads_as(entry, file->bytes + entry->offset);
    }
    assert_int_equal(end, file->size);
}

/* Opens the mutant. Refused: the message names the file; *table is NULL. */
static pk_err open_mutant(const struct file *file, pk_safetensors **table)
{
    scratch_write(name, file->bytes, file->size);
    pk_err err = pk_safetensors_open(table, scratch_path(name));
    if (err) {
        refused++;
        assert_null(*table);
        assert_refused(err, PK_CORRUPT, scratch_path(name));
    } else {
        accepted++;
        assert_covers(*table, file);
    }
    return err;
}

static void must_be_refused(const struct file *file, const char *words)
{
    pk_safetensors *table;
    if (!open_mutant(file, &table))
        fail_msg("accepted, though %s", words);
}

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

static void the_file_that_all_mutants_come_from_is_accepted(void **state)
{
    (void)state;
    pk_safetensors *table;
    struct file file = render(good, TENSORS);
    assert_ok(open_mutant(&file, &table));
    assert_int_equal(pk_safetensors_count(table), TENSORS);
    pk_safetensors_close(&table);
}

static void a_file_cut_at_any_byte_is_refused(void **state)
{
    (void)state;
    struct file file = render(good, TENSORS);
    while (file.size-- > 0)
        must_be_refused(&file, "it was cut");
}

static void a_file_with_bytes_behind_its_data_is_refused(void **state)
{
    (void)state;
    struct file file = render(good, TENSORS);
    for (unsigned more = 0; more < 64; more++) {
        file.size++;
        must_be_refused(&file, "it has grown");
    }
}

static void a_header_length_with_any_bit_flipped_is_refused(void **state)
{
    (void)state;
    for (unsigned bit = 0; bit < 64; bit++) {
        struct file file = render(good, TENSORS);
        file.bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        must_be_refused(&file, "its header length is wrong");
    }
}

/* A flip may change a name, a dtype into another of its size, or the metadata: never where bytes lie. */
static void a_header_with_any_bit_flipped_is_refused_or_means_the_same_bytes(void **state)
{
    (void)state;
    struct file base = render(good, TENSORS);
    for (size_t at = 8; at < base.header_bytes; at++)
        for (unsigned bit = 0; bit < 8; bit++) {
            struct file file = base;
            pk_safetensors *table;
            file.bytes[at] ^= (uint8_t)(1 << bit);
            if (open_mutant(&file, &table))
                continue;
            for (size_t i = 0; i < pk_safetensors_count(table) && pk_safetensors_count(table) == TENSORS; i++)
                assert_int_equal(pk_safetensors_at(table, i)->bytes, good[i].end - good[i].begin);
            assert_int_equal(pk_safetensors_count(table), TENSORS);
            pk_safetensors_close(&table);
        }
}

static void a_flipped_bit_of_the_data_changes_that_byte_alone(void **state)
{
    (void)state;
    for (size_t at = 0; at < DATA_BYTES; at++) {
        struct file file = render(good, TENSORS);
        pk_safetensors *table;
        file.bytes[file.header_bytes + at] ^= (uint8_t)(1 << at % 8);
        assert_ok(open_mutant(&file, &table));
        pk_safetensors_close(&table);
    }
}

/* The message names a tensor of the file: the wrong one, or its neighbour. */
static void assert_names_a_tensor(const struct tensor *tensors, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (strstr(pk_error_text(), tensors[i].name))
            return;
    fail_msg("names no tensor: %s", pk_error_text());
}

static void a_range_that_is_wrong_is_refused_by_name(void **state)
{
    (void)state;
    static const int64_t steps[] = {-1, 1, -8, 8, DATA_BYTES, INT32_MAX, INT64_MAX / 2, -INT64_MAX / 2};
    for (size_t i = 0; i < TENSORS * 3; i++)
        for (size_t s = 0; s < sizeof steps / sizeof *steps; s++) {
            struct tensor tensors[TENSORS];
            memcpy(tensors, good, sizeof good);
            tensors[i / 3].begin += i % 3 != 1 ? steps[s] : 0;
            tensors[i / 3].end += i % 3 != 0 ? steps[s] : 0;
            struct file file = render(tensors, TENSORS);
            /* one without bytes may lie between any two others */
            if (i == 5 && (steps[s] == -24 || steps[s] == 32))
                continue;
            must_be_refused(&file, "a range is wrong");
            assert_names_a_tensor(tensors, TENSORS);
        }
}

static void a_shape_that_does_not_fit_its_range_is_refused_by_name(void **state)
{
    (void)state;
    static const char *const shapes[] = {
        "[1]",
        "[2,2]",
        "[]",
        "[0]",
        "[-1]",
        "[2,-3]",
        "[1.0]",
        "[true]",
        "[null]",
        "[[2,3]]",
        "{}",
        "6",
        "\"[2,3]\"",
        "[4294967296,4294967296]",
        "[2147483648,2147483648,4]",
        "[9223372036854775807]",
        "[9223372036854775807,2]",
        "[18446744073709551615]",
        "[18446744073709551622]",
        "[1e0]",
        "[2,3,1,1,1,1,1,1,1]",
        "[0,9223372036854775808]",
        "[4611686018427387905,4]",
        "[3074457345618258603,6]",
    };
    for (size_t i = 0; i < TENSORS; i++)
        for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
            struct tensor tensors[TENSORS];
            memcpy(tensors, good, sizeof good);
            tensors[i].shape = shapes[s];
            struct file file = render(tensors, TENSORS);
            bool scalar = !strcmp(shapes[s], "[]") || !strcmp(shapes[s], "[1]");
            if ((i == 1 && !strcmp(shapes[s], "[0]")) || (i == 5 && scalar))
                continue; /* as many elements as before */
            must_be_refused(&file, "a shape is wrong");
            if (!strstr(pk_error_text(), "JSON"))
                assert_names_a_tensor(tensors, TENSORS);
        }
}

static void a_dtype_of_another_size_is_refused_by_name(void **state)
{
    (void)state;
    static const char *const dtypes[] = {"F64", "I8",        "f32",  "BF32",  "F32 ",
                                         "",    "F8_E4M3FN", "C128", "U4",    "F4",
                                         "F",   "F323",      "bf16", "FLOAT", "\\u0046\\u0036\\u0034"};
    for (size_t i = 0; i < TENSORS; i++)
        for (size_t d = 0; d < sizeof dtypes / sizeof *dtypes; d++) {
            struct tensor tensors[TENSORS];
            memcpy(tensors, good, sizeof good);
            tensors[i].dtype = dtypes[d];
            if ((i == 1 || i == 5) && (strstr(dtypes[d], "F64") || dtypes[d][0] == '\\'))
                continue; /* no bytes, or eight as before */
            if ((i == 1 || i == 4) && !strcmp(dtypes[d], "I8"))
                continue;
            struct file file = render(tensors, TENSORS);
            must_be_refused(&file, "a dtype is wrong");
            assert_string_not_equal(tensors[i].dtype, good[i].dtype);
            assert_names_a_tensor(tensors + i, 1);
        }
}

static void a_name_that_stands_twice_is_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < TENSORS; i++)
        for (size_t other = 0; other < TENSORS; other++) {
            struct tensor tensors[TENSORS];
            memcpy(tensors, good, sizeof good);
            tensors[i].name = good[other].name;
            struct file file = render(tensors, TENSORS);
            if (other == i)
                continue;
            must_be_refused(&file, "a name stands twice");
            assert_names_a_tensor(good + other, 1);
        }
}

/* A tensor left out leaves a hole, unless it has no bytes. */
static void a_tensor_left_out_is_refused(void **state)
{
    (void)state;
    for (size_t left_out = 0; left_out < TENSORS; left_out++) {
        struct tensor tensors[TENSORS];
        size_t count = 0;
        for (size_t i = 0; i < TENSORS; i++)
            if (i != left_out)
                tensors[count++] = good[i];
        struct file file = render(tensors, count);
        if (good[left_out].begin == good[left_out].end)
            continue;
        must_be_refused(&file, "bytes belong to no tensor");
    }
}

static uint64_t next(uint64_t *seed)
{
    *seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return *seed >> 33;
}

/* Copies a piece of the header over another place of it, or removes one. */
static void splice(struct file *file, uint64_t *seed)
{
    size_t header = file->header_bytes - 8, length = 1 + next(seed) % 40;
    size_t from = next(seed) % (header - length), to = next(seed) % (header - length);
    uint8_t *text = file->bytes + 8;
    if (next(seed) % 2) {
        memmove(text + to, text + from, length);
        return;
    }
    memmove(text + to, text + to + length, header - to - length);
    memset(text + header - length, ' ', length);
}

static void random_splices_are_refused_or_mean_the_file(void **state)
{
    (void)state;
    uint64_t seed = getenv("PK_SEED") ? strtoull(getenv("PK_SEED"), NULL, 10) : 1;
    print_message("PK_SEED=%" PRIu64 "\n", seed);
    for (unsigned i = 0; i < SPLICES; i++) {
        struct file file = render(good, TENSORS);
        pk_safetensors *table;
        for (unsigned times = 1 + (unsigned)next(&seed) % 3; times; times--)
            splice(&file, &seed);
        open_mutant(&file, &table);
        pk_safetensors_close(&table);
    }
}

static void make_socket(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    close(fd);
}

/* Never waits, never reads a device. */
static void what_is_no_regular_file_is_refused_by_name(void **state)
{
    (void)state;
    static const char *const links[] = {"/dev/zero",      "/dev/null", "/dev/random", "/",
                                        "/proc/self/mem", "loop",      "nowhere"};
    pk_safetensors *table;
    const char *path = scratch_path(name);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_refused(pk_safetensors_open(&table, path), PK_CORRUPT, "model.safetensors: is not a regular file");
    assert_int_equal(unlink(path), 0);
    make_socket(path);
    assert_refused(pk_safetensors_open(&table, path), PK_IO, "model.safetensors");
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_refused(pk_safetensors_open(&table, path), PK_CORRUPT, "model.safetensors: is not a regular file");
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(symlink("loop", scratch_path("loop")), 0);
    for (size_t i = 0; i < sizeof links / sizeof *links; i++) {
        assert_int_equal(symlink(links[i], path), 0);
        pk_err err = pk_safetensors_open(&table, path);
        assert_true(err == PK_CORRUPT || err == PK_IO);
        assert_refused(err, err, "model.safetensors");
        assert_int_equal(unlink(path), 0);
    }
}

static void a_link_to_a_good_file_is_followed(void **state)
{
    (void)state;
    pk_safetensors *table;
    struct file file = render(good, TENSORS);
    scratch_write("blob", file.bytes, file.size);
    assert_int_equal(symlink("blob", scratch_path(name)), 0);
    assert_ok(pk_safetensors_open(&table, scratch_path(name)));
    pk_safetensors_close(&table);
}

/* Last: it looks back on all the others. */
static void so_many_mutants_took_no_memory(void **state)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    print_message("%u mutants: %u refused, %u accepted and read\n", accepted + refused, refused, accepted);
    assert_true(accepted + refused >= 5000);
    assert_in_range(usage.ru_maxrss, 0, *(long *)*state + GROWTH_KIB_MAX);
}

int main(void)
{
    struct rusage before;
    getrusage(RUSAGE_SELF, &before);
#define FACT(fact) cmocka_unit_test_setup_teardown(fact, open_scratch, close_scratch)
    const struct CMUnitTest tests[] = {
        FACT(the_file_that_all_mutants_come_from_is_accepted),
        FACT(a_file_cut_at_any_byte_is_refused),
        FACT(a_file_with_bytes_behind_its_data_is_refused),
        FACT(a_header_length_with_any_bit_flipped_is_refused),
        FACT(a_header_with_any_bit_flipped_is_refused_or_means_the_same_bytes),
        FACT(a_flipped_bit_of_the_data_changes_that_byte_alone),
        FACT(a_range_that_is_wrong_is_refused_by_name),
        FACT(a_shape_that_does_not_fit_its_range_is_refused_by_name),
        FACT(a_dtype_of_another_size_is_refused_by_name),
        FACT(a_name_that_stands_twice_is_refused),
        FACT(a_tensor_left_out_is_refused),
        FACT(random_splices_are_refused_or_mean_the_file),
        FACT(what_is_no_regular_file_is_refused_by_name),
        FACT(a_link_to_a_good_file_is_followed),
        cmocka_unit_test_prestate(so_many_mutants_took_no_memory, &before.ru_maxrss),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
