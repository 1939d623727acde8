#include "loader/index.h"

#include "loader/file.h"
#include "loader/safetensors.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum {
    INDEX_BYTES_MAX = PK_SAFETENSORS_HEADER_MAX,
    INDEX_VALUES_MAX = PK_SAFETENSORS_TENSORS_MAX + (1 << 16),
    FILE_NAME_MAX = 255,
};

static int compare_files(const void *left, const void *right)
{
    const pk_placement *a = left, *b = right;
    return strcmp(a->file, b->file);
}

static bool is_plain_name(const char *name)
{
    size_t length = strlen(name);
    if (length == 0 || length > FILE_NAME_MAX || name[0] == '.')
        return false;
    for (size_t i = 0; i < length; i++)
        if (name[i] == '/' || (unsigned char)name[i] < 0x20 || (unsigned char)name[i] >= 0x7f)
            return false;
    return true;
}

static pk_err list_placements(pk_index *index)
{
    char shown[PK_JSON_SHOW];
    const char *tensor;
    const pk_json *root = index->root, *file,
                  *map = pk_json_kind_of(root) == PK_JSON_OBJECT ? pk_json_member(root, "weight_map") : NULL;
    if (!map || pk_json_kind_of(map) != PK_JSON_OBJECT)
        return pk_fail(PK_CORRUPT, "weight_map is %s, expected an object", pk_json_show(shown, map));
    if (pk_json_count(map) == 0)
        return pk_fail(PK_CORRUPT, "weight_map is empty");
    if (!(index->placements = calloc(pk_json_count(map), sizeof *index->placements)))
        return pk_fail(PK_NOMEM, "no memory for %zu tensors", pk_json_count(map));
    for (void *at = NULL; pk_json_next(map, &at, &tensor, &file);) {
        const char *name = pk_json_string(file);
        if (!name || !is_plain_name(name))
            return pk_fail(PK_CORRUPT, "a tensor of weight_map lies in %s, expected the plain name of a file",
                           pk_json_show(shown, file));
        pk_err err = pk_tensor_name_check(tensor);
        if (err)
            return pk_pass(err, "weight_map");
        index->placements[index->count++] = (pk_placement){tensor, name};
    }
    qsort(index->placements, index->count, sizeof *index->placements, compare_files);
    return PK_OK;
}

static void read_total(pk_index *index)
{
    const pk_json *metadata = pk_json_member(index->root, "metadata");
    int64_t total;
    if (metadata && pk_json_kind_of(metadata) == PK_JSON_OBJECT &&
        pk_json_integer(pk_json_member(metadata, "total_size"), &total) && total > 0)
        index->total_bytes = (uint64_t)total;
}

pk_err pk_index_read(pk_index *out, const char *path)
{
    char *text = NULL;
    size_t bytes = 0;
    *out = (pk_index){0};
    pk_err err = pk_file_read_all(&text, &bytes, path, INDEX_BYTES_MAX);
    if (err)
        return err; /* names the path already */
    if (!(err = pk_json_open(&out->root, text, bytes, INDEX_VALUES_MAX)) && !(err = list_placements(out)))
        read_total(out);
    free(text);
    if (err)
        pk_index_fini(out);
    return pk_pass(err, "%s", path);
}

void pk_index_fini(pk_index *index)
{
    free(index->placements);
    pk_json_close(&index->root);
    *index = (pk_index){0};
}

size_t pk_index_run(const pk_index *index, size_t first)
{
    size_t end = first + 1;
    while (end < index->count && !strcmp(index->placements[end].file, index->placements[first].file))
        end++;
    return end - first;
}
