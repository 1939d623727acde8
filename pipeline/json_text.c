#include "pipeline/json_text.h"

#include "ipc/utf8.h"

#include <assert.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void pk_json_text_fini(pk_json_text *text)
{
    free(text->bytes);
    *text = (pk_json_text){0};
}

void pk_json_text_clear(pk_json_text *text)
{
    text->used = 0;
}

/* Room for `bytes` more, or `lacking`. */
static bool reserve(pk_json_text *text, size_t bytes)
{
    if (text->lacking)
        return false;
    if (bytes <= text->capacity - text->used)
        return true;
    size_t capacity = text->capacity ? text->capacity : 512;
    while (capacity - text->used < bytes && capacity <= SIZE_MAX / 2)
        capacity *= 2;
    char *grown = capacity - text->used < bytes ? NULL : realloc(text->bytes, capacity);
    if (!grown) {
        text->lacking = true;
        return false;
    }
    text->bytes = grown;
    text->capacity = capacity;
    return true;
}

static void put(pk_json_text *text, const char *bytes, size_t count)
{
    if (count == 0 || !reserve(text, count))
        return;
    memcpy(text->bytes + text->used, bytes, count);
    text->used += count;
}

void pk_json_text_raw(pk_json_text *text, const char *format, ...)
{
    va_list arguments, again;
    va_start(arguments, format);
    va_copy(again, arguments);
    int length = vsnprintf(NULL, 0, format, arguments);
    assert(length >= 0);
    if (reserve(text, (size_t)length + 1)) { /* vsnprintf puts a NUL behind */
        vsnprintf(text->bytes + text->used, (size_t)length + 1, format, again);
        text->used += (size_t)length;
    }
    va_end(again);
    va_end(arguments);
}

/* The escape of a character that cannot stand in a string, or NULL. */
static const char *escape_of(unsigned char character, char room[8])
{
    switch (character) {
    case '"':
        return "\\\"";
    case '\\':
        return "\\\\";
    case '\b':
        return "\\b";
    case '\f':
        return "\\f";
    case '\n':
        return "\\n";
    case '\r':
        return "\\r";
    case '\t':
        return "\\t";
    default:
        if (character >= ' ')
            return NULL;
        snprintf(room, 8, "\\u%04x", character);
        return room;
    }
}

static void put_escaped(pk_json_text *text, const char *string, size_t bytes)
{
    char room[8];
    size_t done = 0; /* of string, in `text` already */
    for (size_t i = 0; i < bytes; i++) {
        const char *escape = escape_of((unsigned char)string[i], room);
        if (!escape)
            continue;
        put(text, string + done, i - done);
        put(text, escape, strlen(escape));
        done = i + 1;
    }
    if (done < bytes)
        put(text, string + done, bytes - done);
}

static void put_mended(pk_json_text *text, const char *string, size_t bytes)
{
    enum { PIECE = 128 };
    char mended[PK_UTF8_STREAM_ROOM(PIECE)];
    pk_utf8_stream stream = {0};
    for (size_t at = 0; at < bytes; at += PIECE) {
        size_t piece = bytes - at < PIECE ? bytes - at : PIECE;
        put_escaped(text, mended, pk_utf8_stream_push(&stream, string + at, piece, mended));
    }
    put_escaped(text, mended, pk_utf8_stream_end(&stream, mended));
}

void pk_json_text_string(pk_json_text *text, const char *string, size_t bytes)
{
    put(text, "\"", 1);
    if (pk_utf8_check(string, bytes, NULL))
        put_escaped(text, string, bytes);
    else
        put_mended(text, string, bytes);
    put(text, "\"", 1);
}

void pk_json_text_word(pk_json_text *text, const char *string)
{
    pk_json_text_string(text, string, strlen(string));
}

pk_err pk_json_text_check(const pk_json_text *text)
{
    return text->lacking ? pk_fail(PK_NOMEM, "no memory for a text of more than %zu bytes", text->used) : PK_OK;
}
