#include "stages/tokenizer/added.h"

#include "stages/tokenizer/character.h"

#include <stdlib.h>
#include <string.h>

/* The library's `\w` is letters, marks and numbers, but not these numbers (the range is newer than PCRE2's Unicode);
 * and these connectors, joiners and letters in circles. */
static const char exceptions[] = "[\\p{No}\\x{1D2C0}-\\x{1D2D3}\\p{Pc}\\x{200C}\\x{200D}\\x{24B6}-\\x{24E9}"
                                 "\\x{1F130}-\\x{1F149}\\x{1F150}-\\x{1F169}\\x{1F170}-\\x{1F189}]";

pk_err pk_added_tokens_put(pk_added_tokens *added, pk_added_token token)
{
    pk_added_set *set = &added->sets[token.normalized];
    pk_err err = PK_OK;
    if (token.single_word && !added->exceptions)
        err = pk_pattern_open(&added->exceptions,
                              &(pk_text){.bytes = (char *)(uintptr_t)exceptions, .count = sizeof exceptions - 1});
    if (!err && (token.single_word || token.lstrip || token.rstrip) && !added->classes)
        err = pk_character_classes(&added->classes);
    if (err)
        return err;
    if (set->count == set->capacity) {
        size_t capacity = set->capacity ? 2 * set->capacity : 16;
        pk_added_token *grown = realloc(set->tokens, capacity * sizeof *grown);
        if (!grown)
            return pk_fail(PK_NOMEM, "no memory for added tokens");
        set->tokens = grown;
        set->capacity = capacity;
    }
    set->tokens[set->count++] = token;
    return PK_OK;
}

static pk_view content_of(const pk_vocabulary *vocabulary, const pk_added_token *token)
{
    const pk_token *stored = pk_vocabulary_at(vocabulary, token->id);
    return (pk_view){pk_vocabulary_bytes(vocabulary, stored), stored->bytes};
}

static int compare(const void *a, const void *b, void *vocabulary)
{
    pk_view left = content_of(vocabulary, a), right = content_of(vocabulary, b);
    int order = memcmp(left.text, right.text, left.bytes < right.bytes ? left.bytes : right.bytes);
    return order ? order : (left.bytes > right.bytes) - (left.bytes < right.bytes);
}

void pk_added_tokens_finish(pk_added_tokens *added, const pk_vocabulary *vocabulary)
{
    for (size_t i = 0; i < PK_ADDED_SETS; i++) {
        pk_added_set *set = &added->sets[i];
        if (set->count == 0)
            continue;
        qsort_r(set->tokens, set->count, sizeof *set->tokens, compare, (void *)(uintptr_t)vocabulary);
        for (size_t token = 0; token < set->count; token++)
            set->starts[(unsigned char)content_of(vocabulary, &set->tokens[token]).text[0]] = true;
    }
}

/* The byte at `depth` of a token's content, which is longer than that. */
static int byte_at(const pk_added_set *set, const pk_vocabulary *vocabulary, size_t token, size_t depth)
{
    return (unsigned char)content_of(vocabulary, &set->tokens[token]).text[depth];
}

/* The first token in [low, high), all of them longer than `depth` and equal before it, whose byte there is not below.
 */
