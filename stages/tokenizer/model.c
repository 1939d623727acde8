#include "stages/tokenizer/model.h"

#include "stages/tokenizer/byte_alphabet.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SHOWN = 64 }; /* bytes of a spelling in a message */

static int shown(pk_view spelling)
{
    return (int)(spelling.bytes < SHOWN ? spelling.bytes : SHOWN);
}

/* What `spelling` stands for, appended to `out`; false where it is not of the byte alphabet, or memory is short. */
static bool append_bytes(pk_text *out, pk_view spelling)
{
    size_t count;
    if (pk_text_reserve(out, spelling.bytes) ||
        !pk_byte_alphabet_read(spelling.text, spelling.bytes, (unsigned char *)out->bytes + out->count, &count))
        return false;
    out->count += count;
    return true;
}

pk_err pk_model_put(pk_tokenizer *tokenizer, pk_view spelling, int32_t id)
{
    pk_vocabulary *vocabulary = &tokenizer->vocabulary;
    size_t count;
    pk_err err;
    if (id < 0 || id >= PK_TOKENIZER_IDS)
        return pk_fail(PK_CORRUPT, "expected an id from 0 to %d", PK_TOKENIZER_IDS - 1);
    if (spelling.bytes == 0)
        return pk_fail(PK_CORRUPT, "an empty token");
    if ((err = pk_text_reserve(&tokenizer->spelled, spelling.bytes)))
        return err;
    if (pk_byte_alphabet_read(spelling.text, spelling.bytes, (unsigned char *)tokenizer->spelled.bytes, &count))
        return pk_vocabulary_put(vocabulary, id, tokenizer->spelled.bytes, count, PK_TOKEN_MERGEABLE);
    if (!pk_utf8_check(spelling.text, spelling.bytes, NULL))
        return pk_fail(PK_CORRUPT, "not UTF-8");
    return pk_vocabulary_put(vocabulary, id, spelling.text, spelling.bytes, 0);
}

pk_err pk_model_read_vocab(pk_tokenizer *tokenizer, pk_scan *scan)
{
    enum { TOKEN_BYTES = 64 }; /* about what a token and its merge take in a file */
    bool more = true;
    size_t guess = (scan->bytes - scan->at) / TOKEN_BYTES;
    pk_err err =
        pk_vocabulary_reserve(&tokenizer->vocabulary, guess < PK_TOKENIZER_IDS ? guess : (size_t)PK_TOKENIZER_IDS);
    if (!err)
        err = pk_scan_expect(scan, '{');
    if (!err && pk_scan_takes(scan, '}'))
        return pk_fail(PK_CORRUPT, "no tokens");
    while (more && !err) {
        pk_view spelling;
        int32_t id;
        if ((err = pk_scan_string(scan, &spelling)) || (err = pk_scan_expect(scan, ':')))
            break;
        if (!(err = pk_scan_natural(scan, &id)))
            err = pk_model_put(tokenizer, spelling, id);
        if (err)
            return pk_pass(err, "\"%.*s\"", shown(spelling), spelling.text);
        err = pk_scan_more(scan, '}', &more);
    }
    return err;
}

pk_err pk_model_find_bytes(pk_tokenizer *tokenizer)
{
    for (unsigned byte = 0; byte < 256; byte++) {
        unsigned char single = (unsigned char)byte;
        int32_t id = pk_vocabulary_find(&tokenizer->vocabulary, &single, 1, true);
        if (id < 0) {
            char spelling[4];
            size_t bytes = pk_utf8_put(spelling, pk_byte_alphabet_code(single));
            return pk_fail(PK_INVALID, "no token for the byte 0x%02X (\"%.*s\")", byte, (int)bytes, spelling);
        }
        tokenizer->merges.byte_ids[byte] = id;
    }
    return PK_OK;
}

/* Merges on their way into the table, which has to know their number first. */
typedef struct {
    pk_merge *list;
    size_t count, capacity;
} merge_list;

static pk_err append_merge(merge_list *merges, pk_merge merge)
{
    if (merges->count == merges->capacity) {
        size_t capacity = merges->capacity ? 2 * merges->capacity : 1 << 12;
        pk_merge *grown = realloc(merges->list, capacity * sizeof *grown);
        if (!grown)
            return pk_fail(PK_NOMEM, "no memory for %zu merges", capacity);
        merges->list = grown;
        merges->capacity = capacity;
    }
    if (merges->count == PK_TOKENIZER_IDS - 1)
        return pk_fail(PK_CORRUPT, "more than %d merges", PK_TOKENIZER_IDS - 1);
    merges->list[merges->count++] = merge;
    return PK_OK;
}

