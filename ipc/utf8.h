/* utf8.h - is it UTF-8, and how to make it so.
 *
 * Well-formed is what Unicode says (table 3-7): no overlong forms, no surrogates, nothing above U+10FFFF. Pure
 * functions over the caller's memory; any thread. */
#ifndef PK_IPC_UTF8_H
#define PK_IPC_UTF8_H

#include <stdbool.h>
#include <stddef.h>

/* Whether all `bytes` of `text` are UTF-8. If not, *bad_offset (may be NULL) is where the first ill-formed sequence
 * starts; a sequence cut off by the end counts as ill-formed. */
bool pk_utf8_check(const void *text, size_t bytes, size_t *bad_offset);

/* Writes the code point (not a surrogate, at most 0x10FFFF) to out[4]; returns its length in bytes, 1 to 4. */
size_t pk_utf8_put(char *out, unsigned code_point);

/* Bytes that come in pieces, made into well-formed text: each maximal ill-formed part becomes one U+FFFD (the practice
 * that Unicode recommends), and a character that a piece cuts waits for its rest. Zeroed is the start of a text. */
typedef struct {
    unsigned char pending[3]; /* the start of a character, so far well-formed */
    unsigned char count;
} pk_utf8_stream;

/* Room that a push or an end may need in `out` for `bytes` bytes of input. */
#define PK_UTF8_STREAM_ROOM(bytes) (3 * ((size_t)(bytes) + 3))

/* Takes `bytes` bytes, writes whole characters to `out` and returns how many bytes it wrote, at most
 * PK_UTF8_STREAM_ROOM(bytes). `out` and `in` do not overlap. */
size_t pk_utf8_stream_push(pk_utf8_stream *stream, const void *in, size_t bytes, char *out);

/* Ends the text: an unfinished character becomes U+FFFD. Writes 0 or 3 bytes; `stream` is zeroed. */
size_t pk_utf8_stream_end(pk_utf8_stream *stream, char *out);

#endif
