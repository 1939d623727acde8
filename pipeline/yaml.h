/* yaml.h - a YAML text as a tree of positions and words, with everything refused that a configuration needs not.
 *
 * One document, UTF-8; maps with plain words as keys, none twice; no anchors, aliases or tags; nesting, nodes, entries
 * of a map and lengths of words bounded by the constants below. So the tree is never larger than its text by more than
 * a constant factor, and a walk over it needs no limits of its own. The tree owns all it points to. */
#ifndef PK_PIPELINE_YAML_H
#define PK_PIPELINE_YAML_H

#include "ipc/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    PK_YAML_DEPTH = 8,
    PK_YAML_NODES = 65536,
    PK_YAML_MAP_ENTRIES = 256,
    PK_YAML_WORD_BYTES = 8192,
};

typedef enum {
    PK_YAML_WORD,
    PK_YAML_LIST,
    PK_YAML_MAP,
} pk_yaml_type;

typedef struct pk_yaml_node pk_yaml_node;
struct pk_yaml_node {
    pk_yaml_type type;
    uint32_t line, column; /* from 1 */
    char *text;            /* words: zero-terminated, without a zero inside; else NULL */
    bool quoted;           /* words: in quotes or as a block, so meant as text */
    pk_yaml_node **items;  /* lists: the items; maps: key, value, key, value, … */
    uint32_t count;        /* of items */
};

/* `name` begins every message: "name:line:column: …". PK_INVALID: not YAML, or beyond what is said above. */
pk_err pk_yaml_open(pk_yaml_node **out, const char *name, const void *text, size_t bytes);
void pk_yaml_close(pk_yaml_node **root);

/* The value behind `key` of a map, or NULL. */
const pk_yaml_node *pk_yaml_get(const pk_yaml_node *map, const char *key);

/* "a map", "a list", "a word": for messages; static. */
const char *pk_yaml_type_name(pk_yaml_type type);

#endif
