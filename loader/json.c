#include "loader/json.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

/* pk_json is jansson's json_t under another name: nothing is wrapped, nothing is copied. */
static const json_t *node(const pk_json *value)
{
    return (const json_t *)value;
}

/* Depth and number of values, from the text alone: jansson takes about 100 bytes for a value of two, so both are known
 * before it begins. Brackets inside strings do not count; malformed text is jansson's to refuse. */
static pk_err check_bounds(const char *text, size_t bytes, size_t values_max)
{
    size_t depth = 0, values = 0;
    bool inside = false;
    for (size_t at = 0; at < bytes; at++) {
        char c = text[at];
        if (inside) {
            if (c == '\\')
                at++;
            else if (c == '"')
                inside = false;
            continue;
        }
        if (c == '"')
            inside = true;
        else if (c == '{' || c == '[') {
            values++;
            if (++depth > PK_JSON_DEPTH_MAX)
                return pk_fail(PK_CORRUPT, "JSON is nested deeper than %d at byte %zu", PK_JSON_DEPTH_MAX, at);
        } else if ((c == '}' || c == ']') && depth)
            depth--;
        else if (c == ',')
            values++;
        if (values > values_max)
            return pk_fail(PK_CORRUPT, "JSON has more than %zu values by byte %zu", values_max, at);
    }
    return PK_OK;
}

/* The string that ends at byte `end` of the text, quotes and all, cut when long. */
static const char *string_before(char out[PK_JSON_SHOW], const char *text, size_t end)
{
    size_t begin = end > 2 ? end - 2 : 0; /* before its closing quote */
    while (begin > 0 && (text[begin] != '"' || text[begin - 1] == '\\'))
        begin--;
    snprintf(out, PK_JSON_SHOW, "%.*s", (int)(end - begin < PK_JSON_SHOW ? end - begin : PK_JSON_SHOW), text + begin);
    return out;
}

/* In jansson's words. It does not say a key that stands twice when that is long: a tensor's is. */
static pk_err fail_parse(json_error_t *error, const char *text)
{
    char shown[PK_JSON_SHOW];
    if (json_error_code(error) == json_error_duplicate_key)
        return pk_fail(PK_CORRUPT, "JSON at line %d, column %d: duplicate object key near '%s'", error->line,
                       error->column, string_before(shown, text, (size_t)error->position));
    return pk_fail(json_error_code(error) == json_error_out_of_memory ? PK_NOMEM : PK_CORRUPT,
                   "JSON at line %d, column %d: %s", error->line, error->column, error->text);
}

pk_err pk_json_open(pk_json **out, const char *text, size_t bytes, size_t values_max)
{
    json_error_t error;
    *out = NULL;
    pk_err err = check_bounds(text, bytes, values_max);
    if (err)
        return err;
    json_t *root = json_loadb(text, bytes, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
    if (!root)
        return fail_parse(&error, text);
    *out = (pk_json *)root;
    return PK_OK;
}

void pk_json_close(pk_json **document)
{
    json_decref((json_t *)*document);
    *document = NULL;
}

pk_json_kind pk_json_kind_of(const pk_json *value)
{
    switch (json_typeof(node(value))) {
    case JSON_OBJECT:
        return PK_JSON_OBJECT;
    case JSON_ARRAY:
        return PK_JSON_ARRAY;
    case JSON_STRING:
        return PK_JSON_STRING;
    case JSON_INTEGER:
        return PK_JSON_INTEGER;
    case JSON_REAL:
        return PK_JSON_REAL;
    case JSON_TRUE:
        return PK_JSON_TRUE;
    case JSON_FALSE:
        return PK_JSON_FALSE;
    case JSON_NULL:
        break;
    }
    return PK_JSON_NULL;
}

const char *pk_json_show(char out[PK_JSON_SHOW], const pk_json *value)
{
    static const char *const words[] = {
        [PK_JSON_NULL] = "null",      [PK_JSON_FALSE] = "false",      [PK_JSON_TRUE] = "true",
        [PK_JSON_ARRAY] = "an array", [PK_JSON_OBJECT] = "an object",
    };
    if (!value)
        snprintf(out, PK_JSON_SHOW, "nothing");
    else if (json_is_string(node(value)))
        snprintf(out, PK_JSON_SHOW, "\"%.70s\"", json_string_value(node(value)));
    else if (json_is_integer(node(value)))
        snprintf(out, PK_JSON_SHOW, "%" JSON_INTEGER_FORMAT, json_integer_value(node(value)));
    else if (json_is_real(node(value)))
        snprintf(out, PK_JSON_SHOW, "%g", json_real_value(node(value)));
    else
        snprintf(out, PK_JSON_SHOW, "%s", words[pk_json_kind_of(value)]);
    return out;
}

size_t pk_json_count(const pk_json *value)
{
    return json_is_array(node(value)) ? json_array_size(node(value)) : json_object_size(node(value));
}

const pk_json *pk_json_item(const pk_json *array, size_t index)
{
    return (const pk_json *)json_array_get(node(array), index);
}

const pk_json *pk_json_member(const pk_json *object, const char *name)
{
    return (const pk_json *)json_object_get(node(object), name);
}

bool pk_json_next(const pk_json *object, void **at, const char **name, const pk_json **value)
{
    json_t *members = (json_t *)(uintptr_t)object; /* jansson's iterators want it mutable and leave it alone */
    *at = *at ? json_object_iter_next(members, *at) : json_object_iter(members);
    if (!*at)
        return false;
    *name = json_object_iter_key(*at);
    *value = (const pk_json *)json_object_iter_value(*at);
    return true;
}

bool pk_json_integer(const pk_json *value, int64_t *out)
{
    if (!json_is_integer(node(value)))
        return false;
    *out = json_integer_value(node(value));
    return true;
}

bool pk_json_number(const pk_json *value, double *out)
{
    if (!json_is_number(node(value)))
        return false;
    *out = json_number_value(node(value));
    return true;
}

const char *pk_json_string(const pk_json *value)
{
    return json_string_value(node(value));
}
