/* Each function below is one alternative of a pattern and returns the end of its match, or 0 where it does not match
 * (a match is never empty, so no match ends at 0). Where the regular expression would go back, the function has noted
 * on the way where it would come to rest: no character is looked at more than a few times. */
#include "stages/tokenizer/cutter.h"

#include "stages/tokenizer/character.h"

#include <stdbool.h>
#include <string.h>

enum {
    UPPER = PK_CHARACTER_UPPER,
    LOWER = PK_CHARACTER_LOWER,
    LETTER = PK_CHARACTER_LETTER,
    MARK = PK_CHARACTER_MARK,
    NUMBER = PK_CHARACTER_NUMBER,
    NEWLINE = PK_CHARACTER_NEWLINE,
    BLANK = PK_CHARACTER_SPACE | NEWLINE, /* \s */
    L = UPPER | LOWER | LETTER,           /* \p{L} */
};

static inline unsigned class_at(const pk_cut_text *text, size_t at, size_t *next)
{
    size_t length;
    unsigned class = pk_character_at(text->classes, text->bytes + at, &length);
    *next = at + length;
    return class;
}

/* Past all characters from `at` on whose class is one of `classes`. */
static inline size_t run_of(const pk_cut_text *text, size_t at, unsigned classes)
{
    for (size_t next; at < text->count && (class_at(text, at, &next) & classes); at = next)
        ;
    return at;
}

/* Past all characters from `at` on whose class is none of `classes`. */
static inline size_t run_without(const pk_cut_text *text, size_t at, unsigned classes)
{
    for (size_t next; at < text->count && !(class_at(text, at, &next) & classes); at = next)
        ;
    return at;
}

/* \p{N}{1,most} */
static inline size_t digits(const pk_cut_text *text, size_t at, size_t most)
{
    for (size_t next; most > 0 && at < text->count && (class_at(text, at, &next) & NUMBER); at = next)
        most--;
    return at;
}

static inline bool is_space(const pk_cut_text *text, size_t at)
{
    return text->bytes[at] == ' ';
}

/* ` ?X+` for the X that `run` of `classes` takes. */
static inline size_t spaced_run(const pk_cut_text *text, size_t at, unsigned classes)
{
    size_t start = at + is_space(text, at), end = run_of(text, start, classes);
    return end > start ? end : 0;
}

/* ` ?[^\s\p{L}\p{N}]+` */
static inline size_t spaced_signs(const pk_cut_text *text, size_t at)
{
    size_t start = at + is_space(text, at), end = run_without(text, start, BLANK | L | NUMBER);
    return end > start ? end : 0;
}

static inline size_t past_bytes(const pk_cut_text *text, size_t at, char a, char b, char c)
{
    while (at < text->count && (text->bytes[at] == a || text->bytes[at] == b || text->bytes[at] == c))
        at++;
    return at;
}

/* `\s+(?!\S)|\s+`: a run of blanks but for the last one, which belongs to the word behind it; the last alone. */
static size_t blanks(const pk_cut_text *text, size_t at)
{
    size_t last = at, next;
    size_t end = at;
    for (; end < text->count && (class_at(text, end, &next) & BLANK); end = next)
        last = end;
    return end == text->count || last == at ? end : last;
}

/* `\s*[\r\n]+|\s+(?!\S)|\s+`: a run of blanks up to its last newline, or else as above. */
static size_t lines_or_blanks(const pk_cut_text *text, size_t at)
{
    size_t after_newline = 0, last = at, next;
    size_t end = at;
    for (unsigned class; end < text->count && ((class = class_at(text, end, &next)) & BLANK); end = next) {
        last = end;
        if (class & NEWLINE)
            after_newline = next;
    }
    return after_newline ? after_newline : end == text->count || last == at ? end : last;
}

/* `'s|'t|'re|'ve|'m|'ll|'d` at an apostrophe: its length, or 0. With `any_case` also 'S, and U+017F, which is an s. */
static size_t contraction(const pk_cut_text *text, size_t at, bool any_case)
{
    const unsigned char *in = text->bytes + at;
    size_t left = text->count - at;
    unsigned fold = any_case ? 0x20 : 0;
    if (left < 2 || in[0] != '\'')
        return 0;
    unsigned char first = in[1] < 0x80 ? (unsigned char)(in[1] | fold) : in[1];
    if (strchr("stmd", first) && first)
        return 2;
    if (left < 3)
        return 0;
    if (any_case && in[1] == 0xC5 && in[2] == 0xBF)
        return 3;
    unsigned char second = in[2] < 0x80 ? (unsigned char)(in[2] | fold) : in[2];
    return ((first == 'r' || first == 'v') && second == 'e') || (first == 'l' && second == 'l') ? 3 : 0;
}

