/* The header of a safetensors file. Input: how many bytes of data the file is said to have, then the header's text. */
#include "fuzz.h"
#include "loader/safetensors.h"

#include <string.h>

/* What an entry promises to whoever holds it. */
static void check_entry(const pk_safetensors *file, const pk_tensor_entry *entry, uint64_t begin)
{
    char shape[PK_TENSOR_SHAPE_TEXT];
    MUST(entry->file == file && entry->rank <= PK_TENSOR_RANK_MAX);
    MUST(strlen(entry->name) >= 1 && strlen(entry->name) <= PK_TENSOR_NAME_MAX);
    MUST(entry->offset == begin);
    MUST(pk_tensor_rows(entry) * pk_tensor_row_bytes(entry) == entry->bytes);
    MUST(pk_safetensors_find(file, entry->name) == entry);
    MUST(strlen(pk_tensor_shape_text(shape, entry->rank, entry->shape)) < sizeof shape);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint64_t data_bytes = fuzz_number(&data, &size) & INT64_MAX;
    pk_safetensors *file = NULL;
    if (data_bytes > INT64_MAX - 8 - size)
        data_bytes = 0; /* a file's size is an off_t */
    pk_err err = pk_safetensors_parse(&file, "fuzz.safetensors", (const char *)data, size, 8 + size + data_bytes);
    if (err) {
        fuzz_refused(err);
        MUST(file == NULL);
        return 0;
    }
    uint64_t end = pk_safetensors_data_offset(file);
    MUST(end == 8 + size && pk_safetensors_count(file) <= PK_SAFETENSORS_TENSORS_MAX);
    for (size_t i = 0; i < pk_safetensors_count(file); i++) {
        check_entry(file, pk_safetensors_at(file, i), end);
        end += pk_safetensors_at(file, i)->bytes;
    }
    MUST(end == 8 + size + data_bytes);
    pk_safetensors_close(&file);
    return 0;
}
