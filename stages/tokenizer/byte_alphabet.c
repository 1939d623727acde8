#include "stages/tokenizer/byte_alphabet.h"

static bool is_own_character(unsigned byte)
{
    return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || (byte >= 0xAE && byte <= 0xFF);
}

/* The others in the order of their values: 0x00-0x20, 0x7F-0xA0, 0xAD. */
unsigned pk_byte_alphabet_code(unsigned char byte)
{
    if (is_own_character(byte))
        return byte;
    return byte <= 0x20 ? 0x100u + byte : byte <= 0xA0 ? 0x121u + (byte - 0x7Fu) : 0x143u;
}

/* The byte that `code` stands for, or -1. */
static int byte_of(unsigned code)
{
    if (code < 0x100)
        return is_own_character(code) ? (int)code : -1;
    if (code <= 0x120)
        return (int)(code - 0x100);
    if (code <= 0x142)
        return (int)(code - 0x121 + 0x7F);
    return code == 0x143 ? 0xAD : -1;
}

bool pk_byte_alphabet_read(const char *text, size_t bytes, unsigned char *out, size_t *count)
{
    const unsigned char *in = (const unsigned char *)text;
    *count = 0;
    for (size_t at = 0; at < bytes;) {
        unsigned code = in[at++];
        if (code >= 0x21 && code <= 0x7E) { /* most are */
            out[(*count)++] = (unsigned char)code;
            continue;
        }
        /* The alphabet needs no sequence of more than two bytes. */
        if (code >= 0x80) {
            if (code < 0xC2 || code > 0xDF || at == bytes || (in[at] & 0xC0) != 0x80)
                return false;
            code = (code & 0x1F) << 6 | (in[at++] & 0x3F);
        }
        int byte = byte_of(code);
        if (byte < 0)
            return false;
        out[(*count)++] = (unsigned char)byte;
    }
    return true;
}
