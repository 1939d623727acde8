#include "loader/safetensors.h"

#include "loader/json.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    LENGTH_BYTES = 8,
    /* A tensor of full rank has 14 by json.c's count; the rest is for __metadata__. */
    HEADER_VALUES_MAX = 14 * PK_SAFETENSORS_TENSORS_MAX + (1 << 16),
};

struct pk_safetensors {
    char *path;
    char *names; /* of all entries, NUL after each */
    pk_file_identity identity;
    pk_digest digest;
    uint64_t data_offset;
    size_t count;
    pk_tensor_entry *entries;        /* in order of offset */
    const pk_tensor_entry **by_name; /* the same, in order of name */
};

/* The format's dtypes of whole bytes; code 0 where we only need to know the size. */
static const struct stored_dtype {
    char name[8];
    uint8_t bytes;
    pk_dtype dtype;
} stored_dtypes[] = {
    {"BOOL", 1, 0}, {"U8", 1, PK_U8},   {"I8", 1, PK_I8},     {"F8_E5M2", 1, 0}, {"F8_E4M3", 1, 0},  {"U16", 2, 0},
    {"I16", 2, 0},  {"F16", 2, PK_F16}, {"BF16", 2, PK_BF16}, {"U32", 4, 0},     {"I32", 4, PK_I32}, {"F32", 4, PK_F32},
    {"U64", 8, 0},  {"I64", 8, PK_I64},     {"F64", 8, 0},        {"C64", 8, 0},
};

static const struct stored_dtype *dtype_by_name(const char *name)
{
    for (size_t i = 0; i < sizeof stored_dtypes / sizeof *stored_dtypes; i++)
        if (name && !strcmp(name, stored_dtypes[i].name))
            return &stored_dtypes[i];
    return NULL;
}

/* Control characters have no place in a name, and would reach terminals in messages. */
pk_err pk_tensor_name_check(const char *name)
{
    size_t length = strlen(name);
    if (length == 0)
        return pk_fail(PK_CORRUPT, "a tensor has an empty name");
    if (length > PK_TENSOR_NAME_MAX)
        return pk_fail(PK_CORRUPT, "a tensor's name has %zu bytes, expected at most %d", length, PK_TENSOR_NAME_MAX);
    for (const unsigned char *at = (const unsigned char *)name; *at; at++)
        if (*at < 0x20 || *at == 0x7f || (*at == 0xc2 && at[1] < 0xa0))
            return pk_fail(PK_CORRUPT, "a tensor's name has a control character at byte %td",
                           at - (const unsigned char *)name);
    return PK_OK;
}

static pk_err parse_shape(pk_tensor_entry *entry, const pk_json *shape, uint64_t *elements)
{
    char shown[PK_JSON_SHOW];
    if (pk_json_kind_of(shape) != PK_JSON_ARRAY)
        return pk_fail(PK_CORRUPT, "shape is %s, expected an array", pk_json_show(shown, shape));
    if (pk_json_count(shape) > PK_TENSOR_RANK_MAX)
        return pk_fail(PK_CORRUPT, "shape has rank %zu, expected at most %d", pk_json_count(shape), PK_TENSOR_RANK_MAX);
    entry->rank = (unsigned)pk_json_count(shape);
    *elements = 1;
    for (unsigned i = 0; i < entry->rank; i++) {
        int64_t size;
        if (!pk_json_integer(pk_json_item(shape, i), &size) || size < 0)
            return pk_fail(PK_CORRUPT, "shape[%u] is %s, expected an integer of at least 0", i,
                           pk_json_show(shown, pk_json_item(shape, i)));
        entry->shape[i] = (uint64_t)size;
        if (__builtin_mul_overflow(*elements, entry->shape[i], elements))
            return pk_fail(PK_CORRUPT, "shape overflows 64 bits");
    }
    return PK_OK;
}

static pk_err parse_range(pk_tensor_entry *entry, const pk_json *range, uint64_t data_bytes)
{
    int64_t begin, end;
    char shown[PK_JSON_SHOW];
    if (pk_json_kind_of(range) != PK_JSON_ARRAY || pk_json_count(range) != 2)
        return pk_fail(PK_CORRUPT, "data_offsets is %s, expected an array of 2 integers", pk_json_show(shown, range));
    if (!pk_json_integer(pk_json_item(range, 0), &begin) || !pk_json_integer(pk_json_item(range, 1), &end) ||
        begin < 0 || end < begin)
        return pk_fail(PK_CORRUPT, "data_offsets are not two integers 0 <= begin <= end");
    if ((uint64_t)end > data_bytes)
        return pk_fail(PK_CORRUPT, "data_offsets end at byte %" PRId64 ", the file has %" PRIu64 " bytes of data", end,
                       data_bytes);
    entry->offset = (uint64_t)begin; /* from the start of the data, until all are checked */
    entry->bytes = (uint64_t)(end - begin);
    return PK_OK;
}

