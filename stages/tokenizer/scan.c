#include "stages/tokenizer/scan.h"

#include <string.h>

static pk_err expected(const pk_scan *scan, const char *what)
{
    if (scan->at >= scan->bytes)
        return pk_fail(PK_CORRUPT, "byte %zu: expected %s, the text ends", scan->bytes, what);
    return pk_fail(PK_CORRUPT, "byte %zu: expected %s", scan->at, what);
}

static void skip_blanks(pk_scan *scan)
{
    while (scan->at < scan->bytes && (scan->text[scan->at] == ' ' || scan->text[scan->at] == '\n' ||
                                      scan->text[scan->at] == '\t' || scan->text[scan->at] == '\r'))
        scan->at++;
}

bool pk_scan_takes(pk_scan *scan, char wanted)
{
    skip_blanks(scan);
    bool found = scan->at < scan->bytes && scan->text[scan->at] == wanted;
    scan->at += found;
    return found;
}

pk_err pk_scan_expect(pk_scan *scan, char wanted)
{
    return pk_scan_takes(scan, wanted) ? PK_OK : expected(scan, (char[]){'\'', wanted, '\'', '\0'});
}

/* Four hexadecimal digits. */
static bool take_hex(pk_scan *scan, unsigned *out)
{
    *out = 0;
    for (int i = 0; i < 4; i++, scan->at++) {
        char c = scan->at < scan->bytes ? scan->text[scan->at] : '\0';
        bool is_letter = (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
        if (!is_letter && (c < '0' || c > '9'))
            return false;
        unsigned digit = is_letter ? ((unsigned)c | 0x20) - 'a' + 10 : (unsigned)(c - '0');
        *out = *out << 4 | digit;
    }
    return true;
}

/* What follows \u, surrogates in pairs. */
static pk_err unescape_code(pk_scan *scan)
{
    char bytes[4];
    unsigned code, low;
    if (!take_hex(scan, &code))
        return expected(scan, "four hexadecimal digits");
    if (code == 0)
        return pk_fail(PK_CORRUPT, "byte %zu: a NUL in a string is not supported", scan->at);
    if (code >= 0xD800 && code <= 0xDFFF) {
        if (code >= 0xDC00 || scan->bytes - scan->at < 6 || memcmp(scan->text + scan->at, "\\u", 2) != 0)
            return expected(scan, "a pair of surrogates");
        scan->at += 2;
        if (!take_hex(scan, &low) || low < 0xDC00 || low > 0xDFFF)
            return expected(scan, "a pair of surrogates");
        code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
    }
    return pk_text_append(&scan->unescaped, bytes, pk_utf8_put(bytes, code));
}

/* What follows a backslash. */
static pk_err unescape(pk_scan *scan)
{
    static const char escapes[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
    char c = scan->at < scan->bytes ? scan->text[scan->at] : '\0';
    const char *found = c ? strchr(escapes, c) : NULL;
    if (found) {
        scan->at++;
        return pk_text_append(&scan->unescaped, meanings + (found - escapes), 1);
    }
    if (c != 'u')
        return expected(scan, "an escape");
    scan->at++;
    return unescape_code(scan);
}

/* From `at` on to the next quote, backslash or control character, which must come. */
static pk_err plain_run(pk_scan *scan, pk_view *out)
{
    const unsigned char *text = (const unsigned char *)scan->text;
    size_t start = scan->at, at = start;
    while (at < scan->bytes && text[at] != '"' && text[at] != '\\' && text[at] >= 0x20)
        at++;
    scan->at = at;
    if (at == scan->bytes || text[at] < 0x20)
        return expected(scan, "the end of a string");
    *out = (pk_view){scan->text + start, at - start};
    return PK_OK;
}

pk_err pk_scan_string(pk_scan *scan, pk_view *out)
{
    pk_view run = {0};
    pk_err err = pk_scan_takes(scan, '"') ? plain_run(scan, out) : expected(scan, "a string");
    if (err || scan->text[scan->at++] == '"')
        return err;
    scan->unescaped.count = 0;
    err = pk_text_append(&scan->unescaped, out->text, out->bytes);
    for (bool open = true; open && !err;) {
        if (!(err = unescape(scan)) && !(err = plain_run(scan, &run)))
            err = pk_text_append(&scan->unescaped, run.text, run.bytes);
        open = !err && scan->text[scan->at++] != '"';
    }
    *out = (pk_view){scan->unescaped.bytes, scan->unescaped.count};
    return err;
}

pk_err pk_scan_natural(pk_scan *scan, int32_t *out)
{
    int64_t value = 0;
    skip_blanks(scan);
    size_t start = scan->at;
    for (; scan->at < scan->bytes && scan->text[scan->at] >= '0' && scan->text[scan->at] <= '9'; scan->at++)
        if ((value = 10 * value + (scan->text[scan->at] - '0')) > INT32_MAX)
            break;
    char next = scan->at < scan->bytes ? scan->text[scan->at] : '\0';
    if (scan->at == start || value > INT32_MAX || (scan->text[start] == '0' && scan->at > start + 1) || next == '.' ||
        next == 'e' || next == 'E') {
        scan->at = start;
        return expected(scan, "a whole number from 0 to 2147483647");
    }
    *out = (int32_t)value;
    return PK_OK;
}

/* The string whose opening quote was the last byte taken; its escapes are not checked. */
static pk_err skip_string(pk_scan *scan)
{
    const char *text = scan->text;
    size_t at = scan->at;
    for (; at < scan->bytes && text[at] != '"'; at++)
        at += text[at] == '\\';
    scan->at = at < scan->bytes ? at + 1 : scan->bytes;
    return at < scan->bytes ? PK_OK : expected(scan, "the end of a string");
}

/* The next byte outside of strings that matters to the nesting. */
static void skip_plain(pk_scan *scan)
{
    static const bool matters[256] = {['"'] = true, ['['] = true, [']'] = true, ['{'] = true, ['}'] = true};
    while (scan->at < scan->bytes && !matters[(unsigned char)scan->text[scan->at]])
        scan->at++;
}

/* What is neither a string nor a list nor an object: up to the next that ends it. */
static void skip_word(pk_scan *scan)
{
    while (scan->at < scan->bytes && !memchr(",:]} \n\t\r", scan->text[scan->at], 8))
        scan->at++;
}

static pk_err skip_nested(pk_scan *scan)
{
    size_t depth = 0;
    pk_err err = PK_OK;
    do {
        skip_plain(scan);
        if (scan->at == scan->bytes)
            return expected(scan, "the end of a list or an object");
        char c = scan->text[scan->at++];
        if (c == '"')
            err = skip_string(scan);
        else if (c == ']' || c == '}')
            depth--;
        else if (++depth > PK_SCAN_DEPTH)
            err = pk_fail(PK_CORRUPT, "byte %zu: deeper than %d levels", scan->at - 1, PK_SCAN_DEPTH);
    } while (depth > 0 && !err);
    return err;
}

pk_err pk_scan_skip(pk_scan *scan, pk_view *out)
{
    pk_err err = PK_OK;
    skip_blanks(scan);
    size_t start = scan->at;
    char first = start < scan->bytes ? scan->text[start] : '\0';
    if (first == '[' || first == '{')
        err = skip_nested(scan);
    else if (pk_scan_takes(scan, '"'))
        err = skip_string(scan);
    else
        skip_word(scan);
    if (!err && scan->at == start)
        return expected(scan, "a value");
    *out = (pk_view){scan->text + start, scan->at - start};
    return err;
}

pk_err pk_scan_more(pk_scan *scan, char closing, bool *more)
{
    *more = pk_scan_takes(scan, ',');
    if (*more || pk_scan_takes(scan, closing))
        return PK_OK;
    return expected(scan, (char[]){'\'', ',', '\'', ' ', 'o', 'r', ' ', '\'', closing, '\'', '\0'});
}

pk_err pk_scan_end(pk_scan *scan)
{
    skip_blanks(scan);
    return scan->at == scan->bytes ? PK_OK : expected(scan, "nothing more");
}
