/* byte_alphabet.h - how a tokenizer.json spells bytes: GPT-2's alphabet gives each of the 256 bytes a printable
 * character, so that a vocabulary of byte strings can stand in JSON. A printable Latin-1 byte is its own character; the
 * 68 others are U+0100 to U+0143 in the order of their values. Pure functions. */
#ifndef PK_STAGES_TOKENIZER_BYTE_ALPHABET_H
#define PK_STAGES_TOKENIZER_BYTE_ALPHABET_H

#include <stdbool.h>
#include <stddef.h>

/* The code point, below 0x144, that stands for `byte`. */
unsigned pk_byte_alphabet_code(unsigned char byte);

/* Turns `bytes` bytes of UTF-8 spelled in the alphabet into what they stand for: *count bytes, at most `bytes`, in
 * `out`. False when a character stands for no byte, or when they are not UTF-8. */
bool pk_byte_alphabet_read(const char *text, size_t bytes, unsigned char *out, size_t *count);

#endif
