#include "pipeline/yaml.h"

#include <stdlib.h>
#include <string.h>
#include <yaml.h>

/* Built from the events and not with the document API, which resolves aliases and forgets anchors: here an alias is
 * refused where it stands, before anything could be multiplied by it. */
struct reading {
    yaml_parser_t parser;
    yaml_event_t event; /* the current one; always ours to delete */
    const char *name;
    uint32_t nodes, depth;
};

static pk_err refuse(const struct reading *reading, yaml_mark_t mark, const char *what)
{
    return pk_fail(PK_INVALID, "%s:%zu:%zu: %s", reading->name, mark.line + 1, mark.column + 1, what);
}

static pk_err syntax_error(const struct reading *reading)
{
    const yaml_parser_t *parser = &reading->parser;
    const char *problem = parser->problem ? parser->problem : "unreadable";
    if (parser->error == YAML_MEMORY_ERROR)
        return pk_fail(PK_NOMEM, "%s: no memory to parse it", reading->name);
    if (parser->error == YAML_READER_ERROR)
        return pk_fail(PK_INVALID, "%s: not YAML in UTF-8: %s (byte %zu)", reading->name, problem,
                       parser->problem_offset);
    return pk_fail(PK_INVALID, "%s:%zu:%zu: not YAML: %s%s%s", reading->name, parser->problem_mark.line + 1,
                   parser->problem_mark.column + 1, problem, parser->context ? " " : "",
                   parser->context ? parser->context : "");
}

static pk_err next_event(struct reading *reading)
{
    yaml_event_delete(&reading->event);
    return yaml_parser_parse(&reading->parser, &reading->event) ? PK_OK : syntax_error(reading);
}

/* Anchors and tags of the event that begins a node; "" where it has none. */
static pk_err check_properties(const struct reading *reading)
{
    const yaml_event_t *event = &reading->event;
    const yaml_char_t *anchor = NULL, *tag = NULL;
    if (event->type == YAML_SCALAR_EVENT) {
        anchor = event->data.scalar.anchor;
        tag = event->data.scalar.tag;
    } else if (event->type == YAML_SEQUENCE_START_EVENT) {
        anchor = event->data.sequence_start.anchor;
        tag = event->data.sequence_start.tag;
    } else if (event->type == YAML_MAPPING_START_EVENT) {
        anchor = event->data.mapping_start.anchor;
        tag = event->data.mapping_start.tag;
    }
    if (anchor || event->type == YAML_ALIAS_EVENT)
        return refuse(reading, event->start_mark, "anchors and aliases are not allowed, write the value out");
    if (tag)
        return refuse(reading, event->start_mark, "tags are not allowed, write the value alone");
    return PK_OK;
}

static pk_err read_word(const struct reading *reading, pk_yaml_node *node)
{
    const yaml_event_t *event = &reading->event;
    size_t length = event->data.scalar.length;
    if (length > PK_YAML_WORD_BYTES)
        return pk_fail(PK_INVALID, "%s:%u:%u: a word of %zu bytes, at most %d are allowed", reading->name, node->line,
                       node->column, length, PK_YAML_WORD_BYTES);
    if (memchr(event->data.scalar.value, 0, length))
        return refuse(reading, event->start_mark, "a zero byte inside a word");
    node->quoted = event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
    node->text = strdup((const char *)event->data.scalar.value);
    return node->text ? PK_OK : pk_fail(PK_NOMEM, "%s: no memory to parse it", reading->name);
}

static pk_err append(const struct reading *reading, pk_yaml_node *parent, pk_yaml_node *take)
{
    /* Grown at the powers of two. */
    if (!(parent->count & (parent->count - 1))) {
        size_t room = parent->count ? 2 * (size_t)parent->count : 1;
        pk_yaml_node **items = realloc(parent->items, room * sizeof *items);
        if (!items) {
            pk_yaml_close(&take);
            return pk_fail(PK_NOMEM, "%s: no memory to parse it", reading->name);
        }
        parent->items = items;
    }
    parent->items[parent->count++] = take;
    return PK_OK;
}

/* The last item of a map was just read as a key. */
static pk_err check_key(const struct reading *reading, const pk_yaml_node *map)
{
    const pk_yaml_node *key = map->items[map->count - 1];
    if (key->type != PK_YAML_WORD)
        return pk_fail(PK_INVALID, "%s:%u:%u: expected a word as key, found %s", reading->name, key->line, key->column,
                       pk_yaml_type_name(key->type));
    if (map->count / 2 >= PK_YAML_MAP_ENTRIES)
        return pk_fail(PK_INVALID, "%s:%u:%u: more than %d keys in one map", reading->name, key->line, key->column,
                       PK_YAML_MAP_ENTRIES);
    for (uint32_t i = 0; i + 1 < map->count; i += 2)
        if (!strcmp(map->items[i]->text, key->text))
            return pk_fail(PK_INVALID, "%s:%u:%u: key \"%.64s\" given twice, first at %u:%u", reading->name, key->line,
                           key->column, key->text, map->items[i]->line, map->items[i]->column);
    return PK_OK;
}