static pk_err parse_entry(pk_tensor_entry *entry, const pk_json *about, uint64_t data_bytes)
{
    pk_err err;
    uint64_t elements = 0, bytes = 0;
    char shown[PK_JSON_SHOW], shape[PK_TENSOR_SHAPE_TEXT];
    if (pk_json_kind_of(about) != PK_JSON_OBJECT)
        return pk_fail(PK_CORRUPT, "is %s, expected an object", pk_json_show(shown, about));
    const pk_json *dtype = pk_json_member(about, "dtype"), *sizes = pk_json_member(about, "shape"),
                  *range = pk_json_member(about, "data_offsets");
    if (!dtype || !sizes || !range || pk_json_count(about) != 3)
        return pk_fail(PK_CORRUPT, "has %zu members, expected dtype, shape and data_offsets", pk_json_count(about));
    const struct stored_dtype *stored = dtype_by_name(pk_json_string(dtype));
    if (!stored)
        return pk_fail(PK_CORRUPT, "dtype is %s, expected one of the format, such as BF16", pk_json_show(shown, dtype));
    entry->dtype = stored->dtype;
    entry->dtype_name = stored->name;
    if ((err = parse_shape(entry, sizes, &elements)) || (err = parse_range(entry, range, data_bytes)))
        return err;
    if (__builtin_mul_overflow(elements, (uint64_t)stored->bytes, &bytes))
        return pk_fail(PK_CORRUPT, "shape %s of %s overflows 64 bits",
                       pk_tensor_shape_text(shape, entry->rank, entry->shape), stored->name);
    if (bytes != entry->bytes)
        return pk_fail(PK_CORRUPT, "data_offsets span %" PRIu64 " bytes, shape %s of %s needs %" PRIu64, entry->bytes,
                       pk_tensor_shape_text(shape, entry->rank, entry->shape), stored->name, bytes);
    return PK_OK;
}

static pk_err check_metadata(const pk_json *metadata)
{
    void *at = NULL;
    const char *name;
    const pk_json *value;
    char shown[PK_JSON_SHOW];
    if (pk_json_kind_of(metadata) != PK_JSON_OBJECT)
        return pk_fail(PK_CORRUPT, "__metadata__ is %s, expected an object", pk_json_show(shown, metadata));
    while (pk_json_next(metadata, &at, &name, &value))
        if (!pk_json_string(value))
            return pk_fail(PK_CORRUPT, "__metadata__ has %s, expected strings only", pk_json_show(shown, value));
    return PK_OK;
}

static pk_err reserve_entries(pk_safetensors *file, const pk_json *root)
{
    void *at = NULL;
    const char *name;
    const pk_json *value;
    size_t name_bytes = 0;
    file->count = pk_json_count(root) - (pk_json_member(root, "__metadata__") != NULL);
    if (file->count > PK_SAFETENSORS_TENSORS_MAX)
        return pk_fail(PK_CORRUPT, "has %zu tensors, expected at most %d", file->count, PK_SAFETENSORS_TENSORS_MAX);
    while (pk_json_next(root, &at, &name, &value))
        name_bytes += strlen(name) + 1;
    file->names = malloc(name_bytes + 1);
    file->entries = calloc(file->count + 1, sizeof *file->entries);
    file->by_name = calloc(file->count + 1, sizeof *file->by_name);
    if (!file->names || !file->entries || !file->by_name)
        return pk_fail(PK_NOMEM, "no memory for %zu tensors", file->count);
    return PK_OK;
}

static pk_err parse_entries(pk_safetensors *file, const pk_json *root, uint64_t data_bytes)
{
    pk_err err;
    void *at = NULL;
    const char *name;
    const pk_json *value;
    size_t index = 0;
    char *names = file->names;
    while (pk_json_next(root, &at, &name, &value)) {
        if (!strcmp(name, "__metadata__")) {
            if ((err = check_metadata(value)))
                return err;
            continue;
        }
        if ((err = pk_tensor_name_check(name)))
            return err;
        pk_tensor_entry *entry = &file->entries[index++];
        entry->name = names;
        entry->file = file;
        names = stpcpy(names, name) + 1;
        if ((err = parse_entry(entry, value, data_bytes)))
            return pk_pass(err, "tensor %s", entry->name);
    }
    return PK_OK;
}

static int compare_offsets(const void *left, const void *right)
{
    const pk_tensor_entry *a = left, *b = right;
    if (a->offset != b->offset)
        return a->offset < b->offset ? -1 : 1;
    if (a->bytes != b->bytes) /* one without bytes goes before the one that begins where it stands */
        return a->bytes < b->bytes ? -1 : 1;
    return strcmp(a->name, b->name);
}

