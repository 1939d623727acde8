#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "loader/safetensors.h"
#include "scratch.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static pk_err parse(pk_safetensors **out, const char *header, uint64_t data_bytes)
{
    return pk_safetensors_parse(out, "some.safetensors", header, strlen(header), 8 + strlen(header) + data_bytes);
}

static void a_header_becomes_entries_in_order_of_offset(void **state)
{
    (void)state;
    pk_safetensors *file;
    static const char header[] = "{\"__metadata__\":{\"format\":\"pt\"},"
                                 "\"b\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[4,28]},"
                                 "\"a\":{\"dtype\":\"BF16\",\"shape\":[2],\"data_offsets\":[0,4]},"
                                 "\"n\":{\"dtype\":\"F32\",\"shape\":[0,7],\"data_offsets\":[28,28]},"
                                 "\"s\":{\"dtype\":\"U64\",\"shape\":[],\"data_offsets\":[28,36]}}   ";
    assert_ok(parse(&file, header, 36));
    assert_int_equal(pk_safetensors_count(file), 4);
    assert_string_equal(pk_safetensors_at(file, 0)->name, "a");
    const pk_tensor_entry *b = pk_safetensors_find(file, "b"), *s = pk_safetensors_find(file, "s"),
                          *n = pk_safetensors_find(file, "n");
    assert_int_equal(b->dtype, PK_F32);
    assert_int_equal(b->rank, 2);
    assert_int_equal(b->offset, 8 + strlen(header) + 4);
    assert_int_equal(b->bytes, 24);
    assert_int_equal(pk_tensor_rows(b), 2);
    assert_int_equal(pk_tensor_row_bytes(b), 12);
    assert_int_equal(s->dtype, 0);
    assert_string_equal(s->dtype_name, "U64");
    assert_int_equal(pk_tensor_rows(s), 1);
    assert_int_equal(pk_tensor_row_bytes(s), 8);
    assert_int_equal(pk_tensor_rows(n), 0);
    assert_null(pk_safetensors_find(file, "__metadata__"));
    assert_null(pk_safetensors_find(file, "c"));
    pk_safetensors_close(&file);
    pk_safetensors_close(&file);
}

#define T(dtype, shape, offsets)   "{\"dtype\":" dtype ",\"shape\":" shape ",\"data_offsets\":" offsets "}"
#define ONE(dtype, shape, offsets) "{\"w\":" T("\"" dtype "\"", shape, offsets) "}"

