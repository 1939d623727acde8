/* keys.h - the keys of the pipeline file: one table says what exists, of which type, and what it is called by mistake.
 *
 * The reader of files (file.c) and --set (set.c) both bring values here, so that both accept the same and say the same.
 */
#ifndef PK_PIPELINE_KEYS_H
#define PK_PIPELINE_KEYS_H

#include "pipeline/file.h"

#include <stdbool.h>

/* Where a value stands, for messages: "source:line:column: path: …", or "source path: …" where line is 0. */
typedef struct {
    const char *source;
    uint32_t line, column;
    const char *path; /* "limits.batch_rows", "stages.low.threads" */
} pk_place;

/* A value as written; views. quoted: it stood in quotes, so it is text even if it looks like a number. */
typedef struct {
    const char *text;
    bool quoted;
    pk_place place;
} pk_value;

/* The maps of a file. */
typedef enum {
    PK_SECTION_TOP,
    PK_SECTION_LIMITS,
    PK_SECTION_GENERATION,
    PK_SECTION_STAGE,
} pk_section;

/* What kind of value stands behind a key. */
typedef enum {
    PK_KEY_VALUE,
    PK_KEY_MAP,  /* of keys of another section */
    PK_KEY_LIST, /* of stages */
} pk_key_shape;

/* PK_INVALID with the place in front. */
pk_err pk_place_fail(const pk_place *place, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Looks a key up. PK_INVALID: unknown (the message offers the nearest), or not in this version. */
pk_err pk_key_find(pk_section section, const char *key, const pk_place *place, pk_key_shape *shape);

/* Stores a value of the section's key. `target` is the pk_pipeline (top), pk_limits, pk_generation or pk_stage_spec; a
 * stage must have its kind already, unless `key` is "kind". Variables are expanded here. */
pk_err pk_key_store(pk_section section, const char *key, const pk_value *value, void *target);

/* What a person should know of a key; views of static text. */
typedef struct {
    const char *name;
    char type[48];
    const char *standard; /* what is decided where nothing is said; NULL: it must be said */
    const char *about;    /* a sentence without a full stop */
} pk_key_about;

/* The index-th key that this version has in a section; of stages, that this kind takes (otherwise `kind` does not
 * matter). False behind the last. */
bool pk_key_about_at(pk_section section, pk_stage_kind kind, size_t index, pk_key_about *out);

#endif