/* Puts all of them into the table, if `err` says that all is well, and releases the list. */
static pk_err fill_table(pk_tokenizer *tokenizer, merge_list *merges, pk_err err)
{
    if (!err)
        err = pk_merges_init(&tokenizer->merges, merges->count);
    for (size_t i = 0; i < merges->count && !err; i++)
        err = pk_pass(pk_merges_add(&tokenizer->merges, merges->list[i]), "merge %zu", i);
    free(merges->list);
    return err ? err : pk_merges_finish(&tokenizer->merges);
}

static pk_err unknown(pk_view spelling)
{
    return pk_fail(PK_CORRUPT, "\"%.*s\" is not in the vocabulary", shown(spelling), spelling.text);
}

static bool is_token(const pk_vocabulary *vocabulary, int32_t id, pk_view bytes)
{
    const pk_token *token = pk_vocabulary_at(vocabulary, id);
    return token && (token->flags & PK_TOKEN_MERGEABLE) && token->bytes == bytes.bytes &&
           memcmp(pk_vocabulary_bytes(vocabulary, token), bytes.text, bytes.bytes) == 0;
}

/* The token of a merge's result. Trainers number results in the order of the merges: looking at the next id first finds
 * nearly all of them without the table, a third of all that opening looks up. */
static int32_t find_result(const pk_tokenizer *tokenizer, const merge_list *before, pk_view bytes)
{
    int32_t guess = before->count ? before->list[before->count - 1].result + 1 : -1;
    if (is_token(&tokenizer->vocabulary, guess, bytes))
        return guess;
    return pk_vocabulary_find(&tokenizer->vocabulary, bytes.text, bytes.bytes, true);
}

/* Finds the tokens of a merge that is spelled in two parts. The result's place stays open when there is none: -1. */
static pk_err find_merge(pk_tokenizer *tokenizer, const merge_list *before, const pk_view parts[2], pk_merge *out)
{
    pk_text *joined = &tokenizer->spelled;
    int32_t ids[2] = {-1, -1};
    pk_err err = pk_text_reserve(joined, parts[0].bytes + parts[1].bytes + 1);
    joined->count = 0;
    for (size_t i = 0; i < 2 && !err; i++) {
        size_t start = joined->count;
        if (append_bytes(joined, parts[i]))
            ids[i] = pk_vocabulary_find(&tokenizer->vocabulary, joined->bytes + start, joined->count - start, true);
        if (ids[i] < 0)
            err = unknown(parts[i]);
    }
    if (!err)
        *out = (pk_merge){.left = ids[0],
                          .right = ids[1],
                          .rank = (uint32_t)before->count,
                          .result = find_result(tokenizer, before, (pk_view){joined->bytes, joined->count})};
    return err;
}

static pk_err take_merge(pk_tokenizer *tokenizer, merge_list *merges, const pk_view parts[2])
{
    pk_merge merge;
    pk_err err = find_merge(tokenizer, merges, parts, &merge);
    if (err || merge.result >= 0)
        return err ? err : append_merge(merges, merge);
    char spelling[2 * SHOWN + 1];
    int bytes =
        snprintf(spelling, sizeof spelling, "%.*s%.*s", shown(parts[0]), parts[0].text, shown(parts[1]), parts[1].text);
    return unknown((pk_view){spelling, (size_t)bytes});
}

/* The parts of "a b". */
static pk_err split_at_space(pk_view text, pk_view parts[2])
{
    const char *space = memchr(text.text, ' ', text.bytes);
    size_t left = space ? (size_t)(space - text.text) : 0;
    if (!space || memchr(space + 1, ' ', text.bytes - left - 1))
        return pk_fail(PK_CORRUPT, "expected \"a b\" or [\"a\", \"b\"]");
    parts[0] = (pk_view){text.text, left};
    parts[1] = (pk_view){space + 1, text.bytes - left - 1};
    return PK_OK;
}