static int compare_names(const void *left, const void *right)
{
    return strcmp((*(const pk_tensor_entry *const *)left)->name, (*(const pk_tensor_entry *const *)right)->name);
}

/* The format wants every byte of the data to belong to exactly one tensor. */
static pk_err check_layout(pk_safetensors *file, uint64_t data_bytes)
{
    uint64_t end = 0;
    qsort(file->entries, file->count, sizeof *file->entries, compare_offsets);
    for (size_t i = 0; i < file->count; i++) {
        pk_tensor_entry *entry = &file->entries[i];
        if (entry->offset < end)
            return pk_fail(PK_CORRUPT, "tensor %s begins at byte %" PRIu64 " of the data and overlaps tensor %s",
                           entry->name, entry->offset, file->entries[i - 1].name);
        if (entry->offset > end)
            return pk_fail(PK_CORRUPT,
                           "tensor %s begins at byte %" PRIu64 " of the data: the %" PRIu64
                           " bytes before it belong to no tensor",
                           entry->name, entry->offset, entry->offset - end);
        end = entry->offset + entry->bytes;
    }
    if (end < data_bytes)
        return pk_fail(PK_CORRUPT, "%" PRIu64 " bytes behind the last tensor%s%s belong to no tensor", data_bytes - end,
                       file->count ? " " : "", file->count ? file->entries[file->count - 1].name : "");
    return PK_OK;
}

static void index_entries(pk_safetensors *file)
{
    for (size_t i = 0; i < file->count; i++) {
        file->entries[i].offset += file->data_offset;
        file->by_name[i] = &file->entries[i];
    }
    qsort(file->by_name, file->count, sizeof *file->by_name, compare_names);
}

static pk_err parse_header(pk_safetensors *file, const char *text, size_t bytes, uint64_t data_bytes)
{
    pk_err err = PK_OK;
    pk_json *root = NULL;
    char shown[PK_JSON_SHOW];
    if (bytes == 0 || text[0] != '{')
        return pk_fail(PK_CORRUPT, "the header does not begin with '{'");
    if ((err = pk_json_open(&root, text, bytes, HEADER_VALUES_MAX)))
        return pk_pass(err, "header");
    if (pk_json_kind_of(root) != PK_JSON_OBJECT)
        err = pk_fail(PK_CORRUPT, "the header is %s, expected an object", pk_json_show(shown, root));
    else if (!(err = reserve_entries(file, root)) && !(err = parse_entries(file, root, data_bytes)) &&
             !(err = check_layout(file, data_bytes)))
        index_entries(file);
    pk_json_close(&root);
    return err;
}

static pk_err allocate(pk_safetensors **out, const char *path)
{
    pk_safetensors *file = calloc(1, sizeof *file);
    if (!file || !(file->path = strdup(path))) {
        free(file);
        return pk_fail(PK_NOMEM, "no memory for a table of tensors");
    }
    *out = file;
    return PK_OK;
}

/* The length is the file's own word for itself: believe it only inside the file. */
static pk_err check_length(uint64_t length, uint64_t file_bytes)
{
    if (length > PK_SAFETENSORS_HEADER_MAX)
        return pk_fail(PK_CORRUPT, "header length %" PRIu64 " exceeds the limit of %d bytes", length,
                       PK_SAFETENSORS_HEADER_MAX);
    if (length > file_bytes - LENGTH_BYTES)
        return pk_fail(PK_CORRUPT, "header length %" PRIu64 " exceeds the file (%" PRIu64 " bytes)", length,
                       file_bytes);
    return PK_OK;
}

/* framed: the 8 bytes of length, then `length` bytes of text. */
static pk_err take_header(pk_safetensors *file, const char *framed, size_t length, uint64_t file_bytes)
{
    file->digest = pk_digest_of(framed, LENGTH_BYTES + length);
    file->data_offset = LENGTH_BYTES + length;
    return parse_header(file, framed + LENGTH_BYTES, length, file_bytes - file->data_offset);
}

static uint64_t little_endian(const uint8_t bytes[LENGTH_BYTES])
{
    uint64_t value = 0;
    for (int i = LENGTH_BYTES - 1; i >= 0; i--)
        value = value << 8 | bytes[i];
    return value;
}

static pk_err read_header(pk_safetensors *file, int fd)
{
    pk_err err = PK_OK;
    uint8_t stored[LENGTH_BYTES];
    char *framed = NULL;
    uint64_t file_bytes = file->identity.bytes;

    if (file_bytes < LENGTH_BYTES)
        return pk_fail(PK_CORRUPT, "has %" PRIu64 " bytes, too few for the length of a header", file_bytes);
    if ((err = pk_file_read_at(fd, stored, sizeof stored, 0)))
        return err;
    uint64_t length = little_endian(stored);
    if ((err = check_length(length, file_bytes)))
        return err;
    if (!(framed = malloc(LENGTH_BYTES + (size_t)length)))
        return pk_fail(PK_NOMEM, "no memory for a header of %" PRIu64 " bytes", length);
    memcpy(framed, stored, sizeof stored);
    if (!(err = pk_file_read_at(fd, framed + LENGTH_BYTES, (size_t)length, LENGTH_BYTES)))
        err = take_header(file, framed, (size_t)length, file_bytes);
    free(framed);
    return err;
}

