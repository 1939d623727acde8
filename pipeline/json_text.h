/* json_text.h - JSON as it is being written: a text that grows.
 *
 * For lines of our own making, whose keys and order are fixed, so that equal values give equal bytes. Zeroed is an
 * empty text. Memory that is lacking is remembered and asked for once, at the end (pk_json_text_check); until then puts
 * do nothing. One thread per text. */
#ifndef PK_PIPELINE_JSON_TEXT_H
#define PK_PIPELINE_JSON_TEXT_H

#include "loader/json.h"

#include <stdbool.h>
#include <stddef.h>

typedef struct {
    char *bytes; /* `used` of them; no NUL behind */
    size_t used, capacity;
    bool lacking; /* memory was */
} pk_json_text;

void pk_json_text_fini(pk_json_text *text); /* zeroed again, and usable */

/* Makes it empty; memory and `lacking` are kept. */
void pk_json_text_clear(pk_json_text *text);

/* As it stands: punctuation, keys, numbers. */
void pk_json_text_raw(pk_json_text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* In quotes, escaped; may hold NULs. What is not UTF-8 (a message that was cut within a character, say) becomes U+FFFD:
 * a line that cannot be parsed would be worth less. */
void pk_json_text_string(pk_json_text *text, const char *string, size_t bytes);
void pk_json_text_word(pk_json_text *text, const char *string); /* the same up to its NUL */

/* As they are: text that is no JSON, or is JSON already. */
void pk_json_text_bytes(pk_json_text *text, const char *bytes, size_t count);

/* A value in the spelling of Python's json.dumps(value, ensure_ascii=False), which is how chat templates show tools to
 * a model: ", " and ": ", members in their order, a real as its shortest digits that read back equal. */
void pk_json_text_value(pk_json_text *text, const pk_json *value);

/* PK_NOMEM when the text is not whole. */
pk_err pk_json_text_check(const pk_json_text *text);

#endif
