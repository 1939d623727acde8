/* The strict reader of pattern.h. It walks the pattern once, left to right; each reader below takes one construct. */
#include "stages/tokenizer/pattern.h"

#include <string.h>

enum { PATTERN_BYTES = 64 << 10, GROUP_DEPTH = 64 };

/* Unicode's White_Space, as the inside of a class. PCRE2's own \s has U+180E too, Oniguruma's has not. */
#define WHITE_SPACE "\\t-\\r\\x20\\x85\\xA0\\x{1680}\\x{2000}-\\x{200A}\\x{2028}\\x{2029}\\x{202F}\\x{205F}\\x{3000}"

typedef struct {
    const char *start, *at; /* at[0] is the next character; NUL ends */
    pk_text *out;
    unsigned depth;
    unsigned caseless_depth; /* the group depth where (?i: opened; 0 outside of it */
} reader;

static pk_err refuse(const reader *self, size_t bytes, const char *why)
{
    size_t left = strlen(self->at);
    return pk_fail(PK_INVALID, "pattern, byte %zu: '%.*s' is not supported: %s", (size_t)(self->at - self->start),
                   (int)(bytes < left ? bytes : left), self->at, why);
}

/* Copies the next `bytes` bytes as they are. */
static pk_err copy(reader *self, size_t bytes)
{
    pk_err err = pk_text_append(self->out, self->at, bytes);
    self->at += bytes;
    return err;
}

/* Writes `text` in place of the next `bytes` bytes. */
static pk_err replace(reader *self, size_t bytes, const char *text)
{
    self->at += bytes;
    return pk_text_append(self->out, text, strlen(text));
}

static bool is_one_of(char character, const char *set)
{
    return character != '\0' && strchr(set, character);
}

/* \p{Lu} and the like. General categories mean the same everywhere; scripts, blocks and the rest are spelled, or taken,
 * differently. A caseless category is one on which libraries differ. */
static pk_err read_property(reader *self)
{
    static const char *const categories[] = {"L",  "Lu", "Ll", "Lt", "Lm", "Lo", "M",  "Mn", "Mc", "Me", "N",
                                             "Nd", "Nl", "No", "P",  "Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po",
                                             "S",  "Sm", "Sc", "Sk", "So", "Z",  "Zs", "Zl", "Zp"};
    size_t name = self->at[2] == '{' ? strcspn(self->at + 3, "}") : 0;
    if (self->caseless_depth)
        return refuse(self, 2, "a character property inside (?i:");
    for (size_t i = 0; i < sizeof categories / sizeof *categories; i++)
        if (strlen(categories[i]) == name && strncmp(self->at + 3, categories[i], name) == 0 && self->at[3 + name])
            return copy(self, name + 4);
    return refuse(self, name + 4, "only general categories like \\p{L} or \\p{Lu} are");
}

/* A backslash and what follows, inside or outside of a class. */
static pk_err read_escape(reader *self, bool in_class)
{
    char next = self->at[1];
    switch (next) {
    case 'p':
    case 'P':
        return read_property(self);
    case 's':
        return replace(self, 2, in_class ? WHITE_SPACE : "[" WHITE_SPACE "]");
    case 'S':
        return in_class ? refuse(self, 2, "inside a class") : replace(self, 2, "[^" WHITE_SPACE "]");
    case 'd':
        return replace(self, 2, "\\p{Nd}");
    case 'r':
    case 'n':
    case 't':
        return copy(self, 2);
    default:
        if (is_one_of(next, "\\.[](){}*+?|^$/-\"!#%&,:;=@~ "))
            return copy(self, 2);
        return refuse(self, 2, "this escape may mean something else in PCRE2");
    }
}

/* Whether `text` is an escape that stands for several characters, so that it cannot be an end of a range. */
static bool is_set_escape(const char *text)
{
    return text[0] == '\\' && is_one_of(text[1], "sSdpP");
}

static pk_err read_class_member(reader *self, bool is_first)
{
    const char *at = self->at;
    if (*at == '\0')
        return refuse(self, 0, "a class without its ']'");
    if (*at == '[')
        return refuse(self, 2, "a class inside a class");
    if (at[0] == '&' && at[1] == '&')
        return refuse(self, 2, "an intersection of classes");
    if (at[0] == '-' && !is_first && is_set_escape(at + 1))
        return refuse(self, 3, "a range that ends in a set");
    if (*at != '\\')
        return copy(self, 1);
    pk_err err = read_escape(self, true);
    if (!err && is_set_escape(at) && self->at[0] == '-' && self->at[1] != ']')
        return refuse(self, 2, "a range that starts in a set");
    return err;
}

