#include "stages/tokenizer/tokenizer.h"

#include "stages/tokenizer/files.h"
#include "stages/tokenizer/format.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* Fills a new tokenizer from `text`, or from `path` without one. */
static pk_err open_from(pk_tokenizer **out, const char *path, const char *text, size_t bytes)
{
    pk_tokenizer *self = calloc(1, sizeof *self);
    if (!self)
        return pk_fail(PK_NOMEM, "no memory for a tokenizer");
    pk_err err = text ? pk_tokenizer_format_read(self, text, bytes) : pk_tokenizer_files_read(self, path);
    if (err)
        pk_tokenizer_close(&self);
    *out = self;
    return err;
}

pk_err pk_tokenizer_open(pk_tokenizer **out, const char *path)
{
    return open_from(out, path, NULL, 0);
}

pk_err pk_tokenizer_open_text(pk_tokenizer **out, const char *text, size_t bytes)
{
    return open_from(out, NULL, text, bytes);
}

const char *pk_tokenizer_assumed(const pk_tokenizer *tokenizer)
{
    return tokenizer->assumed;
}

void pk_tokenizer_close(pk_tokenizer **tokenizer)
{
    pk_tokenizer *self = *tokenizer;
    if (!self)
        return;
    pk_vocabulary_fini(&self->vocabulary);
    pk_merges_fini(&self->merges);
    pk_pretokenizer_fini(&self->pretokenizer);
    pk_added_tokens_fini(&self->added);
    pk_ids_fini(&self->eos);
    free(self);
    *tokenizer = NULL;
}

size_t pk_tokenizer_count(const pk_tokenizer *tokenizer)
{
    return tokenizer->vocabulary.count;
}

const void *pk_tokenizer_bytes(const pk_tokenizer *tokenizer, int32_t id, size_t *bytes)
{
    const pk_token *token = pk_vocabulary_at(&tokenizer->vocabulary, id);
    *bytes = token ? token->bytes : 0;
    return token ? pk_vocabulary_bytes(&tokenizer->vocabulary, token) : NULL;
}

bool pk_tokenizer_is_special(const pk_tokenizer *tokenizer, int32_t id)
{
    const pk_token *token = pk_vocabulary_at(&tokenizer->vocabulary, id);
    return token && (token->flags & PK_TOKEN_SPECIAL);
}

int32_t pk_tokenizer_added_id(const pk_tokenizer *tokenizer, const char *content)
{
    /* Most are in the vocabulary as what they are; one that is spelled in the byte alphabet may be there as a word. */
    for (int mergeable = 0; mergeable < 2; mergeable++) {
        int32_t id = pk_vocabulary_find(&tokenizer->vocabulary, content, strlen(content), mergeable);
        const pk_token *token = pk_vocabulary_at(&tokenizer->vocabulary, id);
        if (token && (token->flags & PK_TOKEN_ADDED))
            return id;
    }
    return -1;
}

const int32_t *pk_tokenizer_eos(const pk_tokenizer *tokenizer, size_t *count)
{
    *count = tokenizer->eos.count;
    return tokenizer->eos.ids;
}

pk_err pk_tokenizer_encode(const pk_tokenizer *tokenizer, const void *text, size_t bytes, pk_ids *out)
{
    pk_encoder *encoder = NULL;
    pk_err err = pk_encoder_open(&encoder, tokenizer);
    if (!err)
        err = pk_encoder_run(encoder, PK_ADDED_NONE, text, bytes, out);
    pk_encoder_close(&encoder);
    return err;
}

static pk_err decode_one(const pk_tokenizer *tokenizer, pk_detokenizer *state, int32_t id, pk_text *out)
{
    size_t bytes;
    const void *token = pk_tokenizer_bytes(tokenizer, id, &bytes);
    if (bytes == 0 || (!state->keep_special && pk_tokenizer_is_special(tokenizer, id)))
        return PK_OK;
    pk_err err = pk_text_reserve(out, PK_UTF8_STREAM_ROOM(bytes));
    if (!err)
        out->count += pk_utf8_stream_push(&state->stream, token, bytes, out->bytes + out->count);
    return err;
}

pk_err pk_tokenizer_decode(const pk_tokenizer *tokenizer, pk_detokenizer *state, const int32_t *ids, size_t count,
                           pk_text *out)
{
    pk_err err = PK_OK;
    for (size_t i = 0; i < count && !err; i++) {
        if (ids[i] < 0)
            return pk_fail(PK_INVALID, "id %d at %zu is negative", ids[i], i);
        err = decode_one(tokenizer, state, ids[i], out);
    }
    return err;
}

pk_err pk_tokenizer_decode_end(pk_detokenizer *state, pk_text *out)
{
    pk_err err = pk_text_reserve(out, PK_UTF8_STREAM_ROOM(0));
    if (!err)
        out->count += pk_utf8_stream_end(&state->stream, out->bytes + out->count);
    return err;
}
