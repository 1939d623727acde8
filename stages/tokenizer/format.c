#include "stages/tokenizer/format.h"

#include "stages/tokenizer/byte_alphabet.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { JSON_DEPTH = 64 };

static pk_err check_kind_and_size(int fd, size_t max_bytes, size_t *bytes)
{
    struct stat about;
    if (fstat(fd, &about) < 0)
        return pk_fail_errno(PK_IO, "fstat");
    if (!S_ISREG(about.st_mode))
        return pk_fail(PK_IO, "not a regular file");
    if (about.st_size < 0 || (unsigned long long)about.st_size > max_bytes)
        return pk_fail(PK_CORRUPT, "%lld bytes, at most %zu are read", (long long)about.st_size, max_bytes);
    *bytes = (size_t)about.st_size;
    return PK_OK;
}

static pk_err read_fully(int fd, char *text, size_t bytes)
{
    for (size_t done = 0; done < bytes;) {
        ssize_t got = read(fd, text + done, bytes - done);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return pk_fail_errno(PK_IO, "read");
        if (got == 0)
            return pk_fail(PK_IO, "ends after %zu of %zu bytes: it is being changed", done, bytes);
        done += (size_t)got;
    }
    return PK_OK;
}

/* The parser calls itself for each level, so the depth is bounded before it starts. */
static pk_err check_depth(const char *text, size_t bytes)
{
    size_t depth = 0;
    bool in_string = false;
    for (size_t at = 0; at < bytes; at++) {
        char character = text[at];
        if (in_string && character == '\\')
            at++;
        else if (character == '"')
            in_string = !in_string;
        else if (!in_string && (character == '[' || character == '{') && ++depth > JSON_DEPTH)
            return pk_fail(PK_CORRUPT, "byte %zu: deeper than %d levels", at, JSON_DEPTH);
        else if (!in_string && (character == ']' || character == '}') && depth > 0)
            depth--;
    }
    return PK_OK;
}

static pk_err parse(json_t **out, const char *text, size_t bytes)
{
    json_error_t problem;
    pk_err err = check_depth(text, bytes);
    if (err)
        return err;
    json_t *root = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, &problem);
    if (!root)
        return pk_fail(PK_CORRUPT, "line %d, column %d: %s", problem.line, problem.column, problem.text);
    if (!json_is_object(root)) {
        json_decref(root);
        return pk_fail(PK_CORRUPT, "expected a JSON object");
    }
    *out = root;
    return PK_OK;
}

/* Reads a regular file of at most `max_bytes` bytes that holds one JSON object, of depth at most JSON_DEPTH, no key
 * twice, no NUL in a string. PK_IO: cannot be read; PK_CORRUPT otherwise. */
