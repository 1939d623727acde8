#include "pipeline/json_text.h"

#include "ipc/utf8.h"

#include <assert.h>
#include <inttypes.h>
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

void pk_json_text_bytes(pk_json_text *text, const char *bytes, size_t count)
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
        pk_json_text_bytes(text, string + done, i - done);
        pk_json_text_bytes(text, escape, strlen(escape));
        done = i + 1;
    }
    if (done < bytes)
        pk_json_text_bytes(text, string + done, bytes - done);
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
    pk_json_text_bytes(text, "\"", 1);
    if (pk_utf8_check(string, bytes, NULL))
        put_escaped(text, string, bytes);
    else
        put_mended(text, string, bytes);
    pk_json_text_bytes(text, "\"", 1);
}

void pk_json_text_word(pk_json_text *text, const char *string)
{
    pk_json_text_string(text, string, strlen(string));
}

/* Python's repr of a float: the fewest digits that read back equal, without an exponent from 1e-4 up to below 1e16. */
static void put_real(pk_json_text *text, double value)
{
    enum { DIGITS = 17, FIXED_BELOW = 16, FIXED_FROM = -4 };
    char shown[40];
    int digits = 0;
    do
        snprintf(shown, sizeof shown, "%.*e", digits, value);
    while (strtod(shown, NULL) != value && ++digits < DIGITS);
    int exponent = atoi(strchr(shown, 'e') + 1), decimals = digits - exponent;
    if (exponent >= FIXED_FROM && exponent < FIXED_BELOW)
        snprintf(shown, sizeof shown, "%.*f", decimals > 1 ? decimals : 1, value);
    pk_json_text_raw(text, "%s", shown);
}

static void put_array(pk_json_text *text, const pk_json *array)
{
    pk_json_text_raw(text, "[");
    for (size_t i = 0; i < pk_json_count(array); i++) {
        pk_json_text_raw(text, i ? ", " : "");
        pk_json_text_value(text, pk_json_item(array, i));
    }
    pk_json_text_raw(text, "]");
}

static void put_object(pk_json_text *text, const pk_json *object)
{
    void *at = NULL;
    const char *name = NULL, *comma = "";
    const pk_json *value = NULL;
    pk_json_text_raw(text, "{");
    for (; pk_json_next(object, &at, &name, &value); comma = ", ") {
        pk_json_text_raw(text, "%s", comma);
        pk_json_text_word(text, name);
        pk_json_text_raw(text, ": ");
        pk_json_text_value(text, value);
    }
    pk_json_text_raw(text, "}");
}

void pk_json_text_value(pk_json_text *text, const pk_json *value)
{
    int64_t integer = 0;
    double real = 0;
    switch (pk_json_kind_of(value)) {
    case PK_JSON_OBJECT:
        put_object(text, value);
        break;
    case PK_JSON_ARRAY:
        put_array(text, value);
        break;
    case PK_JSON_STRING:
        pk_json_text_word(text, pk_json_string(value));
        break;
    case PK_JSON_INTEGER:
        pk_json_integer(value, &integer);
        pk_json_text_raw(text, "%" PRId64, integer);
        break;
    case PK_JSON_REAL:
        pk_json_number(value, &real);
        put_real(text, real);
        break;
    case PK_JSON_TRUE:
    case PK_JSON_FALSE:
        pk_json_text_raw(text, pk_json_kind_of(value) == PK_JSON_TRUE ? "true" : "false");
        break;
    case PK_JSON_NULL:
        pk_json_text_raw(text, "null");
        break;
    }
}

pk_err pk_json_text_check(const pk_json_text *text)
{
    return text->lacking ? pk_fail(PK_NOMEM, "no memory for a text of more than %zu bytes", text->used) : PK_OK;
}
