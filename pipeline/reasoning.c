#include "pipeline/reasoning.h"

#include <ctype.h>
#include <string.h>

#define THINK     "<think>"
#define THINK_END "</think>"
#define CALLS     "<tool_calls>"
#define CALLS_END "</tool_calls>"

enum { CALL_VALUES_MAX = 100000 };

static const char *find(const char *from, const char *end, const char *word)
{
    return memmem(from, (size_t)(end - from), word, strlen(word));
}

static bool is_space(char c)
{
    return isspace((unsigned char)c);
}

static pk_text_view view(const char *from, const char *end)
{
    return (pk_text_view){.bytes = from, .count = (size_t)(end - from)};
}

static pk_text_view trimmed(const char *from, const char *end)
{
    while (from < end && is_space(*from))
        from++;
    while (from < end && is_space(end[-1]))
        end--;
    return view(from, end);
}

/* One line end beside a tag belongs to the tag. */
static pk_text_view between_tags(const char *from, const char *end)
{
    if (from < end && *from == '\n')
        from++;
    if (from < end && end[-1] == '\n')
        end--;
    return view(from, end);
}

pk_reasoning pk_reasoning_split(const char *text, size_t bytes)
{
    const char *end = text + bytes, *start = text;
    while (start < end && is_space(*start))
        start++;
    bool opened = (size_t)(end - start) >= strlen(THINK) && !memcmp(start, THINK, strlen(THINK));
    const char *inside = opened ? start + strlen(THINK) : text;
    const char *close = find(inside, end, THINK_END);
    if (!opened && !close)
        return (pk_reasoning){.content = view(text, end)};
    pk_reasoning parts = {
        .reasoned = true, .reasoning = between_tags(inside, close ? close : end), .content = view(end, end)};
    if (close) {
        const char *rest = close + strlen(THINK_END);
        while (rest < end && *rest == '\n')
            rest++;
        parts.content = view(rest, end);
    }
    return parts;
}

/* One line: {"name": …, "arguments": {…}}; false: it is no call. */
static bool put_call(pk_json_text *out, const char *id, size_t index, pk_text_view line)
{
    pk_json *call = NULL;
    pk_json_text arguments = {0};
    bool good = false;
    if (pk_json_open(&call, line.bytes, line.count, CALL_VALUES_MAX))
        goto out;
    const pk_json *name = pk_json_member(call, "name"), *given = pk_json_member(call, "arguments");
    if (!name || !pk_json_string(name) || !given || pk_json_kind_of(given) != PK_JSON_OBJECT)
        goto out;
    pk_json_text_value(&arguments, given);
    pk_json_text_raw(out,
                     "%s{\"id\": \"call_%s_%zu\", \"type\": \"function\", \"function\": {\"name\": ", index ? ", " : "",
                     id, index + 1);
    pk_json_text_word(out, pk_json_string(name));
    pk_json_text_raw(out, ", \"arguments\": ");
    pk_json_text_string(out, arguments.bytes ? arguments.bytes : "", arguments.used);
    pk_json_text_raw(out, "}}");
    good = !arguments.lacking;
out:
    pk_json_text_fini(&arguments);
    pk_json_close(&call);
    return good;
}

/* The calls of the lines in [from, end); 0: none, or one of the lines is something else. */
static size_t put_calls(pk_json_text *out, const char *id, const char *from, const char *end)
{
    size_t count = 0;
    while (from < end) {
        const char *line_end = memchr(from, '\n', (size_t)(end - from));
        pk_text_view line = trimmed(from, line_end ? line_end : end);
        from = line_end ? line_end + 1 : end;
        if (!line.count)
            continue;
        if (!put_call(out, id, count, line))
            return 0;
        count++;
    }
    return count;
}

static const char *find_last(const char *from, const char *end, const char *word)
{
    const char *last = NULL;
    for (const char *at; (at = find(from, end, word)); from = at + strlen(word))
        last = at;
    return last;
}

/* The calls between the tag at `open` and the last one at `close`; 0 leaves `out` as it is. */
static size_t put_calls_from(pk_json_text *out, const char *id, const char *open, const char *close)
{
    size_t before = out->used;
    pk_json_text_raw(out, "[");
    size_t count = put_calls(out, id, open + strlen(CALLS), close);
    pk_json_text_raw(out, "]");
    if (!count)
        out->used = before;
    return count;
}

size_t pk_reasoning_calls(pk_json_text *out, const char *id, pk_text_view *content)
{
    pk_text_view text = trimmed(content->bytes, content->bytes + content->count);
    if (text.count < strlen(CALLS CALLS_END))
        return 0;
    const char *close = text.bytes + text.count - strlen(CALLS_END);
    if (memcmp(close, CALLS_END, strlen(CALLS_END)))
        return 0; /* cut off, or not the last word: it is text */
    const char *open = find(text.bytes, close, CALLS);
    size_t count = open ? put_calls_from(out, id, open, close) : 0;
    if (open && !count) { /* the answer may have spoken of the tag before it used it */
        open = find_last(open, close, CALLS);
        count = put_calls_from(out, id, open, close);
    }
    if (!count)
        return 0;
    while (open > content->bytes && is_space(open[-1]))
        open--;
    content->count = (size_t)(open - content->bytes);
    return count;
}
