/* Without a tokenizer.json two things are nowhere said, and are assumed (pk_tokenizer_assumed says so):
 *
 * - the pre-tokenizer's pattern. Merges never reach over the cuts that they were trained with, so the tokens know it:
 * of the usual patterns the one that cuts the fewest of them is taken.
 * - without a vocab.json also the ids: a byte's is its value, a merge's is 256 + its place. That is how the vocabulary
 * of MiniMax-M2, which begins with the same merges, counts (docs/model.md, section 7). */
#include "stages/tokenizer/files.h"

#include "loader/file.h"
#include "stages/tokenizer/character.h"
#include "stages/tokenizer/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    CONFIG_BYTES = 16 << 20, /* large ones list every added token again: about 200 KB */
    CONFIG_VALUES = 1 << 18,
    M1_MERGES = 199744, /* of MiniMax-M1, whose first special ids are known only from elsewhere */
    M1_BOS = 200019,
    M1_EOS = 200020,
};

typedef struct {
    pk_tokenizer *tokenizer;
    char *folder;    /* with its '/', or "" */
    pk_json *config; /* tokenizer_config.json, or NULL */
} reading;

static pk_err join(const reading *self, const char *name, char **out)
{
    return asprintf(out, "%s%s", self->folder, name) < 0 ? pk_fail(PK_NOMEM, "no memory for a path") : PK_OK;
}

static bool exists(const reading *self, const char *name)
{
    char *path = NULL;
    bool found = !join(self, name, &path) && access(path, F_OK) == 0;
    free(path);
    return found;
}

/* Reads a file of the folder and gives its text to `read`; its errors name the file. */
static pk_err with_file(reading *self, const char *name, size_t bytes_max, pk_err (*read)(reading *, pk_view))
{
    char *path = NULL, *text = NULL;
    size_t bytes = 0;
    pk_err err = join(self, name, &path);
    if (err)
        return err;
    err = pk_file_read_all(&text, &bytes, path, bytes_max);
    if (!err)
        err = pk_pass(read(self, (pk_view){text, bytes}), "%s", path);
    free(text);
    free(path);
    return err;
}

static pk_err read_whole(reading *self, pk_view text)
{
    return pk_tokenizer_format_read(self->tokenizer, text.text, text.bytes);
}

static pk_err read_vocab(reading *self, pk_view text)
{
    pk_scan scan = {.text = text.text, .bytes = text.bytes};
    pk_err err = pk_model_read_vocab(self->tokenizer, &scan);
    if (!err)
        err = pk_scan_end(&scan);
    pk_text_fini(&scan.unescaped);
    return err ? err : pk_model_find_bytes(self->tokenizer);
}

static pk_err read_merges(reading *self, pk_view text)
{
    return pk_model_read_lines(self->tokenizer, text, true);
}

static pk_err read_merges_alone(reading *self, pk_view text)
{
    for (int32_t byte = 0; byte < 256; byte++) {
        self->tokenizer->merges.byte_ids[byte] = byte;
        pk_err err = pk_vocabulary_put(&self->tokenizer->vocabulary, byte, &(char){(char)byte}, 1, PK_TOKEN_MERGEABLE);
        if (err)
            return err;
    }
    return pk_model_read_lines(self->tokenizer, text, false);
}

static pk_err read_config(reading *self, pk_view text)
{
    pk_err err = pk_json_open(&self->config, text.text, text.bytes, CONFIG_VALUES);
    if (!err && pk_json_kind_of(self->config) != PK_JSON_OBJECT)
        err = pk_fail(PK_CORRUPT, "expected a JSON object");
    return err;
}

/* Whether the pattern leaves this token whole. Tokens that are no whole characters are left out: nothing cuts there. */
static bool cuts(pk_cutter cutter, const uint8_t *classes, pk_view token)
{
    pk_cut_text text = {classes, (const unsigned char *)token.text, token.bytes};
    return pk_utf8_check(token.text, token.bytes, NULL) && cutter(&text, 0) < token.bytes;
}

static size_t count_cuts(const pk_tokenizer *tokenizer, pk_cutter cutter)
{
    const pk_vocabulary *vocabulary = &tokenizer->vocabulary;
    size_t count = 0;
    for (size_t id = 0; id < vocabulary->count; id++) {
        const pk_token *token = pk_vocabulary_at(vocabulary, (int64_t)id);
        if (token && (token->flags & PK_TOKEN_MERGEABLE) && !(token->flags & PK_TOKEN_ADDED))
            count += cuts(cutter, tokenizer->pretokenizer.classes,
                          (pk_view){pk_vocabulary_bytes(vocabulary, token), token->bytes});
    }
    return count;
}