static pk_err read_json(json_t **out, const char *path, size_t max_bytes)
{
    pk_err err = PK_OK;
    char *text = NULL;
    size_t bytes = 0;
    /* O_NONBLOCK: opening a fifo by mistake must not wait for its writer. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    if (fd < 0)
        return pk_pass(pk_fail_errno(PK_IO, "open"), "%s", path);
    if ((err = check_kind_and_size(fd, max_bytes, &bytes)))
        goto out;
    if (!(text = malloc(bytes + 1))) {
        err = pk_fail(PK_NOMEM, "no memory for %zu bytes", bytes);
        goto out;
    }
    if (!(err = read_fully(fd, text, bytes)))
        err = parse(out, text, bytes);
out:
    free(text);
    close(fd);
    return pk_pass(err, "%s", path);
}

/* Refuses a key that is not in `known` (which ends in NULL): what we do not know, we cannot leave out. */
static pk_err check_keys(json_t *object, const char *const *known)
{
    const char *key;
    json_t *value;
    json_object_foreach(object, key, value)
    {
        const char *const *at = known;
        while (*at && strcmp(*at, key) != 0)
            at++;
        if (!*at)
            return pk_fail(PK_INVALID, "\"%s\" is not supported", key);
    }
    return PK_OK;
}

/* `object`.type, "" when it has none. */
static const char *type_of(json_t *object)
{
    const char *type = json_string_value(json_object_get(object, "type"));
    return type ? type : "";
}

/* Refuses any value of these keys but null, false, 0 and "": the ways in which a file says that it asks for nothing. */
static pk_err check_unused(json_t *object, const char *const *keys)
{
    for (; *keys; keys++) {
        json_t *value = json_object_get(object, *keys);
        if (!value || json_is_null(value) || json_is_false(value) ||
            (json_is_number(value) && json_number_value(value) == 0) ||
            (json_is_string(value) && json_string_length(value) == 0))
            continue;
        const char *type = json_is_object(value) ? type_of(value) : "";
        return pk_fail(PK_INVALID, "\"%s\" is not supported%s%s", *keys, *type ? ": " : "", type);
    }
    return PK_OK;
}

static pk_err read_flag(json_t *object, const char *key, bool absent, bool *out)
{
    json_t *value = json_object_get(object, key);
    if (value && !json_is_boolean(value))
        return pk_fail(PK_CORRUPT, "\"%s\": expected true or false", key);
    *out = value ? json_is_true(value) : absent;
    return PK_OK;
}

static pk_err read_id(json_t *value, int32_t *out)
{
    json_int_t id = json_is_integer(value) ? json_integer_value(value) : -1;
    if (id < 0 || id >= PK_TOKENIZER_IDS)
        return pk_fail(PK_CORRUPT, "expected an id from 0 to %d", PK_TOKENIZER_IDS - 1);
    *out = (int32_t)id;
    return PK_OK;
}

/* One entry of model.vocab. What is not spelled in the byte alphabet stands for its own text, as in Hugging Face's
 * decoder: special tokens are often listed here too. `scratch` has room for the key. */
static pk_err read_vocab_entry(pk_tokenizer *self, const char *key, json_t *value, unsigned char *scratch)
{
    int32_t id = -1;
    size_t count, key_bytes = strlen(key);
    pk_err err = read_id(value, &id);
    if (err)
        return err;
    if (key_bytes == 0)
        return pk_fail(PK_CORRUPT, "an empty token");
    if (pk_byte_alphabet_read(key, key_bytes, scratch, &count))
        return pk_vocabulary_put(&self->vocabulary, id, scratch, count, PK_TOKEN_MERGEABLE);
    return pk_vocabulary_put(&self->vocabulary, id, key, key_bytes, 0);
}

static size_t longest_key(json_t *object)
{
    size_t longest = 0;
    const char *key;
    json_t *value;
    json_object_foreach(object, key, value) longest = strlen(key) > longest ? strlen(key) : longest;
    return longest;
}

static pk_err read_vocab(pk_tokenizer *self, json_t *vocab)
{
    if (!json_is_object(vocab) || json_object_size(vocab) == 0)
        return pk_fail(PK_CORRUPT, "\"vocab\": expected an object of tokens and their ids");
    pk_err err = PK_OK;
    unsigned char *scratch = malloc(longest_key(vocab) + 1);
    const char *key;
    json_t *value;
    if (!scratch)
        return pk_fail(PK_NOMEM, "no memory for the vocabulary");
    json_object_foreach(vocab, key, value) if ((err = pk_pass(read_vocab_entry(self, key, value, scratch),
                                                              "vocab, \"%.64s\"", key))) break;
    free(scratch);
    return err;
}

/* Every byte must have a token: then any text has ids, and an unknown token cannot occur. */
static pk_err read_byte_ids(pk_tokenizer *self, json_t *vocab)
{
    for (unsigned byte = 0; byte < 256; byte++) {
        char key[4];
        size_t bytes = pk_utf8_put(key, pk_byte_alphabet_code((unsigned char)byte));
        json_t *value = json_object_getn(vocab, key, bytes);
        if (!value)
            return pk_fail(PK_INVALID, "vocab: no token for the byte 0x%02X (\"%.*s\")", byte, (int)bytes, key);
        self->merges.byte_ids[byte] = (int32_t)json_integer_value(value);
    }
    return PK_OK;
}

typedef struct {
    const char *text;
    size_t bytes;
} view;

/* The two parts of a merge, written "a b" or ["a", "b"]. */
static pk_err split_merge(json_t *merge, view parts[2])
{
    if (json_is_array(merge) && json_array_size(merge) == 2) {
        for (size_t i = 0; i < 2; i++) {
            json_t *part = json_array_get(merge, i);
            if (!json_is_string(part))
                return pk_fail(PK_CORRUPT, "expected two strings");
            parts[i] = (view){json_string_value(part), json_string_length(part)};
        }
        return PK_OK;
    }
    const char *text = json_string_value(merge);
    const char *space = text ? strchr(text, ' ') : NULL;
    if (!space || strchr(space + 1, ' '))
        return pk_fail(PK_CORRUPT, "expected \"a b\" or [\"a\", \"b\"]");
    parts[0] = (view){text, (size_t)(space - text)};
    parts[1] = (view){space + 1, strlen(space + 1)};
    return PK_OK;
}

/* The id of the ordinary token that is spelled like `spelling`. */
static pk_err find_mergeable(const pk_tokenizer *self, json_t *vocab, view spelling, int32_t *out)
{
    json_t *value = json_object_getn(vocab, spelling.text, spelling.bytes);
    int64_t id = value ? json_integer_value(value) : -1;
    const pk_token *token = pk_vocabulary_at(&self->vocabulary, id);
    if (!token)
        return pk_fail(PK_CORRUPT, "\"%.*s\" is not in the vocabulary",
                       (int)(spelling.bytes < 64 ? spelling.bytes : 64), spelling.text);
    if (!(token->flags & PK_TOKEN_MERGEABLE) || (token->flags & PK_TOKEN_SPECIAL))
        return pk_fail(PK_CORRUPT, "\"%.*s\" is no ordinary token, text would become it",
                       (int)(spelling.bytes < 64 ? spelling.bytes : 64), spelling.text);
    *out = (int32_t)id;
    return PK_OK;
}

static pk_err read_merge(pk_tokenizer *self, json_t *vocab, json_t *merge, uint32_t rank, pk_text *joined)
{
    view parts[2];
    pk_merge found = {.rank = rank};
    pk_err err = split_merge(merge, parts);
    if (!err)
        err = find_mergeable(self, vocab, parts[0], &found.left);
    if (!err)
        err = find_mergeable(self, vocab, parts[1], &found.right);
    joined->count = 0;
    for (size_t i = 0; i < 2 && !err; i++)
        err = pk_text_append(joined, parts[i].text, parts[i].bytes);
    if (!err)
        err = find_mergeable(self, vocab, (view){joined->bytes, joined->count}, &found.result);
    return err ? err : pk_merges_add(&self->merges, found);
}

static pk_err read_merges(pk_tokenizer *self, json_t *vocab, json_t *merges)
{
    pk_text joined = {0};
    size_t count = json_array_size(merges);
    if (!json_is_array(merges) || count >= PK_TOKENIZER_IDS)
        return pk_fail(PK_CORRUPT, "\"merges\": expected a list of less than %d merges", PK_TOKENIZER_IDS);
    pk_err err = pk_merges_init(&self->merges, count);
    for (size_t i = 0; i < count && !err; i++)
        err = pk_pass(read_merge(self, vocab, json_array_get(merges, i), (uint32_t)i, &joined), "merge %zu", i);
    pk_text_fini(&joined);
    return err;
}

/* A file of the first years names no type: it is BPE when it has merges. */
static pk_err check_model(json_t *model)
{
    static const char *const known[] = {"type",
                                        "vocab",
                                        "merges",
                                        "dropout",
                                        "unk_token",
                                        "fuse_unk",
                                        "ignore_merges",
                                        "continuing_subword_prefix",
                                        "byte_fallback",
                                        "end_of_word_suffix",
                                        NULL};
    static const char *const unused[] = {
        "dropout", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback", "ignore_merges", NULL};
    const char *type = type_of(model);
    if (!json_is_object(model))
        return pk_fail(PK_CORRUPT, "expected an object");
    if (strcmp(type, "BPE") != 0 && (*type || !json_object_get(model, "merges")))
        return pk_fail(PK_INVALID, "type \"%s\" is not supported, only BPE", type);
    pk_err err = check_keys(model, known);
    return err ? err : check_unused(model, unused);
}

/* `object`.pattern as PCRE2 spelling: {"Regex": …} or {"String": …}. */
static pk_err read_spelling(json_t *object, pk_text *spelling)
{
    json_t *pattern = json_object_get(object, "pattern");
    const char *regex = json_string_value(json_object_get(pattern, "Regex"));
    const char *string = json_string_value(json_object_get(pattern, "String"));
    if (json_object_size(pattern) != 1 || !(regex || string))
        return pk_fail(PK_CORRUPT, "\"pattern\": expected {\"Regex\": \"…\"} or {\"String\": \"…\"}");
    return regex ? pk_pattern_translate(regex, spelling) : pk_pattern_quote(string, spelling);
}

static pk_err read_split(json_t *object, pk_pretokenizer_step *step)
{
    static const char *const known[] = {"type", "pattern", "behavior", "invert", NULL};
    const char *behavior = json_string_value(json_object_get(object, "behavior"));
    bool invert = false;
    pk_text spelling = {0};
    pk_err err = check_keys(object, known);
    if (!err)
        err = read_flag(object, "invert", false, &invert);
    if (err)
        return err;
    if (!behavior || (strcmp(behavior, "Isolated") != 0 && strcmp(behavior, "Removed") != 0))
        return pk_fail(PK_INVALID, "behavior \"%s\" is not supported, only Isolated and Removed",
                       behavior ? behavior : "");
    bool isolated = strcmp(behavior, "Isolated") == 0;
    step->keep_matches = isolated || invert;
    step->keep_gaps = isolated || !invert;
    if (!(err = read_spelling(object, &spelling)))
        err = pk_pattern_open(&step->pattern, &spelling);
    pk_text_fini(&spelling);
    return err;
}

static pk_err read_byte_level(json_t *object, pk_pretokenizer_step *step)
{
    static const char *const known[] = {"type", "add_prefix_space", "trim_offsets", "use_regex", NULL};
    static const char gpt2[] = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
    bool use_regex = true;
    pk_text spelling = {0};
    pk_err err = check_keys(object, known);
    if (!err)
        err = read_flag(object, "add_prefix_space", true, &step->add_prefix_space);
    if (!err)
        err = read_flag(object, "use_regex", true, &use_regex);
    step->keep_matches = step->keep_gaps = true;
    if (!err && use_regex && !(err = pk_pattern_translate(gpt2, &spelling)))
        err = pk_pattern_open(&step->pattern, &spelling);
    pk_text_fini(&spelling);
    return err;
}

/* One step. ByteLevel turns text into the byte alphabet, so it comes once, as the last; *done says that it has come. */
static pk_err read_step(pk_pretokenizer *self, json_t *object, bool *done)
{
    const char *type = type_of(object);
    bool byte_level = strcmp(type, "ByteLevel") == 0;
    if (!byte_level && strcmp(type, "Split") != 0)
        return pk_fail(PK_INVALID, "type \"%s\" is not supported, only Split and ByteLevel", type);
    if (*done)
        return pk_fail(PK_INVALID, "a step after ByteLevel is not supported");
    if (self->step_count == PK_PRETOKENIZER_STEPS)
        return pk_fail(PK_INVALID, "more than %d steps are not supported", PK_PRETOKENIZER_STEPS);
    pk_pretokenizer_step *step = &self->steps[self->step_count++];
    *done = byte_level;
    return byte_level ? read_byte_level(object, step) : read_split(object, step);
}

static pk_err read_pretokenizer(pk_pretokenizer *self, json_t *object)
{
    static const char *const known[] = {"type", "pretokenizers", NULL};
    pk_err err = PK_OK;
    bool done = false;
    if (strcmp(type_of(object), "Sequence") != 0) {
        err = read_step(self, object, &done);
    } else {
        json_t *steps = json_object_get(object, "pretokenizers");
        if ((err = check_keys(object, known)))
            return err;
        if (!json_is_array(steps))
            return pk_fail(PK_CORRUPT, "\"pretokenizers\": expected a list");
        for (size_t i = 0; i < json_array_size(steps) && !err; i++)
            err = pk_pass(read_step(self, json_array_get(steps, i), &done), "step %zu", i);
    }
    if (!err && !done)
        err = pk_fail(PK_INVALID, "no ByteLevel at the end: only byte-level tokenizers are supported");
    return err;
}

/* ByteLevel as decoder joins the tokens' bytes; its options matter to a pre-tokenizer only. As post-processor it moves
 * offsets, which nobody here asks for. */
static pk_err check_byte_level(json_t *root, const char *key, bool optional)
{
    json_t *object = json_object_get(root, key);
    if (optional && (!object || json_is_null(object)))
        return PK_OK;
    if (strcmp(type_of(object), "ByteLevel") != 0)
        return pk_fail(PK_INVALID, "\"%s\": type \"%s\" is not supported, only ByteLevel", key, type_of(object));
    return PK_OK;
}

/* Puts the flags on the token that the vocabulary has under this text already, or puts a new one. An added token is
 * always its own text; one that the vocabulary reads as other bytes is ambiguous. */
static pk_err put_added(pk_tokenizer *self, json_t *vocab, const char *content, int32_t id, uint32_t flags)
{
    json_t *listed = json_object_get(vocab, content);
    size_t bytes;
    const char *text;
    if (!listed)
        return pk_vocabulary_put(&self->vocabulary, id, content, strlen(content), flags);
    if (json_integer_value(listed) != id)
        return pk_fail(PK_CORRUPT, "id %d here, id %" JSON_INTEGER_FORMAT " in the vocabulary", id,
                       json_integer_value(listed));
    text = pk_tokenizer_bytes(self, id, &bytes);
    if (bytes != strlen(content) || memcmp(text, content, bytes) != 0)
        return pk_fail(PK_INVALID, "stands for other bytes in the vocabulary, which is not supported");
    self->vocabulary.tokens[id].flags |= flags;
    return PK_OK;
}

static pk_err read_added_token(pk_tokenizer *self, json_t *vocab, json_t *seen, json_t *token)
{
    static const char *const known[] = {"id",     "content",    "single_word", "lstrip",
                                        "rstrip", "normalized", "special",     NULL};
    const char *content = json_string_value(json_object_get(token, "content"));
    int32_t id = -1;
    bool special = false;
    pk_err err = PK_OK;
    if (!content || !*content)
        return pk_fail(PK_CORRUPT, "\"content\": expected a text");
    if ((err = check_keys(token, known)) || (err = read_id(json_object_get(token, "id"), &id)) ||
        (err = read_flag(token, "special", false, &special)))
        return pk_pass(err, "\"%.64s\"", content);
    if (json_object_get(seen, content))
        return pk_fail(PK_CORRUPT, "\"%.64s\" comes twice", content);
    if (json_object_set_new(seen, content, json_true()) < 0)
        return pk_fail(PK_NOMEM, "no memory for added tokens");
    err = put_added(self, vocab, content, id, PK_TOKEN_ADDED | (special ? PK_TOKEN_SPECIAL : 0));
    return err ? pk_pass(err, "\"%.64s\"", content) : pk_ids_append(&self->added, id);
}

static pk_err read_added_tokens(pk_tokenizer *self, json_t *vocab, json_t *tokens)
{
    pk_err err = PK_OK;
    if (!tokens || json_is_null(tokens))
        return PK_OK;
    if (!json_is_array(tokens))
        return pk_fail(PK_CORRUPT, "\"added_tokens\": expected a list");
    json_t *seen = json_object();
    if (!seen)
        return pk_fail(PK_NOMEM, "no memory for added tokens");
    for (size_t i = 0; i < json_array_size(tokens) && !err; i++)
        err = pk_pass(read_added_token(self, vocab, seen, json_array_get(tokens, i)), "added token %zu", i);
    json_decref(seen);
    return err;
}

/* Reads vocabulary and merges. The added tokens come between, since no merge may make a special token. */
static pk_err read_model(pk_tokenizer *self, json_t *root)
{
    json_t *model = json_object_get(root, "model");
    json_t *vocab = json_object_get(model, "vocab");
    pk_err err = pk_pass(check_model(model), "model");
    if (!err)
        err = pk_pass(read_vocab(self, vocab), "model");
    if (!err)
        err = pk_pass(read_byte_ids(self, vocab), "model");
    if (!err)
        err = read_added_tokens(self, vocab, json_object_get(root, "added_tokens"));
    if (!err)
        err = pk_pass(read_merges(self, vocab, json_object_get(model, "merges")), "model");
    return err;
}

static pk_err read_root(pk_tokenizer *self, json_t *root)
{
    static const char *const known[] = {"version",       "truncation",     "padding", "added_tokens", "normalizer",
                                        "pre_tokenizer", "post_processor", "decoder", "model",        NULL};
    static const char *const unused[] = {"truncation", "padding", "normalizer", NULL};
    pk_err err = check_keys(root, known);
    if (!err)
        err = check_unused(root, unused);
    if (!err)
        err = check_byte_level(root, "decoder", false);
    if (!err)
        err = check_byte_level(root, "post_processor", true);
    if (!err)
        err = pk_pass(read_pretokenizer(&self->pretokenizer, json_object_get(root, "pre_tokenizer")), "pre_tokenizer");
    return err ? err : read_model(self, root);
}

/* The id that ends an answer where no configuration names it. */
static pk_err guess_eos(pk_tokenizer *self)
{
    static const char *const names[] = {"<end_of_sentence>", "<|endoftext|>", "<|im_end|>", "</s>", "<eos>", NULL};
    for (const char *const *name = names; *name; name++) {
        int32_t id = pk_tokenizer_added_id(self, *name);
        if (id >= 0)
            return pk_ids_append(&self->eos, id);
    }
    return PK_OK;
}

/* eos_token is a text, or an object with the text as content. */
static pk_err read_eos(pk_tokenizer *self, json_t *config)
{
    json_t *eos = json_object_get(config, "eos_token");
    if (!eos || json_is_null(eos))
        return guess_eos(self);
    const char *name = json_string_value(json_is_object(eos) ? json_object_get(eos, "content") : eos);
    if (!name)
        return pk_fail(PK_CORRUPT, "\"eos_token\": expected a text");
    int32_t id = pk_tokenizer_added_id(self, name);
    if (id < 0)
        return pk_fail(PK_CORRUPT, "eos_token \"%.64s\" is none of the tokenizer's added tokens", name);
    return pk_ids_append(&self->eos, id);
}

/* tokenizer_config.json in the folder of `path`; to be freed. */
static char *config_path(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *joined = NULL;
    int folder = slash ? (int)(slash + 1 - path) : 0;
    return asprintf(&joined, "%.*stokenizer_config.json", folder, path) < 0 ? NULL : joined;
}

static pk_err read_config(pk_tokenizer *self, const char *path)
{
    enum { CONFIG_BYTES = 16 << 20 }; /* large ones list every added token again: about 200 KB */
    pk_err err = PK_OK;
    json_t *config = NULL;
    char *beside = config_path(path);
    if (!beside)
        return pk_fail(PK_NOMEM, "no memory for a path");
    if (access(beside, F_OK) < 0) {
        err = guess_eos(self);
    } else if (!(err = read_json(&config, beside, CONFIG_BYTES))) {
        err = pk_pass(read_eos(self, config), "%s", beside);
    }
    json_decref(config);
    free(beside);
    return err;
}

pk_err pk_tokenizer_format_read(pk_tokenizer *tokenizer, const char *path)
{
    json_t *root = NULL;
    pk_err err = read_json(&root, path, PK_TOKENIZER_FILE_BYTES);
    if (!err)
        err = pk_pass(read_root(tokenizer, root), "%s", path);
    json_decref(root);
    return err ? err : read_config(tokenizer, path);
}
