/* cutter.h - the pre-tokenizer patterns that nearly every model has, matched by hand.
 *
 * A cutter is chosen when a pattern is, character for character, one that it knows; it finds what the regular
 * expression would, ten times faster. Its patterns match at every position, so their matches follow each other without
 * gaps and a cutter has to say only where a match ends. Pure functions. */
#ifndef PK_STAGES_TOKENIZER_CUTTER_H
#define PK_STAGES_TOKENIZER_CUTTER_H

#include <stddef.h>
#include <stdint.h>

/* UTF-8 and the table of pk_character_classes. */
typedef struct {
    const uint8_t *classes;
    const unsigned char *bytes;
    size_t count;
} pk_cut_text;

/* The end of the match that starts at `at`, which is before the end of the text. */
typedef size_t (*pk_cutter)(const pk_cut_text *text, size_t at);

/* The pattern of ByteLevel's use_regex, as published. */
#define PK_CUTTER_GPT2_PATTERN "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"

/* The cutter for exactly this pattern, or NULL. */
pk_cutter pk_cutter_for(const char *pattern);

/* The known patterns, and short names for them; NULL after the last. */
const char *pk_cutter_pattern(size_t index);
const char *pk_cutter_name(size_t index);

#endif
