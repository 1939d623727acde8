#include "stages/tokenizer/tokenizer.h"

#include "stages/tokenizer/format.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

pk_err pk_tokenizer_open(pk_tokenizer **out, const char *path)
{
    pk_tokenizer *self = calloc(1, sizeof *self);
    if (!self)
        return pk_fail(PK_NOMEM, "no memory for a tokenizer");
    pk_err err = pk_tokenizer_format_read(self, path);
    if (err)
        pk_tokenizer_close(&self);
    *out = self;
    return err;
}

void pk_tokenizer_close(pk_tokenizer **tokenizer)
{
    pk_tokenizer *self = *tokenizer;
    if (!self)
        return;
    pk_vocabulary_fini(&self->vocabulary);
    pk_merges_fini(&self->merges);
    pk_pretokenizer_fini(&self->pretokenizer);
    pk_ids_fini(&self->added);
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
    size_t wanted = strlen(content), bytes;
    for (size_t i = 0; i < tokenizer->added.count; i++) {
        const void *text = pk_tokenizer_bytes(tokenizer, tokenizer->added.ids[i], &bytes);
        if (bytes == wanted && memcmp(text, content, wanted) == 0)
            return tokenizer->added.ids[i];
    }
    return -1;
}

const int32_t *pk_tokenizer_eos(const pk_tokenizer *tokenizer, size_t *count)
{
    *count = tokenizer->eos.count;
    return tokenizer->eos.ids;
}

typedef struct {
    const pk_tokenizer *tokenizer;
    pk_merge_scratch scratch;
    pk_ids *out;
} encoding;

static pk_err encode_piece(void *context, const char *piece, size_t bytes)
{
    encoding *self = context;
    if (bytes > PK_TOKENIZER_PIECE_BYTES)
        return pk_fail(PK_NOMEM, "a run of %zu bytes that the pre-tokenizer cannot cut, at most %d are supported",
                       bytes, PK_TOKENIZER_PIECE_BYTES);
    return pk_merges_apply(&self->tokenizer->merges, &self->tokenizer->vocabulary, &self->scratch, piece, bytes,
                           self->out);
}

pk_err pk_tokenizer_encode(const pk_tokenizer *tokenizer, const void *text, size_t bytes, pk_ids *out)
{
    encoding self = {.tokenizer = tokenizer, .out = out};
    size_t before = out->count, bad_offset;
    if (bytes > PK_TOKENIZER_TEXT_BYTES)
        return pk_fail(PK_INVALID, "a text of %zu bytes, at most %d are supported", bytes, PK_TOKENIZER_TEXT_BYTES);
    if (!pk_utf8_check(text, bytes, &bad_offset))
        return pk_fail(PK_CORRUPT, "not UTF-8 at byte %zu", bad_offset);
    pk_err err = pk_pretokenizer_run(&tokenizer->pretokenizer, text, bytes, encode_piece, &self);
    if (err)
        out->count = before;
    pk_merge_scratch_fini(&self.scratch);
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
