/* json.h - untrusted JSON documents as trees.
 *
 * Bounds come before the tree: size, depth (64) and number of values are checked on the text, so a hostile file cannot
 * make the parser reserve more than it is worth. Duplicate member names and NUL characters are refused. Values are
 * views into the document, valid until it is closed. */
#ifndef PK_LOADER_JSON_H
#define PK_LOADER_JSON_H

#include "ipc/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PK_JSON_DEPTH_MAX = 64 };

typedef struct pk_json pk_json;

typedef enum {
    PK_JSON_NULL,
    PK_JSON_FALSE,
    PK_JSON_TRUE,
    PK_JSON_INTEGER, /* fits int64 */
    PK_JSON_REAL,
    PK_JSON_STRING,
    PK_JSON_ARRAY,
    PK_JSON_OBJECT,
} pk_json_kind;

/* `text` need not end in NUL. PK_CORRUPT: not JSON, or beyond a bound; the text says at which byte. PK_NOMEM. */
pk_err pk_json_open(pk_json **out, const char *text, size_t bytes, size_t values_max);
void pk_json_close(pk_json **document);

pk_json_kind pk_json_kind_of(const pk_json *value);

/* The value for a message: `"silu"`, `12`, `null`, `an array`; cut when long. NULL shows as `nothing`. */
enum { PK_JSON_SHOW = 80 };
const char *pk_json_show(char out[PK_JSON_SHOW], const pk_json *value);

size_t pk_json_count(const pk_json *value);                             /* members or items; 0 for anything else */
const pk_json *pk_json_item(const pk_json *array, size_t index);        /* NULL: no such */
const pk_json *pk_json_member(const pk_json *object, const char *name); /* NULL: no such */

/* Members in file order. Begin with *at = NULL; false at the end. */
bool pk_json_next(const pk_json *object, void **at, const char **name, const pk_json **value);

bool pk_json_integer(const pk_json *value, int64_t *out); /* false: not an integer */
bool pk_json_number(const pk_json *value, double *out);   /* an integer or a real; false: neither */
const char *pk_json_string(const pk_json *value);         /* NULL: not a string */

#endif
