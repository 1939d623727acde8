#include "ipc/utf8.h"

#include <string.h>

/* What may follow a lead byte (Unicode, table 3-7): how many continuation bytes, and the range of the first of them.
 * The narrowed ranges are what excludes overlong forms, surrogates and code points above U+10FFFF. */
typedef struct {
    unsigned char count, low, high;
} tail_rule;

/* False for a byte that starts no sequence of two bytes or more. */
static bool rule_of(unsigned char lead, tail_rule *rule)
{
    if (lead < 0xC2 || lead > 0xF4)
        return false;
    *rule = (tail_rule){.count = lead < 0xE0 ? 1 : lead < 0xF0 ? 2 : 3, .low = 0x80, .high = 0xBF};
    if (lead == 0xE0)
        rule->low = 0xA0;
    if (lead == 0xED)
        rule->high = 0x9F;
    if (lead == 0xF0)
        rule->low = 0x90;
    if (lead == 0xF4)
        rule->high = 0x8F;
    return true;
}

typedef enum { WHOLE, CUT, BROKEN } sequence_state;

/* Looks at the sequence that starts at `text` (at least one byte). *length is its length when WHOLE, the length of the
 * maximal ill-formed part when BROKEN (at least 1), and all that is left when CUT, i.e. well-formed as far as it goes.
 */
static sequence_state sequence_at(const unsigned char *text, size_t bytes, size_t *length)
{
    tail_rule rule;
    *length = 1;
    if (text[0] < 0x80)
        return WHOLE;
    if (!rule_of(text[0], &rule))
        return BROKEN;
    for (; *length <= rule.count; ++*length) {
        if (*length == bytes)
            return CUT;
        unsigned char low = *length == 1 ? rule.low : 0x80, high = *length == 1 ? rule.high : 0xBF;
        if (text[*length] < low || text[*length] > high)
            return BROKEN;
    }
    return WHOLE;
}

/* How many bytes from `text` on are ASCII, eight at a time: most documents mostly are. */
static size_t ascii_run(const unsigned char *text, size_t bytes)
{
    size_t at = 0;
    unsigned long long word;
    for (; bytes - at >= sizeof word; at += sizeof word) {
        memcpy(&word, text + at, sizeof word);
        if (word & 0x8080808080808080ull)
            break;
    }
    while (at < bytes && text[at] < 0x80)
        at++;
    return at;
}

bool pk_utf8_check(const void *text, size_t bytes, size_t *bad_offset)
{
    const unsigned char *in = text;
    size_t length;
    for (size_t at = 0; at < bytes; at += length) {
        if (in[at] < 0x80) {
            length = ascii_run(in + at, bytes - at);
        } else if (sequence_at(in + at, bytes - at, &length) != WHOLE) {
            if (bad_offset)
                *bad_offset = at;
            return false;
        }
    }
    return true;
}

size_t pk_utf8_put(char *out, unsigned code_point)
{
    static const unsigned char marks[] = {0, 0, 0xC0, 0xE0, 0xF0};
    size_t length = code_point < 0x80 ? 1 : code_point < 0x800 ? 2 : code_point < 0x10000 ? 3 : 4;
    for (size_t i = length - 1; i > 0; i--, code_point >>= 6)
        out[i] = (char)(0x80 | (code_point & 0x3F));
    out[0] = (char)(marks[length] | code_point);
    return length;
}

static size_t put_replacement(char *out)
{
    return pk_utf8_put(out, 0xFFFD);
}

/* Finishes, or finds broken, the character that an earlier piece began; *taken counts what it used of `in`. */
static size_t finish_pending(pk_utf8_stream *stream, const unsigned char *in, size_t bytes, size_t *taken, char *out)
{
    unsigned char joined[4];
    size_t before = stream->count, length;
    size_t fresh = bytes < sizeof joined - before ? bytes : sizeof joined - before;

    memcpy(joined, stream->pending, before);
    memcpy(joined + before, in, fresh);
    sequence_state state = sequence_at(joined, before + fresh, &length);
    /* What was pending is well-formed so far, so a broken part ends at its end or later: nothing is looked at twice. */
    *taken = length - before;
    if (state == CUT) {
        memcpy(stream->pending, joined, length);
        stream->count = (unsigned char)length;
        return 0;
    }
    stream->count = 0;
    if (state == BROKEN)
        return put_replacement(out);
    memcpy(out, joined, length);
    return length;
}

size_t pk_utf8_stream_push(pk_utf8_stream *stream, const void *in, size_t bytes, char *out)
{
    const unsigned char *text = in;
    size_t at = 0, written = 0, length;

    if (bytes > 0 && stream->count > 0)
        written = finish_pending(stream, text, bytes, &at, out);
    for (; at < bytes; at += length) {
        switch (sequence_at(text + at, bytes - at, &length)) {
        case WHOLE:
            memcpy(out + written, text + at, length);
            written += length;
            break;
        case BROKEN:
            written += put_replacement(out + written);
            break;
        case CUT:
            memcpy(stream->pending, text + at, length);
            stream->count = (unsigned char)length;
            break;
        }
    }
    return written;
}

size_t pk_utf8_stream_end(pk_utf8_stream *stream, char *out)
{
    size_t written = stream->count > 0 ? put_replacement(out) : 0;
    *stream = (pk_utf8_stream){0};
    return written;
}
