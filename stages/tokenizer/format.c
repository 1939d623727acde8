/* A tokenizer.json is gone over once: small members become trees (loader/json.h), vocabulary and merges are read as
 * they come. Only where the merges stand before the vocabulary, as no known writer puts them, is their place
 * remembered. */
#include "stages/tokenizer/format.h"

#include "stages/tokenizer/byte_alphabet.h"
#include "stages/tokenizer/format_pretokenizer.h"
#include "stages/tokenizer/model.h"

#include <string.h>

enum { TREE_VALUES = 1 << 18 }; /* in one small member; added tokens, 9 values each, are the longest: some thousands */

/* A member of an object: its tree, or the members that it has itself, or the large one that it is. */
typedef struct member {
    const char *name;
    enum { TREE, OBJECT, TOKENS, PAIRS } kind;
    struct member *members; /* of an OBJECT; its last has no name */
    bool found;
    pk_json *tree;
    size_t start, end; /* of PAIRS that wait for their tokens */
} member;

enum { VERSION, TRUNCATION, PADDING, ADDED_TOKENS, NORMALIZER, PRE_TOKENIZER, POST_PROCESSOR, DECODER, MODEL };
enum { TYPE, DROPOUT, UNK, FUSE_UNK, IGNORE_MERGES, PREFIX, BYTE_FALLBACK, SUFFIX, VOCAB, MERGES };

static pk_err read_members(pk_tokenizer *tokenizer, pk_scan *scan, member *members);

static pk_err read_tokens(pk_tokenizer *tokenizer, pk_scan *scan)
{
    pk_err err = pk_model_read_vocab(tokenizer, scan);
    return err ? err : pk_model_find_bytes(tokenizer);
}

static pk_err read_pairs(pk_tokenizer *tokenizer, pk_scan *scan, member *self)
{
    pk_view text;
    if (tokenizer->vocabulary.count > 0)
        return pk_model_read_merges(tokenizer, scan);
    pk_err err = pk_scan_skip(scan, &text);
    self->end = scan->at;
    self->start = err ? 0 : scan->at - text.bytes;
    return err;
}

static pk_err read_tree(pk_scan *scan, member *self)
{
    pk_view text;
    pk_err err = pk_scan_skip(scan, &text);
    return err ? err
               : pk_pass(pk_json_open(&self->tree, text.text, text.bytes, TREE_VALUES), "at byte %zu",
                         scan->at - text.bytes);
}

static pk_err read_member(pk_tokenizer *tokenizer, pk_scan *scan, member *self)
{
    if (self->found)
        return pk_fail(PK_CORRUPT, "duplicate");
    self->found = true;
    switch (self->kind) {
    case OBJECT:
        return read_members(tokenizer, scan, self->members);
    case TOKENS:
        return read_tokens(tokenizer, scan);
    case PAIRS:
        return read_pairs(tokenizer, scan, self);
    case TREE:
        break;
    }
    return read_tree(scan, self);
}

/* Refuses what is not among `members`: what we do not know, we cannot leave out. */
static pk_err read_members(pk_tokenizer *tokenizer, pk_scan *scan, member *members)
{
    pk_err err = pk_scan_expect(scan, '{');
    bool more = !err && !pk_scan_takes(scan, '}');
    while (more && !err) {
        pk_view name;
        member *at = members;
        if ((err = pk_scan_string(scan, &name)) || (err = pk_scan_expect(scan, ':')))
            break;
        while (at->name && (strlen(at->name) != name.bytes || memcmp(at->name, name.text, name.bytes) != 0))
            at++;
        if (!at->name)
            return pk_fail(PK_INVALID, "\"%.*s\" is not supported", (int)(name.bytes < 64 ? name.bytes : 64),
                           name.text);
        if (!(err = pk_pass(read_member(tokenizer, scan, at), "\"%s\"", at->name)))
            err = pk_scan_more(scan, '}', &more);
    }
    return err;
}

static void close_members(member *members)
{
    for (; members->name; members++) {
        pk_json_close(&members->tree);
        if (members->kind == OBJECT)
            close_members(members->members);
    }
}

/* Refuses any value of this member but null, false, 0 and "": the ways in which a file says that it asks for nothing.
 */
static pk_err check_unused(const member *self)
{
    double number;
    const char *text;
    const pk_json *value = self->tree;
    if (!value || pk_json_kind_of(value) == PK_JSON_NULL || pk_json_kind_of(value) == PK_JSON_FALSE ||
        (pk_json_number(value, &number) && number == 0) || ((text = pk_json_string(value)) && !*text))
        return PK_OK;
    const char *type = pk_format_type(value);
    return pk_fail(PK_INVALID, "\"%s\" is not supported%s%s", self->name, *type ? ": " : "", type);
}