/* The parts of a merge in JSON. The first may be in `first`, since the second takes its place in the scan. */
static pk_err scan_merge(pk_scan *scan, pk_text *first, pk_view parts[2])
{
    if (!pk_scan_takes(scan, '[')) {
        pk_err err = pk_scan_string(scan, &parts[0]);
        return err ? err : split_at_space(parts[0], parts);
    }
    pk_err err = pk_scan_string(scan, &parts[0]);
    if (!err && parts[0].text == scan->unescaped.bytes) {
        first->count = 0;
        err = pk_text_append(first, parts[0].text, parts[0].bytes);
        parts[0].text = first->bytes;
    }
    if (!err && !(err = pk_scan_expect(scan, ',')) && !(err = pk_scan_string(scan, &parts[1])))
        err = pk_scan_expect(scan, ']');
    return err;
}

pk_err pk_model_read_merges(pk_tokenizer *tokenizer, pk_scan *scan)
{
    merge_list merges = {0};
    pk_text first = {0};
    pk_view parts[2];
    pk_err err = pk_scan_expect(scan, '[');
    bool more = !err && !pk_scan_takes(scan, ']');
    while (more && !err) {
        if (!(err = scan_merge(scan, &first, parts)))
            err = take_merge(tokenizer, &merges, parts);
        if (err)
            err = pk_pass(err, "merge %zu", merges.count);
        else
            err = pk_scan_more(scan, ']', &more);
    }
    pk_text_fini(&first);
    return fill_table(tokenizer, &merges, err);
}

pk_err pk_model_check_merges(const pk_tokenizer *tokenizer)
{
    const pk_vocabulary *vocabulary = &tokenizer->vocabulary;
    for (size_t at = 0; at < tokenizer->merges.slot_count; at++) {
        pk_merge merge;
        if (!pk_merges_at(&tokenizer->merges, at, &merge))
            continue;
        const int32_t ids[] = {merge.left, merge.right, merge.result};
        for (size_t i = 0; i < 3; i++) {
            const pk_token *token = pk_vocabulary_at(vocabulary, ids[i]);
            if (token->flags & PK_TOKEN_SPECIAL)
                return pk_fail(PK_CORRUPT, "merge %u: \"%.*s\" is no ordinary token, text would become it", merge.rank,
                               (int)(token->bytes < SHOWN ? token->bytes : SHOWN),
                               pk_vocabulary_bytes(vocabulary, token));
        }
    }
    return PK_OK;
}

/* A merge whose result is a token of its own, the next one. */
static pk_err take_new_merge(pk_tokenizer *tokenizer, merge_list *merges, const pk_view parts[2])
{
    pk_merge merge;
    pk_err err = find_merge(tokenizer, merges, parts, &merge);
    if (err)
        return err;
    if (merge.result >= 0)
        return pk_fail(PK_CORRUPT, "makes the token %d again: without a vocabulary its id is unknown", merge.result);
    merge.result = (int32_t)tokenizer->vocabulary.count;
    if (merge.result >= PK_TOKENIZER_IDS)
        return pk_fail(PK_CORRUPT, "more than %d tokens", PK_TOKENIZER_IDS);
    err = pk_vocabulary_put(&tokenizer->vocabulary, merge.result, tokenizer->spelled.bytes, tokenizer->spelled.count,
                            PK_TOKEN_MERGEABLE);
    return err ? err : append_merge(merges, merge);
}

/* The next line of `text`, which loses it. */
static pk_view take_line(pk_view *text)
{
    const char *newline = memchr(text->text, '\n', text->bytes);
    size_t bytes = newline ? (size_t)(newline - text->text) : text->bytes;
    pk_view line = {text->text, bytes};
    text->text += bytes + (newline != NULL);
    text->bytes -= bytes + (newline != NULL);
    if (bytes > 0 && line.text[bytes - 1] == '\r')
        line.bytes--;
    return line;
}

pk_err pk_model_read_lines(pk_tokenizer *tokenizer, pk_view text, bool vocabulary)
{
    merge_list merges = {0};
    pk_err err = PK_OK;
    for (size_t number = 1; text.bytes > 0 && !err; number++) {
        pk_view parts[2], line = take_line(&text);
        if (line.bytes == 0 || (number == 1 && line.bytes > 8 && memcmp(line.text, "#version", 8) == 0))
            continue;
        if (!(err = split_at_space(line, parts)))
            err = vocabulary ? take_merge(tokenizer, &merges, parts) : take_new_merge(tokenizer, &merges, parts);
        err = pk_pass(err, "line %zu", number);
    }
    return fill_table(tokenizer, &merges, err);
}