static pk_err read_node(struct reading *reading, pk_yaml_node **out);

/* The children of a list or map whose start is the current event; ends with its end as the current event. */
static pk_err read_children(struct reading *reading, pk_yaml_node *parent)
{
    yaml_event_type_t end = parent->type == PK_YAML_LIST ? YAML_SEQUENCE_END_EVENT : YAML_MAPPING_END_EVENT;
    pk_err err = PK_OK;
    if (++reading->depth > PK_YAML_DEPTH)
        return refuse(reading, reading->event.start_mark, "nested too deeply");
    while (!(err = next_event(reading)) && reading->event.type != end) {
        pk_yaml_node *child = NULL;
        if ((err = read_node(reading, &child)) || (err = append(reading, parent, child)))
            return err;
        if (parent->type == PK_YAML_MAP && parent->count % 2 && (err = check_key(reading, parent)))
            return err;
    }
    --reading->depth;
    return err;
}

static pk_yaml_type event_node_type(yaml_event_type_t type)
{
    return type == YAML_SEQUENCE_START_EVENT  ? PK_YAML_LIST
           : type == YAML_MAPPING_START_EVENT ? PK_YAML_MAP
                                              : PK_YAML_WORD;
}

/* The node that the current event begins. */
static pk_err read_node(struct reading *reading, pk_yaml_node **out)
{
    pk_err err = check_properties(reading);
    if (err)
        return err;
    if (++reading->nodes > PK_YAML_NODES)
        return refuse(reading, reading->event.start_mark, "too many values in one file");
    pk_yaml_node *node = calloc(1, sizeof *node);
    if (!node)
        return pk_fail(PK_NOMEM, "%s: no memory to parse it", reading->name);
    node->type = event_node_type(reading->event.type);
    node->line = (uint32_t)reading->event.start_mark.line + 1;
    node->column = (uint32_t)reading->event.start_mark.column + 1;
    err = node->type == PK_YAML_WORD ? read_word(reading, node) : read_children(reading, node);
    if (err)
        pk_yaml_close(&node);
    *out = node;
    return err;
}

static pk_err read_document(struct reading *reading, pk_yaml_node **out)
{
    pk_err err = PK_OK;
    do
        err = next_event(reading);
    while (!err &&
           (reading->event.type == YAML_STREAM_START_EVENT || reading->event.type == YAML_DOCUMENT_START_EVENT));
    if (err)
        return err;
    if (reading->event.type == YAML_STREAM_END_EVENT)
        return refuse(reading, reading->event.start_mark, "the file is empty");
    if ((err = read_node(reading, out)) || (err = next_event(reading)) || (err = next_event(reading)))
        return err; /* the document's end, then the stream's */
    if (reading->event.type != YAML_STREAM_END_EVENT)
        return refuse(reading, reading->event.start_mark, "a second document, expected one");
    return PK_OK;
}

pk_err pk_yaml_open(pk_yaml_node **out, const char *name, const void *text, size_t bytes)
{
    struct reading reading = {.name = name};
    *out = NULL;
    if (!yaml_parser_initialize(&reading.parser))
        return pk_fail(PK_NOMEM, "%s: no memory to parse it", name);
    yaml_parser_set_encoding(&reading.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&reading.parser, text, bytes);
    pk_err err = read_document(&reading, out);
    if (err)
        pk_yaml_close(out);
    yaml_event_delete(&reading.event);
    yaml_parser_delete(&reading.parser);
    return err;
}

void pk_yaml_close(pk_yaml_node **root)
{
    pk_yaml_node *node = *root;
    if (!node)
        return;
    for (uint32_t i = 0; i < node->count; ++i)
        pk_yaml_close(&node->items[i]);
    free(node->items);
    free(node->text);
    free(node);
    *root = NULL;
}

const pk_yaml_node *pk_yaml_get(const pk_yaml_node *map, const char *key)
{
    for (uint32_t i = 0; i + 1 < map->count; i += 2)
        if (!strcmp(map->items[i]->text, key))
            return map->items[i + 1];
    return NULL;
}

const char *pk_yaml_type_name(pk_yaml_type type)
{
    return type == PK_YAML_MAP ? "a map" : type == PK_YAML_LIST ? "a list" : "a word";
}