static size_t lower_bound(const pk_added_set *set, const pk_vocabulary *vocabulary, size_t low, size_t high,
                          size_t depth, int byte)
{
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (byte_at(set, vocabulary, middle, depth) < byte)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The longest token that the text starts with, or NULL: the range of candidates narrows with each byte. */
static const pk_added_token *longest_at(const pk_added_set *set, const pk_vocabulary *vocabulary, pk_view text,
                                        size_t *length)
{
    const pk_added_token *found = NULL;
    size_t low = 0, high = set->count;
    for (size_t depth = 0; low < high; depth++) {
        if (content_of(vocabulary, &set->tokens[low]).bytes == depth) {
            found = &set->tokens[low++];
            *length = depth;
        }
        if (depth == text.bytes)
            break;
        int byte = (unsigned char)text.text[depth];
        low = lower_bound(set, vocabulary, low, high, depth, byte);
        high = lower_bound(set, vocabulary, low, high, depth, byte + 1);
    }
    return found;
}

static size_t character_before(const char *text, size_t at)
{
    do
        at--;
    while (((unsigned char)text[at] & 0xC0) == 0x80);
    return at;
}

static bool is_blank(const pk_added_tokens *added, const char *text, size_t at, size_t *length)
{
    return pk_character_at(added->classes, (const unsigned char *)text + at, length) &
           (PK_CHARACTER_SPACE | PK_CHARACTER_NEWLINE);
}

static pk_err is_word(const pk_added_tokens *added, const char *text, size_t at, bool *word)
{
    pk_matcher *matcher = NULL;
    size_t start, end, length;
    unsigned class = pk_character_at(added->classes, (const unsigned char *)text + at, &length);
    *word = class & (PK_CHARACTER_UPPER | PK_CHARACTER_LOWER | PK_CHARACTER_LETTER | PK_CHARACTER_MARK);
    if (*word)
        return PK_OK;
    pk_err err = pk_matcher_open(&matcher, length);
    if (!err)
        err = pk_pattern_find(added->exceptions, matcher, text + at, length, 0, &start, &end);
    pk_matcher_close(&matcher);
    *word = (err == PK_OK) != !!(class & PK_CHARACTER_NUMBER);
    return err == PK_AGAIN ? PK_OK : err;
}

/* Whether a word goes on in front of `start` or behind `end`. */
static pk_err is_inside_word(const pk_added_tokens *added, const pk_added_search *search, size_t start, size_t end,
                             bool *inside)
{
    pk_err err = PK_OK;
    *inside = false;
    if (start > 0)
        err = is_word(added, search->text, character_before(search->text, start), inside);
    if (!err && !*inside && end < search->bytes)
        err = is_word(added, search->text, end, inside);
    return err;
}

/* Not into what was given to a match; from inside of that to its end, which may be where this token ends. */
static size_t strip_left(const pk_added_tokens *added, const pk_added_search *search, size_t start)
{
    size_t length;
    if (start < search->done)
        return search->done;
    while (start > search->done && is_blank(added, search->text, character_before(search->text, start), &length))
        start = character_before(search->text, start);
    return start;
}

static size_t strip_right(const pk_added_tokens *added, const pk_added_search *search, size_t end)
{
    size_t length;
    while (end < search->bytes && is_blank(added, search->text, end, &length))
        end += length;
    return end;
}

pk_err pk_added_tokens_next(const pk_added_tokens *added, size_t set, const pk_vocabulary *vocabulary, bool special,
                            pk_added_search *search, size_t *start, size_t *end, int32_t *id)
{
    const pk_added_set *from = &added->sets[set];
    while (search->at < search->bytes) {
        size_t at = search->at, length = 0;
        bool inside = false;
        const pk_added_token *token = NULL;
        if (from->starts[(unsigned char)search->text[at]])
            token = longest_at(from, vocabulary, (pk_view){search->text + at, search->bytes - at}, &length);
        search->at += token ? length : 1;
        /* One that is passed over takes its text all the same: a shorter one inside it is not found. */
        if (!token || (!special && (pk_vocabulary_at(vocabulary, token->id)->flags & PK_TOKEN_SPECIAL)))
            continue;
        pk_err err = token->single_word ? is_inside_word(added, search, at, at + length, &inside) : PK_OK;
        if (err)
            return err;
        *start = token->lstrip ? strip_left(added, search, at) : at;
        *end = token->rstrip ? strip_right(added, search, at + length) : at + length;
        if (inside || *start >= *end)
            continue;
        *id = token->id;
        search->done = *end;
        return PK_OK;
    }
    return PK_AGAIN;
}

void pk_added_tokens_fini(pk_added_tokens *added)
{
    for (size_t i = 0; i < PK_ADDED_SETS; i++)
        free(added->sets[i].tokens);
    pk_pattern_close(&added->exceptions);
    free(added->classes);
    *added = (pk_added_tokens){0};
}
