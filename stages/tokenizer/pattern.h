/* pattern.h - a pre-tokenizer's regular expression, made to mean in PCRE2 what it means in Oniguruma.
 *
 * A tokenizer.json's patterns were written for Oniguruma (Ruby syntax, Unicode); PCRE2 reads most of them alike, but
 * not all: \s, \w, ^, \h, case-insensitive classes, set operations and scripts differ. So a pattern passes through a
 * strict reader: what means the same passes, \s and \d are written out as the characters they are, and everything else
 * is refused by name. The Unicode versions of the two libraries differ by a few newly assigned characters. */
#ifndef PK_STAGES_TOKENIZER_PATTERN_H
#define PK_STAGES_TOKENIZER_PATTERN_H

#include "stages/tokenizer/tokenizer.h"

typedef struct pk_pattern pk_pattern;

/* Appends to `out` the PCRE2 spelling of an Oniguruma pattern. PK_INVALID names what has no sure equivalent. */
pk_err pk_pattern_translate(const char *pattern, pk_text *out);

/* Appends the spelling that matches exactly `text`. */
pk_err pk_pattern_quote(const char *text, pk_text *out);

/* Compiles PCRE2 spelling. PK_INVALID when it is no pattern or can match nothing at all (the empty string). */
pk_err pk_pattern_open(pk_pattern **out, const pk_text *spelling);
void pk_pattern_close(pk_pattern **pattern);

/* What one thread needs to match: one object for any number of patterns, one text. `bytes` is the length of that text:
 * it bounds the steps that a match may take, so that a malicious pattern ends in an error and not in hours. */
typedef struct pk_matcher pk_matcher;
pk_err pk_matcher_open(pk_matcher **out, size_t bytes);
void pk_matcher_close(pk_matcher **matcher);

/* Finds the first match in text[from..bytes). Lookbehind sees text[0..from). PK_OK: it is [*start, *end), not empty;
 * PK_AGAIN: there is none (no error trail). `text` must be UTF-8 and is not checked again. */
pk_err pk_pattern_find(const pk_pattern *pattern, pk_matcher *matcher, const char *text, size_t bytes, size_t from,
                       size_t *start, size_t *end);

#endif