/* Chooses among the usual patterns, GPT-2's first. Appends to the line of what is assumed. */
static pk_err choose_pattern(pk_tokenizer *tokenizer)
{
    pk_pretokenizer *pretokenizer = &tokenizer->pretokenizer;
    size_t best = 0, fewest = SIZE_MAX;
    pk_err err = pk_character_classes(&pretokenizer->classes);
    if (err)
        return err;
    for (size_t i = 0; pk_cutter_pattern(i); i++) {
        size_t count = count_cuts(tokenizer, pk_cutter_for(pk_cutter_pattern(i)));
        best = count < fewest ? i : best;
        fewest = count < fewest ? count : fewest;
    }
    pretokenizer->steps[0] = (pk_pretokenizer_step){.keep_matches = true, .keep_gaps = true};
    pretokenizer->step_count = 1;
    size_t length = strlen(tokenizer->assumed);
    snprintf(tokenizer->assumed + length, sizeof tokenizer->assumed - length,
             "; pattern: %s, which cuts %zu of %zu tokens", pk_cutter_name(best), fewest, tokenizer->vocabulary.count);
    return pk_pretokenizer_set_pattern(pretokenizer, &pretokenizer->steps[0], pk_cutter_pattern(best));
}

/* The text of a token that the config names: a text, or an object with the text as content. NULL: none. */
static const char *named_token(const reading *self, const char *key)
{
    const pk_json *value = self->config ? pk_json_member(self->config, key) : NULL;
    if (value && pk_json_kind_of(value) == PK_JSON_OBJECT)
        value = pk_json_member(value, "content");
    return value ? pk_json_string(value) : NULL;
}

/* Makes a token special, which the vocabulary has already or, with an id, gets. */
static pk_err put_special(pk_tokenizer *tokenizer, const char *content, int32_t id)
{
    pk_vocabulary *vocabulary = &tokenizer->vocabulary;
    int32_t listed = pk_vocabulary_find(vocabulary, content, strlen(content), true);
    if (listed < 0)
        listed = pk_vocabulary_find(vocabulary, content, strlen(content), false);
    if ((listed < 0 && id < 0) || (listed >= 0 && (vocabulary->tokens[listed].flags & PK_TOKEN_ADDED)))
        return PK_OK;
    pk_err err = listed < 0 ? pk_vocabulary_put(vocabulary, id, content, strlen(content), 0) : PK_OK;
    if (err)
        return err;
    listed = listed < 0 ? id : listed;
    pk_vocabulary_mark(vocabulary, listed, PK_TOKEN_ADDED | PK_TOKEN_SPECIAL);
    return pk_added_tokens_put(&tokenizer->added, (pk_added_token){.id = listed});
}

/* "added_tokens_decoder": {"200019": {"content": …}, …}. */
static pk_err read_added_decoder(reading *self)
{
    const pk_json *decoder = self->config ? pk_json_member(self->config, "added_tokens_decoder") : NULL, *value;
    const char *key;
    pk_err err = PK_OK;
    if (!decoder || pk_json_kind_of(decoder) != PK_JSON_OBJECT)
        return PK_OK;
    for (void *at = NULL; !err && pk_json_next(decoder, &at, &key, &value);) {
        char *end = NULL;
        long id = strtol(key, &end, 10);
        bool is_id = *key >= '0' && *key <= '9' && !*end && id < PK_TOKENIZER_IDS;
        err = pk_tokenizer_format_added(self->tokenizer, value, is_id ? (int32_t)id : -1);
    }
    return pk_pass(err, "tokenizer_config.json: \"added_tokens_decoder\"");
}

static const char *const eos_names[] = {"<end_of_sentence>", "<|endoftext|>", "<|im_end|>", "</s>", "<eos>", NULL};

/* What the config or custom calls special, among the tokens of a vocabulary that does not say. */
static pk_err find_specials(reading *self)
{
    static const char *const keys[] = {"bos_token", "eos_token", "unk_token", "pad_token", NULL};
    pk_err err = read_added_decoder(self);
    for (const char *const *key = keys; *key && !err; key++) {
        const char *name = named_token(self, *key);
        err = name && *name && strlen(name) <= PK_ADDED_BYTES ? put_special(self->tokenizer, name, -1) : PK_OK;
    }
    for (const char *const *name = eos_names; *name && !err; name++)
        err = put_special(self->tokenizer, *name, -1);
    return err;
}

/* After merges and added tokens. */
static pk_err check_merges(const reading *self)
{
    return pk_pass(pk_model_check_merges(self->tokenizer), "%smerges.txt", self->folder);
}

