/* character.h - what kind of character a code point is, as far as the usual pre-tokenizer patterns ask.
 *
 * The classes are those of the regular expressions inside Hugging Face's `tokenizers` (Unicode 16), because it is their
 * cuts that a model was trained on. A code point has at most one class; punctuation, symbols, controls and what is not
 * assigned have none. */
#ifndef PK_STAGES_TOKENIZER_CHARACTER_H
#define PK_STAGES_TOKENIZER_CHARACTER_H

#include "ipc/error.h"

#include <stddef.h>
#include <stdint.h>

enum {
    PK_CHARACTER_UPPER = 0x01,   /* \p{Lu} \p{Lt} */
    PK_CHARACTER_LOWER = 0x02,   /* \p{Ll} */
    PK_CHARACTER_LETTER = 0x04,  /* \p{Lm} \p{Lo} */
    PK_CHARACTER_MARK = 0x08,    /* \p{M} */
    PK_CHARACTER_NUMBER = 0x10,  /* \p{N} */
    PK_CHARACTER_SPACE = 0x20,   /* \s but for the next two */
    PK_CHARACTER_NEWLINE = 0x40, /* \r \n */
    PK_CHARACTER_COUNT = 0x110000,
};

/* The class of each code point. To be freed. */
pk_err pk_character_classes(uint8_t **out);

/* The runs that the table is made of; see character_ranges.c. */
extern const uint32_t pk_character_ranges[];
extern const size_t pk_character_range_count;

/* The class of the character at `text`, which is UTF-8, and in *length how many bytes it has. */
static inline unsigned pk_character_at(const uint8_t *classes, const unsigned char *text, size_t *length)
{
    unsigned lead = text[0];
    if (lead < 0x80) {
        *length = 1;
        return classes[lead];
    }
    if (lead < 0xE0) {
        *length = 2;
        return classes[(lead & 0x1F) << 6 | (text[1] & 0x3F)];
    }
    if (lead < 0xF0) {
        *length = 3;
        return classes[(lead & 0x0F) << 12 | (text[1] & 0x3Fu) << 6 | (text[2] & 0x3F)];
    }
    *length = 4;
    return classes[(lead & 0x07) << 18 | (text[1] & 0x3Fu) << 12 | (text[2] & 0x3Fu) << 6 | (text[3] & 0x3F)];
}

#endif
