/* The growable vectors of tokenizer.h: capacity doubles, so that appending is linear. */
#include "stages/tokenizer/tokenizer.h"

#include <stdlib.h>
#include <string.h>

/* Makes room for `more` elements of `size` bytes behind `count`. */
static pk_err reserve(void **memory, size_t *capacity, size_t count, size_t more, size_t size)
{
    if (more <= *capacity - count)
        return PK_OK;
    size_t wanted = *capacity < 64 ? 64 : *capacity;
    if (more > SIZE_MAX / 4 / size || count > SIZE_MAX / 4 / size)
        return pk_fail(PK_NOMEM, "a vector of %zu + %zu elements is more than memory can hold", count, more);
    while (wanted < count + more)
        wanted *= 2;
    void *grown = realloc(*memory, wanted * size);
    if (!grown)
        return pk_fail(PK_NOMEM, "no memory for a vector of %zu bytes", wanted * size);
    *memory = grown;
    *capacity = wanted;
    return PK_OK;
}

pk_err pk_ids_reserve(pk_ids *ids, size_t more)
{
    if (more <= ids->capacity - ids->count)
        return PK_OK;
    void *memory = ids->ids;
    pk_err err = reserve(&memory, &ids->capacity, ids->count, more, sizeof *ids->ids);
    ids->ids = memory;
    return err;
}

pk_err pk_ids_append(pk_ids *ids, int32_t id)
{
    pk_err err = pk_ids_reserve(ids, 1);
    if (!err)
        ids->ids[ids->count++] = id;
    return err;
}

pk_err pk_text_reserve(pk_text *text, size_t more)
{
    void *memory = text->bytes;
    pk_err err = reserve(&memory, &text->capacity, text->count, more, 1);
    text->bytes = memory;
    return err;
}

pk_err pk_text_append(pk_text *text, const void *bytes, size_t count)
{
    pk_err err = pk_text_reserve(text, count);
    if (err || count == 0)
        return err;
    memcpy(text->bytes + text->count, bytes, count);
    text->count += count;
    return PK_OK;
}

void pk_ids_fini(pk_ids *ids)
{
    free(ids->ids);
    *ids = (pk_ids){0};
}

void pk_text_fini(pk_text *text)
{
    free(text->bytes);
    *text = (pk_text){0};
}