static pk_err read_vocab_and_merges(reading *self)
{
    pk_err err = with_file(self, "vocab.json", PK_TOKENIZER_FILE_BYTES, read_vocab);
    if (!err)
        err = find_specials(self);
    if (!err)
        err = with_file(self, "merges.txt", PK_TOKENIZER_FILE_BYTES, read_merges);
    if (!err)
        err = check_merges(self);
    snprintf(self->tokenizer->assumed, sizeof self->tokenizer->assumed,
             "from vocab.json and merges.txt, without tokenizer.json");
    if (!err)
        err = choose_pattern(self->tokenizer);
    pk_added_tokens_finish(&self->tokenizer->added, &self->tokenizer->vocabulary);
    return err;
}

static pk_err read_only_merges(reading *self)
{
    pk_tokenizer *tokenizer = self->tokenizer;
    pk_err err = with_file(self, "merges.txt", PK_TOKENIZER_FILE_BYTES, read_merges_alone);
    if (err)
        return err;
    bool is_m1 = tokenizer->vocabulary.count == 256 + M1_MERGES;
    snprintf(tokenizer->assumed, sizeof tokenizer->assumed,
             "from merges.txt alone; ids: a byte's is its value, a merge's 256 + its place%s",
             is_m1 ? ", <beginning_of_sentence> 200019, <end_of_sentence> 200020" : "");
    err = choose_pattern(tokenizer);
    if (!err)
        err = read_added_decoder(self);
    if (!err && is_m1)
        err = put_special(tokenizer, "<beginning_of_sentence>", M1_BOS);
    if (!err && is_m1)
        err = put_special(tokenizer, "<end_of_sentence>", M1_EOS);
    if (!err)
        err = check_merges(self);
    pk_added_tokens_finish(&tokenizer->added, &tokenizer->vocabulary);
    return err;
}

/* The id that ends an answer where no configuration names it. */
static pk_err guess_eos(pk_tokenizer *tokenizer)
{
    for (const char *const *name = eos_names; *name; name++) {
        int32_t id = pk_tokenizer_added_id(tokenizer, *name);
        if (id >= 0)
            return pk_ids_append(&tokenizer->eos, id);
    }
    return PK_OK;
}

static pk_err find_eos(reading *self)
{
    const pk_json *eos = self->config ? pk_json_member(self->config, "eos_token") : NULL;
    if (!eos || pk_json_kind_of(eos) == PK_JSON_NULL)
        return guess_eos(self->tokenizer);
    const char *name = named_token(self, "eos_token");
    if (!name)
        return pk_fail(PK_CORRUPT, "%stokenizer_config.json: \"eos_token\": expected a text", self->folder);
    int32_t id = pk_tokenizer_added_id(self->tokenizer, name);
    if (id < 0)
        return pk_fail(PK_CORRUPT,
                       "%stokenizer_config.json: eos_token \"%.64s\" is none of the tokenizer's added tokens",
                       self->folder, name);
    return pk_ids_append(&self->tokenizer->eos, id);
}

static pk_err read_folder(reading *self, const char *name)
{
    pk_err err = PK_OK;
    if (exists(self, "tokenizer_config.json"))
        err = with_file(self, "tokenizer_config.json", CONFIG_BYTES, read_config);
    if (err)
        return err;
    if (name || exists(self, "tokenizer.json"))
        err = with_file(self, name ? name : "tokenizer.json", PK_TOKENIZER_FILE_BYTES, read_whole);
    else if (exists(self, "vocab.json"))
        err = read_vocab_and_merges(self);
    else if (exists(self, "merges.txt"))
        err = read_only_merges(self);
    else
        err = pk_fail(PK_IO, "%s: has no tokenizer.json, no vocab.json, no merges.txt; expected the first, or both others", self->folder);
    return err ? err : find_eos(self);
}

pk_err pk_tokenizer_files_read(pk_tokenizer *tokenizer, const char *path)
{
    struct stat about;
    bool is_folder = stat(path, &about) == 0 && S_ISDIR(about.st_mode);
    const char *slash = strrchr(path, '/');
    const char *name = is_folder ? NULL : slash ? slash + 1 : path;
    int folder = name ? (int)(name - path) : (int)strlen(path);
    reading self = {.tokenizer = tokenizer};
    if (asprintf(&self.folder, "%.*s%s", folder, path, is_folder ? "/" : "") < 0)
        return pk_fail(PK_NOMEM, "no memory for a path");
    pk_err err = read_folder(&self, name);
    pk_json_close(&self.config);
    free(self.folder);
    pk_text_fini(&tokenizer->spelled);
    return err;
}