static size_t cut_gpt2(const pk_cut_text *text, size_t at)
{
    size_t end = contraction(text, at, false);
    if (end)
        return at + end;
    if ((end = spaced_run(text, at, L)) || (end = spaced_run(text, at, NUMBER)) || (end = spaced_signs(text, at)))
        return end;
    return blanks(text, at);
}

/* `[^\r\n\p{L}\p{N}]?\p{L}+` */
static inline size_t prefixed_letters(const pk_cut_text *text, size_t at)
{
    size_t next, start = at;
    unsigned class = class_at(text, at, &next);
    if (!(class & (NEWLINE | L | NUMBER)))
        start = next;
    size_t end = run_of(text, start, L);
    return end > start ? end : 0;
}

static inline size_t cut_cl100k(const pk_cut_text *text, size_t at, size_t most_digits)
{
    size_t end = contraction(text, at, true);
    if (end)
        return at + end;
    if ((end = prefixed_letters(text, at)))
        return end;
    if ((end = digits(text, at, most_digits)) > at)
        return end;
    if ((end = spaced_signs(text, at)))
        return past_bytes(text, end, '\r', '\n', '\n');
    return lines_or_blanks(text, at);
}

static size_t cut_llama3(const pk_cut_text *text, size_t at)
{
    return cut_cl100k(text, at, 3);
}

static size_t cut_qwen2(const pk_cut_text *text, size_t at)
{
    return cut_cl100k(text, at, 1);
}

/* `[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+`. The first part takes all it can. If a lower-case letter
 * follows, the second goes on from there; if not, the first gives back down to the last character that both may have,
 * and the match ends behind that one. */
static size_t lower_word(const pk_cut_text *text, size_t at)
{
    size_t after_common = 0, next;
    for (unsigned class; at < text->count; at = next) {
        class = class_at(text, at, &next);
        if (class & LOWER)
            return run_of(text, next, LOWER | LETTER | MARK);
        if (!(class & (UPPER | LETTER | MARK)))
            break;
        if (!(class & UPPER))
            after_common = next;
    }
    return after_common;
}

/* `[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*` */
static size_t upper_word(const pk_cut_text *text, size_t at)
{
    size_t end = run_of(text, at, UPPER | LETTER | MARK);
    return end > at ? run_of(text, end, LOWER | LETTER | MARK) : 0;
}

/* The first two alternatives of o200k, without their contraction. A mark can be the character in front of the word as
 * well as its first: the regular expression tries it in front first. */
static inline size_t word(const pk_cut_text *text, size_t at)
{
    size_t next, end;
    unsigned class = class_at(text, at, &next);
    bool in_front = !(class & (NEWLINE | L | NUMBER));
    bool in_word = class & (L | MARK);
    if ((in_front && (end = lower_word(text, next))) || (in_word && (end = lower_word(text, at))) ||
        (in_front && (end = upper_word(text, next))) || (in_word && (end = upper_word(text, at))))
        return end;
    return 0;
}

static size_t cut_o200k(const pk_cut_text *text, size_t at)
{
    size_t end = word(text, at);
    if (end)
        return end < text->count ? end + contraction(text, end, true) : end;
    if ((end = digits(text, at, 3)) > at)
        return end;
    if ((end = spaced_signs(text, at)))
        return past_bytes(text, end, '\r', '\n', '/');
    return lines_or_blanks(text, at);
}

#define CL100K_START      "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|"
#define CL100K_END        "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define O200K_CONTRACTION "(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"

static const struct {
    const char *name, *pattern;
    pk_cutter cut;
} known[] = {
    {"gpt2", PK_CUTTER_GPT2_PATTERN, cut_gpt2},
    {"gpt2, shorter", "'(?:[sdmt]|ll|ve|re)| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+", cut_gpt2},
    {"llama3", CL100K_START "\\p{N}{1,3}" CL100K_END, cut_llama3},
    {"qwen2", CL100K_START "\\p{N}" CL100K_END, cut_qwen2},
    {"o200k",
     "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+" O200K_CONTRACTION
     "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*" O200K_CONTRACTION
     "\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
     cut_o200k},
};

pk_cutter pk_cutter_for(const char *pattern)
{
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(known[i].pattern, pattern) == 0)
            return known[i].cut;
    return NULL;
}

const char *pk_cutter_pattern(size_t index)
{
    return index < sizeof known / sizeof *known ? known[index].pattern : NULL;
}

const char *pk_cutter_name(size_t index)
{
    return index < sizeof known / sizeof *known ? known[index].name : NULL;
}
