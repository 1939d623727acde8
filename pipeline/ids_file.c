#include "pipeline/ids_file.h"
#include "loader/file.h"
#include "loader/json.h"

#include <inttypes.h>
#include <stdlib.h>

static pk_err read_list(pk_id_list *out, const pk_json *list, size_t index, size_t vocab)
{
    char shown[PK_JSON_SHOW];
    size_t count = pk_json_count(list);
    if (pk_json_kind_of(list) == PK_JSON_ARRAY && count == 0)
        return pk_fail(PK_CORRUPT, "sequence %zu is empty, at least one token id was expected", index);
    if (pk_json_kind_of(list) != PK_JSON_ARRAY || count > UINT32_MAX)
        return pk_fail(PK_CORRUPT, "sequence %zu is %s, a list of token ids was expected", index,
                       pk_json_show(shown, list));
    if (!(out->ids = malloc(count * sizeof *out->ids)))
        return pk_fail(PK_NOMEM, "%zu token ids", count);
    out->count = (uint32_t)count;
    for (size_t i = 0; i < count; i++) {
        int64_t id = -1;
        const pk_json *item = pk_json_item(list, i);
        if (!pk_json_integer(item, &id) || id < 0 || (uint64_t)id >= vocab)
            return pk_fail(PK_CORRUPT, "sequence %zu, token %zu is %s, an id below %zu was expected", index, i,
                           pk_json_show(shown, item), vocab);
        out->ids[i] = (int32_t)id;
    }
    return PK_OK;
}

static pk_err read_lists(pk_id_lists *out, const pk_json *root, size_t vocab)
{
    size_t count = pk_json_count(root);
    pk_err err = PK_OK;
    if (pk_json_kind_of(root) != PK_JSON_ARRAY || count == 0)
        return pk_fail(PK_CORRUPT, "a list of lists of token ids, [[1, 2, 3], …], was expected");
    if (!(out->lists = calloc(count, sizeof *out->lists)))
        return pk_fail(PK_NOMEM, "%zu sequences", count);
    out->count = count;
    for (size_t i = 0; !err && i < count; i++)
        err = read_list(&out->lists[i], pk_json_item(root, i), i, vocab);
    return err;
}

pk_err pk_ids_file_read(pk_id_lists *out, const char *path, size_t vocab)
{
    char *text = NULL;
    size_t bytes = 0;
    pk_json *root = NULL;
    *out = (pk_id_lists){0};
    pk_err err = pk_file_read_all(&text, &bytes, path, PK_IDS_FILE_BYTES);
    if (!err)
        err = pk_json_open(&root, text, bytes, PK_IDS_FILE_IDS);
    if (!err)
        err = read_lists(out, root, vocab);
    pk_json_close(&root);
    free(text);
    if (err)
        pk_id_lists_fini(out);
    return pk_pass(err, "%s", path);
}

void pk_id_lists_fini(pk_id_lists *lists)
{
    for (size_t i = 0; i < lists->count; i++)
        free(lists->lists[i].ids);
    free(lists->lists);
    *lists = (pk_id_lists){0};
}