static const struct hostile {
    const char *header;
    uint64_t data_bytes;
    const char *words;
} hostiles[] = {
    {"", 0, "the header does not begin with '{'"},
    {" {}", 0, "the header does not begin with '{'"},
    {"[]", 0, "the header does not begin with '{'"},
    {"{", 0, "header: JSON at line 1"},
    {"{} x", 0, "header: JSON at line 1"},
    {"{\"w\":1}", 0, "tensor w: is 1, expected an object"},
    {"{\"w\":{}}", 0, "tensor w: has 0 members, expected dtype, shape and data_offsets"},
    {"{\"w\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4],\"x\":1}}", 4, "tensor w: has 4 members"},
    {"{\"w\":{\"dtype\":\"F32\",\"shape\":[],\"offsets\":[0,4]}}", 4, "tensor w: has 3 members, expected dtype"},
    {"{\"\":" T("\"F32\"", "[1]", "[0,4]") "}", 4, "a tensor has an empty name"},
    {"{\"a\\u001b[2Jb\":" T("\"F32\"", "[1]", "[0,4]") "}", 4, "control character at byte 1"},
    {"{\"a\\u0000b\":" T("\"F32\"", "[1]", "[0,4]") "}", 4, "NUL byte"},
    {"{\"w\":" T("\"F32\"", "[1]", "[0,4]") ",\"w\":" T("\"F32\"", "[1]", "[4,8]") "}", 8,
     "duplicate object key near '\"w\"'"},
    {"{\"model.layers.10.self_attn.qkv_proj\":{},\"model.layers.10.self_attn.qkv_proj\":{}}", 0,
     "duplicate object key near '\"model.layers.10.self_attn.qkv_proj\"'"},
    {"{\"__metadata__\":1}", 0, "__metadata__ is 1, expected an object"},
    {"{\"__metadata__\":{\"a\":1}}", 0, "__metadata__ has 1, expected strings only"},
    {"{\"w\":" T("4", "[1]", "[0,4]") "}", 4, "tensor w: dtype is 4, expected one of the format"},
    {ONE("F33", "[1]", "[0,4]"), 4, "tensor w: dtype is \"F33\""},
    {ONE("F32", "1", "[0,4]"), 4, "tensor w: shape is 1, expected an array"},
    {ONE("F32", "[1.0]", "[0,4]"), 4, "tensor w: shape[0] is 1, expected an integer"},
    {ONE("F32", "[-1]", "[0,4]"), 4, "tensor w: shape[0] is -1"},
    {ONE("F32", "[1,\"2\"]", "[0,4]"), 4, "tensor w: shape[1] is \"2\""},
    {ONE("F32", "[1,1,1,1,1,1,1,1,1]", "[0,4]"), 4, "tensor w: shape has rank 9, expected at most 8"},
    {ONE("F32", "[4294967296,4294967296]", "[0,4]"), 4, "tensor w: shape overflows 64 bits"},
    {ONE("F32", "[4611686018427387904]", "[0,0]"), 0, "tensor w: shape [4611686018427387904] of F32 overflows 64 bits"},
    {ONE("F32", "[18446744073709551616]", "[0,4]"), 4, "JSON at line 1"},
    {ONE("F32", "[2]", "[0,4]"), 4, "tensor w: data_offsets span 4 bytes, shape [2] of F32 needs 8"},
    {ONE("BF16", "[3,2]", "[0,16]"), 16, "tensor w: data_offsets span 16 bytes, shape [3, 2] of BF16 needs 12"},
    {ONE("F32", "[1]", "4"), 4, "tensor w: data_offsets is 4, expected an array of 2 integers"},
    {ONE("F32", "[1]", "[0,4,8]"), 8, "tensor w: data_offsets is an array, expected an array of 2 integers"},
    {ONE("F32", "[1]", "[0,4.0]"), 4, "tensor w: data_offsets are not two integers"},
    {ONE("F32", "[1]", "[4,0]"), 4, "tensor w: data_offsets are not two integers 0 <= begin <= end"},
    {ONE("F32", "[1]", "[-4,0]"), 4, "tensor w: data_offsets are not two integers"},
    {ONE("F32", "[2]", "[0,8]"), 7, "tensor w: data_offsets end at byte 8, the file has 7 bytes of data"},
    {ONE("F32", "[1]", "[9223372036854775803,9223372036854775807]"), 4, "tensor w: data_offsets end at byte 922337203"},
    {ONE("F32", "[1]", "[4,8]"), 8, "tensor w begins at byte 4 of the data: the 4 bytes before it belong to no tensor"},
    {ONE("F32", "[1]", "[0,4]"), 9, "5 bytes behind the last tensor w belong to no tensor"},
    {"{}", 1, "1 bytes behind the last tensor belong to no tensor"},
    {"{\"a\":" T("\"F32\"", "[2]", "[0,8]") ",\"b\":" T("\"F32\"", "[2]", "[4,12]") "}", 12,
     "tensor b begins at byte 4 of the data and overlaps tensor a"},
    {"{\"a\":" T("\"F32\"", "[2]", "[0,8]") ",\"b\":" T("\"F32\"", "[2]", "[0,8]") "}", 8,
     "tensor b begins at byte 0 of the data and overlaps tensor a"},
    {"{\"a\":" T("\"F32\"", "[2]", "[0,8]") ",\"b\":" T("\"F32\"", "[0]", "[4,4]") "}", 8, "overlaps tensor a"},
    {"{\"a\":" T("\"F32\"", "[1]", "[0,4]") ",\"b\":" T("\"F32\"", "[1]", "[8,12]") "}", 12,
     "tensor b begins at byte 8 of the data: the 4 bytes before it belong to no tensor"},
};