static pk_err read_class(reader *self)
{
    pk_err err = copy(self, self->at[1] == '^' ? 2 : 1);
    if (!err && *self->at == ']')
        return refuse(self, 1, "a class that starts with ']'");
    for (bool is_first = true; !err && *self->at != ']'; is_first = false)
        err = read_class_member(self, is_first);
    return err ? err : copy(self, 1);
}

static pk_err read_group(reader *self)
{
    static const char *const openings[] = {"(?:", "(?=", "(?!", "(?<=", "(?<!", "(?>", "(?i:"};
    size_t length = 1;
    if (self->at[1] == '*')
        return refuse(self, 2, "a verb");
    if (++self->depth > GROUP_DEPTH)
        return refuse(self, 1, "more than 64 groups inside each other");
    if (self->at[1] == '?') {
        for (size_t i = 0; i < sizeof openings / sizeof *openings; i++)
            if (strncmp(self->at, openings[i], strlen(openings[i])) == 0)
                length = strlen(openings[i]);
        if (length == 1)
            return refuse(self, 4, "this kind of group");
        if (self->at[2] == 'i' && !self->caseless_depth)
            self->caseless_depth = self->depth;
    }
    return copy(self, length);
}

static pk_err read_group_end(reader *self)
{
    if (self->depth == 0)
        return refuse(self, 1, "no group is open");
    if (self->caseless_depth == self->depth)
        self->caseless_depth = 0;
    self->depth--;
    return copy(self, 1);
}

/* {2}, {2,}, {2,5}; {,5} is a repeat in Oniguruma only, and {2}+ and {2}? mean something else there. */
static pk_err read_repeat(reader *self)
{
    size_t digits = strspn(self->at + 1, "0123456789");
    size_t length = 1 + digits;
    if (self->at[length] == ',')
        length += 1 + strspn(self->at + length + 1, "0123456789");
    if (digits == 0 || self->at[length] != '}')
        return refuse(self, length + 1, "not a repeat like {1,3}");
    if (is_one_of(self->at[length + 1], "+?*{"))
        return refuse(self, length + 2, "a repeat of a repeat");
    return copy(self, length + 1);
}

/* * + ? and their lazy and possessive forms. */
static pk_err read_quantifier(reader *self)
{
    size_t length = is_one_of(self->at[1], "+?") ? 2 : 1;
    if (is_one_of(self->at[length], "*+?{"))
        return refuse(self, length + 1, "a repeat of a repeat");
    return copy(self, length);
}

static pk_err read_next(reader *self)
{
    switch (*self->at) {
    case '\\':
        return read_escape(self, false);
    case '[':
        return read_class(self);
    case '(':
        return read_group(self);
    case ')':
        return read_group_end(self);
    case '{':
        return read_repeat(self);
    case '*':
    case '+':
    case '?':
        return read_quantifier(self);
    case '.': /* in PCRE2 its meaning hangs on how the library was built */
        return replace(self, 1, "[^\\n]");
    case '^':
    case '$':
        return refuse(self, 1, "an anchor (of lines in Oniguruma, of the text in PCRE2)");
    default:
        return copy(self, 1);
    }
}

pk_err pk_pattern_translate(const char *pattern, pk_text *out)
{
    pk_err err = PK_OK;
    reader self = {.start = pattern, .at = pattern, .out = out};
    if (strlen(pattern) > PATTERN_BYTES)
        return pk_fail(PK_INVALID, "pattern of %zu bytes, at most %d are read", strlen(pattern), PATTERN_BYTES);
    while (!err && *self.at)
        err = read_next(&self);
    if (!err && self.depth > 0)
        err = pk_fail(PK_INVALID, "pattern: %u groups are never closed", self.depth);
    return err;
}

pk_err pk_pattern_quote(const char *text, pk_text *out)
{
    pk_err err = PK_OK;
    for (; *text && !err; text++) {
        if (is_one_of(*text, "\\^$.[]|()?*+{}"))
            err = pk_text_append(out, "\\", 1);
        if (!err)
            err = pk_text_append(out, text, 1);
    }
    return err;
}
