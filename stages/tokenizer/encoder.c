/* The way of a text: added tokens are found and cut out, what is left is cut into pieces, a piece is looked up among
 * the words met before, and merged when it is not there. */
#include "stages/tokenizer/format.h"
#include "stages/tokenizer/word_cache.h"

#include <stdlib.h>

/* A word is asked for some words after its place is known: memory answers meanwhile, and the text is cut further. */
enum { WAITING = 16, PROGRESS_PIECES = 1024 };

/* Merging a piece takes up to 20 bytes for each of its own. What a longer one took goes with its text: a single
 * document of one run of base64 would hold gigabytes as long as the encoder lives. */
enum { KEPT_PIECE_BYTES = 1 << 20 };

typedef struct {
    pk_word_key key;
    pk_word *place;
} waiting_word;

struct pk_encoder {
    const pk_tokenizer *tokenizer;
    pk_word_cache words;
    waiting_word waiting[WAITING]; /* a ring */
    size_t first, count;
    pk_merge_scratch scratch; /* its progress is ours too */
    uint32_t pieces;
    pk_ids *out; /* of the run at hand */
    pk_added added;
};

pk_err pk_encoder_open(pk_encoder **out, const pk_tokenizer *tokenizer)
{
    pk_encoder *self = calloc(1, sizeof *self);
    if (!self)
        return pk_fail(PK_NOMEM, "no memory for an encoder");
    self->tokenizer = tokenizer;
    pk_err err = pk_word_cache_init(&self->words);
    if (err)
        pk_encoder_close(&self);
    *out = self;
    return err;
}

void pk_encoder_close(pk_encoder **encoder)
{
    pk_encoder *self = *encoder;
    if (!self)
        return;
    pk_word_cache_fini(&self->words);
    pk_merge_scratch_fini(&self->scratch);
    free(self);
    *encoder = NULL;
}

void pk_encoder_watch(pk_encoder *encoder, _Atomic uint64_t *progress)
{
    encoder->scratch.progress = progress;
}

/* The token that is the whole piece, for models that ask for it first; special ones are not text. */
static int32_t whole_token(const pk_tokenizer *tokenizer, pk_piece piece)
{
    int32_t id = pk_vocabulary_find(&tokenizer->vocabulary, piece.text, piece.bytes, true);
    return id >= 0 && !(tokenizer->vocabulary.tokens[id].flags & PK_TOKEN_SPECIAL) ? id : -1;
}

static pk_err merge(pk_encoder *self, pk_piece piece)
{
    const pk_tokenizer *tokenizer = self->tokenizer;
    int32_t whole = tokenizer->ignore_merges ? whole_token(tokenizer, piece) : -1;
    if (whole >= 0)
        return pk_ids_append(self->out, whole);
    if (piece.bytes > PK_TOKENIZER_PIECE_BYTES)
        return pk_fail(PK_NOMEM, "a run of %zu bytes that the pre-tokenizer cannot cut, at most %d are supported",
                       piece.bytes, PK_TOKENIZER_PIECE_BYTES);
    return pk_merges_apply(&tokenizer->merges, &tokenizer->vocabulary, &self->scratch, piece.text, piece.bytes,
                           self->out);
}

/* Merges a word that is not in the cache, and puts it there unless it became too many tokens. */
static pk_err merge_word(pk_encoder *self, const waiting_word *waiting)
{
    size_t before = self->out->count;
    const char *text = (const char *)waiting->key.bytes;
    pk_err err = merge(self, (pk_piece){text, waiting->key.count, sizeof waiting->key.bytes});
    size_t count = self->out->count - before;
    if (err || count > PK_WORD_IDS)
        return err;
    pk_word word = {.byte_count = (uint16_t)waiting->key.count, .id_count = (uint16_t)count};
    memcpy(word.bytes, waiting->key.bytes, sizeof word.bytes);
    memcpy(word.ids, self->out->ids + before, count * sizeof *word.ids);
    *waiting->place = word;
    return PK_OK;
}