static void hostile_headers_are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof hostiles / sizeof *hostiles; i++) {
        pk_safetensors *file = NULL;
        pk_err err = parse(&file, hostiles[i].header, hostiles[i].data_bytes);
        if (!err || !strstr(pk_error_text(), hostiles[i].words))
            print_error("header %s\n", hostiles[i].header);
        assert_refused(err, PK_CORRUPT, hostiles[i].words);
        assert_refused(err, PK_CORRUPT, "some.safetensors: ");
        assert_null(file);
    }
}

static void names_have_at_most_512_bytes(void **state)
{
    (void)state;
    char name[514], header[700];
    pk_safetensors *file;
    memset(name, 'x', sizeof name);
    snprintf(header, sizeof header, "{\"%.512s\":" T("\"U8\"", "[1]", "[0,1]") "}", name);
    assert_ok(parse(&file, header, 1));
    pk_safetensors_close(&file);
    snprintf(header, sizeof header, "{\"%.513s\":" T("\"U8\"", "[1]", "[0,1]") "}", name);
    assert_refused(parse(&file, header, 1), PK_CORRUPT, "a tensor's name has 513 bytes, expected at most 512");
}

static void deep_nesting_is_refused(void **state)
{
    (void)state;
    char header[2000] = "{\"w\":";
    pk_safetensors *file;
    memset(header + 5, '[', 1500);
    assert_refused(parse(&file, header, 0), PK_CORRUPT, "nested deeper than 64");
}

static void header_lengths_are_believed_only_inside_the_file(void **state)
{
    (void)state;
    static const uint64_t lengths[] = {3, 100, 1u << 20, UINT64_C(100000001), INT64_MAX, UINT64_MAX, UINT64_MAX - 7};
    pk_safetensors *file;
    scratch_open();
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        scratch_write("f", &lengths[i], 8);
        scratch_append("f", "{}", 2);
        assert_refused(pk_safetensors_open(&file, scratch_path("f")), PK_CORRUPT,
                       lengths[i] > 100000000 ? "exceeds the limit of 100000000 bytes" : "exceeds the file (10 bytes)");
        assert_null(file);
    }
    scratch_close();
}

/* Of a real file: every cut that falls on an edge of its structure, and the bytes around it. */
static void a_file_cut_anywhere_is_refused(void **state)
{
    (void)state;
    size_t bytes;
    pk_safetensors *whole, *file;
    scratch_open();
    char *data = scratch_read(PK_GOLDEN "/shared/model.safetensors", &bytes);
    assert_ok(pk_safetensors_open(&whole, PK_GOLDEN "/shared/model.safetensors"));
    uint64_t edges[400];
    size_t count = 0;
    for (uint64_t edge = 0; edge <= 9; edge++)
        edges[count++] = edge;
    edges[count++] = pk_safetensors_data_offset(whole) - 1;
    edges[count++] = pk_safetensors_data_offset(whole);
    for (size_t i = 0; i < pk_safetensors_count(whole) && count + 3 < 400; i++) {
        edges[count++] = pk_safetensors_at(whole, i)->offset + 1;
        edges[count++] = pk_safetensors_at(whole, i)->offset + pk_safetensors_at(whole, i)->bytes - 1;
    }
    for (size_t i = 0; i < count; i++) {
        scratch_write("cut", data, (size_t)edges[i]);
        assert_refused(pk_safetensors_open(&file, scratch_path("cut")), PK_CORRUPT, "cut: ");
        assert_null(file);
    }
    scratch_write("cut", data, bytes);
    scratch_append("cut", "\0", 1);
    assert_refused(pk_safetensors_open(&file, scratch_path("cut")), PK_CORRUPT, "1 bytes behind the last tensor");
    pk_safetensors_close(&whole);
    free(data);
    scratch_close();
}

