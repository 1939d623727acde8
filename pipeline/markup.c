#include "pipeline/markup.h"

#include "ipc/utf8.h"

#include <string.h>

static const char *entity_of(unsigned char byte)
{
    switch (byte) {
    case '&':
        return "&amp;";
    case '<':
        return "&lt;";
    case '>':
        return "&gt;";
    case '"':
        return "&quot;";
    case '\'':
        return "&#39;";
    case '\n':
    case '\t':
        return NULL;
    default:
        return byte < ' ' || byte == 127 ? "\xEF\xBF\xBD" : NULL;
    }
}

/* U+FFFE and U+FFFF are UTF-8, but no characters of XML. */
static size_t forbidden_bytes(const char *text)
{
    return !strncmp(text, "\xEF\xBF\xBE", 3) || !strncmp(text, "\xEF\xBF\xBF", 3) ? 3 : 0;
}

static void put_escaped(FILE *out, const char *text)
{
    while (*text) {
        size_t forbidden = forbidden_bytes(text);
        const char *entity = forbidden ? "\xEF\xBF\xBD" : entity_of((unsigned char)*text);
        if (entity)
            fputs(entity, out);
        else
            fputc(*text, out);
        text += forbidden ? forbidden : 1;
    }
}

void pk_markup_mended(FILE *out, const char *text, void (*put)(FILE *out, const char *piece))
{
    enum { PIECE = 128 };
    char mended[PK_UTF8_STREAM_ROOM(PIECE) + 1];
    pk_utf8_stream stream = {0};
    for (size_t left = strlen(text); left;) {
        size_t piece = left < PIECE ? left : PIECE;
        mended[pk_utf8_stream_push(&stream, text, piece, mended)] = 0;
        put(out, mended);
        text += piece;
        left -= piece;
    }
    mended[pk_utf8_stream_end(&stream, mended)] = 0;
    put(out, mended);
}

void pk_markup_text(FILE *out, const char *text)
{
    pk_markup_mended(out, text, put_escaped);
}