static pk_err check_all_unused(const member *members, const int *which, size_t count)
{
    pk_err err = PK_OK;
    for (size_t i = 0; i < count && !err; i++)
        err = check_unused(&members[which[i]]);
    return err;
}

/* A file of the first years names no type: it is BPE when it has merges. */
static pk_err check_model(pk_tokenizer *self, const member *model)
{
    static const int unused[] = {DROPOUT, PREFIX, SUFFIX, BYTE_FALLBACK};
    const char *type = model[TYPE].tree ? pk_json_string(model[TYPE].tree) : NULL;
    const pk_json *ignore = model[IGNORE_MERGES].tree;
    if ((type || !model[MERGES].found) && strcmp(type ? type : "", "BPE") != 0)
        return pk_fail(PK_INVALID, "type \"%s\" is not supported, only BPE", type ? type : "");
    if (!model[VOCAB].found || !model[MERGES].found)
        return pk_fail(PK_CORRUPT, "expected \"vocab\" and \"merges\"");
    if (ignore && pk_json_kind_of(ignore) != PK_JSON_TRUE && pk_json_kind_of(ignore) != PK_JSON_FALSE)
        return pk_fail(PK_CORRUPT, "\"ignore_merges\": expected true or false");
    self->ignore_merges = ignore && pk_json_kind_of(ignore) == PK_JSON_TRUE;
    return check_all_unused(model, unused, sizeof unused / sizeof *unused);
}

/* The id that the vocabulary has under this spelling, or -1. *others: there it stands for other bytes, as the byte
 * alphabet has it. What merely stands for this text, such as "Ġ" for a blank, is another token. */
static int32_t listed_id(const pk_tokenizer *self, const char *content, bool *others)
{
    unsigned char bytes[PK_ADDED_BYTES];
    size_t count, length = strlen(content);
    int32_t id = pk_byte_alphabet_read(content, length, bytes, &count)
                     ? pk_vocabulary_find(&self->vocabulary, bytes, count, true)
                     : -1;
    *others = id >= 0 && (count != length || memcmp(bytes, content, count) != 0);
    return id >= 0 ? id : pk_vocabulary_find(&self->vocabulary, content, length, false);
}

/* Puts the flags on the token that the vocabulary has under this spelling already, or puts a new one. An added token is
 * always its own text; one that the vocabulary reads as other bytes is ambiguous. */
static pk_err put_added(pk_tokenizer *self, const char *content, int32_t id, uint32_t flags)
{
    bool others;
    int32_t listed = listed_id(self, content, &others);
    if (others)
        return pk_fail(PK_INVALID, "stands for other bytes in the vocabulary, which is not supported");
    if (listed < 0)
        return pk_vocabulary_put(&self->vocabulary, id, content, strlen(content), flags);
    if (self->vocabulary.tokens[listed].flags & PK_TOKEN_ADDED)
        return pk_fail(PK_CORRUPT, "comes twice");
    if (listed != id)
        return pk_fail(PK_CORRUPT, "id %d here, id %d in the vocabulary", id, listed);
    pk_vocabulary_mark(&self->vocabulary, id, flags);
    return PK_OK;
}

static pk_err put_added_token(pk_tokenizer *self, const pk_json *token, const char *content, int32_t id)
{
    static const char *const known[] = {"id",     "content",    "single_word", "lstrip",
                                        "rstrip", "normalized", "special",     NULL};
    pk_added_token added = {.id = id};
    bool special = false;
    pk_err err;
    if (strlen(content) > PK_ADDED_BYTES)
        return pk_fail(PK_INVALID, "%zu bytes, at most %d are supported", strlen(content), PK_ADDED_BYTES);
    if ((err = pk_format_check_keys(token, known)) ||
        (err = pk_format_flag(token, "single_word", false, &added.single_word)) ||
        (err = pk_format_flag(token, "lstrip", false, &added.lstrip)) ||
        (err = pk_format_flag(token, "rstrip", false, &added.rstrip)) ||
        (err = pk_format_flag(token, "special", false, &special)) ||
        (err = pk_format_flag(token, "normalized", !special, &added.normalized)) ||
        (err = put_added(self, content, id, PK_TOKEN_ADDED | (special ? PK_TOKEN_SPECIAL : 0))))
        return err;
    return pk_added_tokens_put(&self->added, added);
}