/* Flips one bit at a time. Whatever comes out, an accepted entry lies inside the file and overlaps nothing. */
static void flipped_header_bits_never_yield_entries_outside_the_file(void **state)
{
    (void)state;
    static const char good[] = "{\"a\":" T("\"F32\"", "[2,3]", "[0,24]") ",\"b\":" T("\"BF16\"", "[5]", "[24,34]") "}";
    const uint64_t file_bytes = 8 + strlen(good) + 34;
    size_t accepted = 0;
    for (size_t bit = 0; bit < 8 * strlen(good); bit++) {
        char header[sizeof good];
        pk_safetensors *file = NULL;
        memcpy(header, good, sizeof good);
        header[bit / 8] = (char)(header[bit / 8] ^ 1 << bit % 8);
        if (pk_safetensors_parse(&file, "flip", header, strlen(good), file_bytes))
            continue;
        uint64_t end = pk_safetensors_data_offset(file);
        for (size_t i = 0; i < pk_safetensors_count(file); i++) {
            const pk_tensor_entry *entry = pk_safetensors_at(file, i);
            assert_int_equal(entry->offset, end);
            end += entry->bytes;
            assert_int_equal(pk_tensor_rows(entry) * pk_tensor_row_bytes(entry), entry->bytes);
        }
        assert_int_equal(end, file_bytes);
        accepted++;
        pk_safetensors_close(&file);
    }
    assert_in_range(accepted, 1, 8 * strlen(good) - 1); /* a flip in a name is another good name */
}

static void only_regular_files_are_opened(void **state)
{
    (void)state;
    pk_safetensors *file;
    scratch_open();
    assert_int_equal(mkfifo(scratch_path("fifo"), 0600), 0);
    assert_refused(pk_safetensors_open(&file, scratch_path("fifo")), PK_CORRUPT, "fifo: is not a regular file");
    assert_refused(pk_safetensors_open(&file, scratch_path("")), PK_CORRUPT, "is not a regular file");
    assert_refused(pk_safetensors_open(&file, "/dev/zero"), PK_CORRUPT, "/dev/zero: is not a regular file");
    assert_int_equal(symlink("fifo", scratch_path("link")), 0);
    assert_refused(pk_safetensors_open(&file, scratch_path("link")), PK_CORRUPT, "link: is not a regular file");
    assert_int_equal(symlink("nothing", scratch_path("dangling")), 0);
    assert_refused(pk_safetensors_open(&file, scratch_path("dangling")), PK_IO, "No such file");
    assert_int_equal(symlink("loop", scratch_path("loop")), 0);
    assert_refused(pk_safetensors_open(&file, scratch_path("loop")), PK_IO, "loop");
    assert_refused(pk_safetensors_open(&file, scratch_path("absent")), PK_IO, "absent: No such file");
    scratch_close();
}

static void a_link_to_a_regular_file_is_followed(void **state)
{
    (void)state;
    pk_safetensors *file;
    scratch_open();
    assert_int_equal(symlink(PK_GOLDEN "/nano/model.safetensors", scratch_path("model.safetensors")), 0);
    assert_ok(pk_safetensors_open(&file, scratch_path("model.safetensors")));
    pk_safetensors_close(&file);
    scratch_close();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_header_becomes_entries_in_order_of_offset),
        cmocka_unit_test(hostile_headers_are_refused),
        cmocka_unit_test(names_have_at_most_512_bytes),
        cmocka_unit_test(deep_nesting_is_refused),
        cmocka_unit_test(header_lengths_are_believed_only_inside_the_file),
        cmocka_unit_test(a_file_cut_anywhere_is_refused),
        cmocka_unit_test(flipped_header_bits_never_yield_entries_outside_the_file),
        cmocka_unit_test(only_regular_files_are_opened),
        cmocka_unit_test(a_link_to_a_regular_file_is_followed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