pk_err pk_safetensors_open(pk_safetensors **out, const char *path)
{
    pk_err err = PK_OK;
    pk_safetensors *file = NULL;
    int fd = -1;

    *out = NULL;
    if ((err = allocate(&file, path)))
        goto out;
    if ((err = pk_file_open(&fd, &file->identity, path, 0)))
        goto out; /* names the path already */
    if ((err = read_header(file, fd))) {
        err = pk_pass(err, "%s", path);
        goto out;
    }
    *out = file;
    file = NULL;
out:
    pk_file_close(&fd);
    pk_safetensors_close(&file);
    return err;
}

pk_err pk_safetensors_parse(pk_safetensors **out, const char *path, const char *text, size_t bytes, uint64_t file_bytes)
{
    pk_err err = PK_OK;
    pk_safetensors *file = NULL;
    char *framed = NULL;

    *out = NULL;
    if ((err = allocate(&file, path)))
        goto out;
    if (file_bytes < LENGTH_BYTES) {
        err = pk_fail(PK_CORRUPT, "has %" PRIu64 " bytes, too few for the length of a header", file_bytes);
        goto out;
    }
    if ((err = check_length(bytes, file_bytes)))
        goto out;
    if (!(framed = malloc(LENGTH_BYTES + bytes))) {
        err = pk_fail(PK_NOMEM, "no memory for a header of %zu bytes", bytes);
        goto out;
    }
    for (unsigned i = 0; i < LENGTH_BYTES; i++)
        framed[i] = (char)(uint8_t)((uint64_t)bytes >> 8 * i);
    memcpy(framed + LENGTH_BYTES, text, bytes);
    file->identity.bytes = file_bytes;
    if ((err = take_header(file, framed, bytes, file_bytes)))
        goto out;
    *out = file;
    file = NULL;
out:
    free(framed);
    pk_safetensors_close(&file);
    return pk_pass(err, "%s", path);
}

void pk_safetensors_close(pk_safetensors **file)
{
    pk_safetensors *held = *file;
    *file = NULL;
    if (!held)
        return;
    free(held->path);
    free(held->names);
    free(held->entries);
    free(held->by_name);
    free(held);
}

const char *pk_safetensors_path(const pk_safetensors *file)
{
    return file->path;
}

const pk_file_identity *pk_safetensors_identity(const pk_safetensors *file)
{
    return &file->identity;
}

pk_digest pk_safetensors_digest(const pk_safetensors *file)
{
    return file->digest;
}

uint64_t pk_safetensors_data_offset(const pk_safetensors *file)
{
    return file->data_offset;
}

size_t pk_safetensors_count(const pk_safetensors *file)
{
    return file->count;
}

const pk_tensor_entry *pk_safetensors_at(const pk_safetensors *file, size_t index)
{
    assert(index < file->count);
    return &file->entries[index];
}

const pk_tensor_entry *pk_safetensors_find(const pk_safetensors *file, const char *name)
{
    pk_tensor_entry wanted = {.name = name};
    const pk_tensor_entry *key = &wanted, **found;
    found = bsearch(&key, file->by_name, file->count, sizeof *file->by_name, compare_names);
    return found ? *found : NULL;
}

uint64_t pk_tensor_row_bytes(const pk_tensor_entry *tensor)
{
    uint64_t rows = pk_tensor_rows(tensor);
    return rows ? tensor->bytes / rows : 0;
}

uint64_t pk_tensor_rows(const pk_tensor_entry *tensor)
{
    uint64_t rows = 1;
    if (!tensor->bytes) /* a dimension is 0, and the others need not multiply within 64 bits */
        return tensor->rank > 1 ? 0 : 1;
    for (unsigned i = 0; i + 1 < tensor->rank; i++)
        rows *= tensor->shape[i];
    return rows;
}

const char *pk_tensor_shape_text(char out[PK_TENSOR_SHAPE_TEXT], unsigned rank, const uint64_t *shape)
{
    size_t length = 1;
    out[0] = '[';
    for (unsigned i = 0; i < rank && i < PK_TENSOR_RANK_MAX; i++)
        length += (size_t)snprintf(out + length, PK_TENSOR_SHAPE_TEXT - length, "%s%" PRIu64, i ? ", " : "", shape[i]);
    snprintf(out + length, PK_TENSOR_SHAPE_TEXT - length, "]");
    return out;
}