/* Appends the ids of the word that has waited longest. */
static pk_err encode_waiting(pk_encoder *self)
{
    const waiting_word *waiting = &self->waiting[self->first++ % WAITING];
    const pk_word *word = waiting->place;
    self->count--;
    if (!pk_word_has_key(word, &waiting->key))
        return merge_word(self, waiting);
    pk_err err = pk_ids_reserve(self->out, PK_WORD_IDS);
    if (err)
        return err;
    memcpy(self->out->ids + self->out->count, word->ids, sizeof word->ids); /* all: a fixed size is cheaper */
    self->out->count += word->id_count;
    return PK_OK;
}

static pk_err encode_all_waiting(pk_encoder *self)
{
    pk_err err = PK_OK;
    while (self->count > 0 && !err)
        err = encode_waiting(self);
    return err;
}

static pk_err encode_piece(void *context, pk_piece piece)
{
    pk_encoder *self = context;
    pk_err err = PK_OK;
    if (++self->pieces % PROGRESS_PIECES == 0 && self->scratch.progress)
        atomic_fetch_add(self->scratch.progress, 1);
    if (piece.bytes > PK_WORD_BYTES)
        return (err = encode_all_waiting(self)) ? err : merge(self, piece);
    if (self->count == WAITING)
        err = encode_waiting(self);
    waiting_word *waiting = &self->waiting[(self->first + self->count++) % WAITING];
    waiting->key = pk_word_key_of(piece.text, piece.bytes, piece.readable);
    waiting->place = pk_word_cache_place(&self->words, &waiting->key);
    return err;
}

static pk_err encode_plain(pk_encoder *self, const char *text, size_t bytes)
{
    pk_err err = pk_pretokenizer_run(&self->tokenizer->pretokenizer, text, bytes, encode_piece, self);
    return err ? err : encode_all_waiting(self);
}

/* Text in which the sets of added tokens before `set` have been looked for. */
static pk_err encode_text(pk_encoder *self, size_t set, const char *text, size_t bytes)
{
    const pk_tokenizer *tokenizer = self->tokenizer;
    pk_added_search search = {.text = text, .bytes = bytes};
    size_t start, end, done = 0;
    int32_t id;
    pk_err err;
    if (bytes == 0)
        return PK_OK;
    if (set == PK_ADDED_SETS || self->added == PK_ADDED_NONE)
        return encode_plain(self, text, bytes);
    while (!(err = pk_added_tokens_next(&tokenizer->added, set, &tokenizer->vocabulary, self->added == PK_ADDED_ALL,
                                        &search, &start, &end, &id))) {
        if (done < start && (err = encode_text(self, set + 1, text + done, start - done)))
            return err;
        if ((err = pk_ids_append(self->out, id)))
            return err;
        done = end;
    }
    return err == PK_AGAIN ? encode_text(self, set + 1, text + done, bytes - done) : err;
}

pk_err pk_encoder_run(pk_encoder *encoder, pk_added added, const void *text, size_t bytes, pk_ids *out)
{
    size_t before = out->count, bad_offset;
    if (bytes > PK_TOKENIZER_TEXT_BYTES)
        return pk_fail(PK_INVALID, "a text of %zu bytes, at most %d are supported", bytes, PK_TOKENIZER_TEXT_BYTES);
    if (!pk_utf8_check(text, bytes, &bad_offset))
        return pk_fail(PK_CORRUPT, "not UTF-8 at byte %zu", bad_offset);
    encoder->out = out;
    encoder->added = added;
    encoder->count = 0;
    pk_err err = encode_text(encoder, 0, text, bytes);
    if (encoder->scratch.bytes > KEPT_PIECE_BYTES)
        pk_merge_scratch_fini(&encoder->scratch);
    if (err)
        out->count = before;
    return err;
}