pk_err pk_tokenizer_format_added(pk_tokenizer *tokenizer, const pk_json *token, int32_t id)
{
    const char *content = pk_json_string(pk_json_member(token, "content"));
    if (!content || !*content)
        return pk_fail(PK_CORRUPT, "\"content\": expected a text");
    if (id < 0 || id >= PK_TOKENIZER_IDS)
        return pk_fail(PK_CORRUPT, "\"%.64s\": expected an id from 0 to %d", content, PK_TOKENIZER_IDS - 1);
    return pk_pass(put_added_token(tokenizer, token, content, id), "\"%.64s\"", content);
}

static pk_err read_added_tokens(pk_tokenizer *self, const pk_json *tokens)
{
    pk_err err = PK_OK;
    if (!tokens || pk_json_kind_of(tokens) == PK_JSON_NULL)
        return PK_OK;
    if (pk_json_kind_of(tokens) != PK_JSON_ARRAY)
        return pk_fail(PK_CORRUPT, "\"added_tokens\": expected a list");
    for (size_t i = 0; i < pk_json_count(tokens) && !err; i++) {
        const pk_json *token = pk_json_item(tokens, i);
        int64_t id;
        if (!pk_json_integer(pk_json_member(token, "id"), &id) || id > PK_TOKENIZER_IDS)
            id = -1;
        err = pk_pass(pk_tokenizer_format_added(self, token, (int32_t)(id < 0 ? -1 : id)), "added token %zu", i);
    }
    return err;
}

/* What remains of the model when its text is read: no merge may make a special token, which text never becomes. */
static pk_err finish_model(pk_tokenizer *self, const pk_scan *file, const member *root)
{
    const member *model = root[MODEL].members;
    pk_scan pairs = {.text = file->text, .bytes = model[MERGES].end, .at = model[MERGES].start};
    pk_err err = pk_pass(check_model(self, model), "\"model\"");
    if (!err && model[MERGES].end > 0)
        err = pk_pass(pk_model_read_merges(self, &pairs), "\"model\": \"merges\"");
    if (!err)
        err = read_added_tokens(self, root[ADDED_TOKENS].tree);
    if (!err)
        err = pk_pass(pk_model_check_merges(self), "\"model\": \"merges\"");
    pk_text_fini(&pairs.unescaped);
    return err;
}

static pk_err read_root(pk_tokenizer *self, const pk_scan *file, const member *root)
{
    static const int unused[] = {TRUNCATION, PADDING, NORMALIZER};
    pk_err err = check_all_unused(root, unused, sizeof unused / sizeof *unused);
    if (!err)
        err = pk_format_check_decoder(root[DECODER].tree);
    if (!err)
        err = pk_format_check_post_processor(root[POST_PROCESSOR].tree);
    if (!err)
        err = pk_pass(pk_format_read_pretokenizer(&self->pretokenizer, root[PRE_TOKENIZER].tree), "\"pre_tokenizer\"");
    return err ? err : finish_model(self, file, root);
}

pk_err pk_tokenizer_format_read(pk_tokenizer *tokenizer, const char *text, size_t bytes)
{
    member model[] = {
        [TYPE] = {.name = "type"},
        [DROPOUT] = {.name = "dropout"},
        [UNK] = {.name = "unk_token"},
        [FUSE_UNK] = {.name = "fuse_unk"},
        [IGNORE_MERGES] = {.name = "ignore_merges"},
        [PREFIX] = {.name = "continuing_subword_prefix"},
        [BYTE_FALLBACK] = {.name = "byte_fallback"},
        [SUFFIX] = {.name = "end_of_word_suffix"},
        [VOCAB] = {.name = "vocab", .kind = TOKENS},
        [MERGES] = {.name = "merges", .kind = PAIRS},
        {0},
    };
    member root[] = {
        [VERSION] = {.name = "version"},
        [TRUNCATION] = {.name = "truncation"},
        [PADDING] = {.name = "padding"},
        [ADDED_TOKENS] = {.name = "added_tokens"},
        [NORMALIZER] = {.name = "normalizer"},
        [PRE_TOKENIZER] = {.name = "pre_tokenizer"},
        [POST_PROCESSOR] = {.name = "post_processor"},
        [DECODER] = {.name = "decoder"},
        [MODEL] = {.name = "model", .kind = OBJECT, .members = model},
        {0},
    };
    pk_scan file = {.text = text, .bytes = bytes};
    pk_err err = read_members(tokenizer, &file, root);
    if (!err)
        err = pk_scan_end(&file);
    if (!err && !root[MODEL].found)
        err = pk_fail(PK_CORRUPT, "expected \"model\"");
    if (!err)
        err = read_root(tokenizer, &file, root);
    if (!err)
        pk_added_tokens_finish(&tokenizer->added, &tokenizer->vocabulary);
    close_members(root);
    pk_text_fini(&file.unescaped);
    pk_text_fini(&tokenizer->spelled);
    return err;
}
