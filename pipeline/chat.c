#include "pipeline/chat.h"

#include <inttypes.h>
#include <string.h>

#define TURN "<beginning_of_sentence>"
#define END  "<end_of_sentence>\n"

/* The example line has no quotes because Jinja reads the template's doubled ones as two strings side by side: the model
 * is asked in the words that its own tools use. */
#define TOOLS_HEAD "system tool_setting=tools\nYou are provided with these tools:\n<tools>\n"
#define TOOLS_TAIL                                                                                                     \
    "</tools>\n\nIf you need to call tools, please respond with <tool_calls></tool_calls> XML tags, and provide "      \
    "tool-name and json-object of arguments, following the format below:\n<tool_calls>\n"                              \
    "{name: <tool-name-1>, arguments: <args-json-object-1>}\n...\n</tool_calls>"

enum { CALL_VALUES_MAX = 100000 };

typedef enum { SYSTEM, USER, ASSISTANT, TOOL, ROLES } role;

static const struct {
    const char *word;
    role role;
} roles[] = {{"system", SYSTEM}, {"developer", SYSTEM}, {"user", USER}, {"assistant", ASSISTANT}, {"tool", TOOL}};

static void put(pk_json_text *out, const char *text)
{
    pk_json_text_bytes(out, text, strlen(text));
}

static pk_err refuse(const char *where, const pk_json *value, const char *expected)
{
    char shown[PK_JSON_SHOW];
    return pk_fail(PK_INVALID, "%s: %s; expected %s", where, pk_json_show(shown, value), expected);
}

static const pk_json *member(const pk_json *object, const char *name)
{
    const pk_json *value = pk_json_member(object, name);
    return value && pk_json_kind_of(value) != PK_JSON_NULL ? value : NULL; /* null says nothing, as everywhere here */
}

static pk_err read_role(const pk_json *message, role *out)
{
    const pk_json *value = member(message, "role");
    const char *word = value ? pk_json_string(value) : NULL;
    for (size_t i = 0; word && i < sizeof roles / sizeof *roles; i++)
        if (!strcmp(word, roles[i].word)) {
            *out = roles[i].role;
            return PK_OK;
        }
    return refuse("role", value, "\"system\", \"developer\", \"user\", \"assistant\" or \"tool\"");
}

static pk_err put_part(pk_json_text *out, const pk_json *part)
{
    const pk_json *type = NULL, *text = NULL;
    if (pk_json_kind_of(part) == PK_JSON_OBJECT) {
        type = member(part, "type");
        text = member(part, "text");
    }
    if (!type || !pk_json_string(type) || strcmp(pk_json_string(type), "text"))
        return refuse("type", type, "\"text\": this model reads text only");
    if (!text || !pk_json_string(text))
        return refuse("text", text, "a string");
    put(out, pk_json_string(text));
    return PK_OK;
}

/* A string, or its parts one behind the other. */
static pk_err put_content(pk_json_text *out, const pk_json *content)
{
    pk_err err = PK_OK;
    if (content && pk_json_string(content)) {
        put(out, pk_json_string(content));
        return PK_OK;
    }
    if (!content || pk_json_kind_of(content) != PK_JSON_ARRAY)
        return refuse("content", content, "a string or an array of parts");
    for (size_t i = 0; !err && i < pk_json_count(content); i++)
        err = pk_pass(put_part(out, pk_json_item(content, i)), "content[%zu]", i);
    return err;
}

static void put_turn(pk_json_text *out, const char *who)
{
    put(out, TURN);
    put(out, who);
    put(out, "\n");
}

/* One call as the model writes it: a line with the name and the arguments, which stand in a string in OpenAI's form. */
static pk_err put_call(pk_json_text *out, const pk_json *call)
{
    const pk_json *function = pk_json_kind_of(call) == PK_JSON_OBJECT ? member(call, "function") : NULL;
    if (!function || pk_json_kind_of(function) != PK_JSON_OBJECT)
        return refuse("function", function, "an object with name and arguments");
    const pk_json *name = member(function, "name"), *arguments = member(function, "arguments");
    const char *text = arguments ? pk_json_string(arguments) : NULL;
    if (!name || !pk_json_string(name))
        return refuse("function.name", name, "a string");
    if (!text)
        return refuse("function.arguments", arguments, "a string that holds a JSON object");
    pk_json *parsed = NULL;
    pk_err err = pk_json_open(&parsed, text, strlen(text), CALL_VALUES_MAX);
    if (err)
        return err == PK_NOMEM ? err : pk_fail(PK_INVALID, "function.arguments: %s", pk_error_text());
    put(out, "{\"name\": ");
    pk_json_text_word(out, pk_json_string(name));
    put(out, ", \"arguments\": ");
    pk_json_text_value(out, parsed);
    put(out, "}\n");
    pk_json_close(&parsed);
    return PK_OK;
}

static pk_err put_calls(pk_json_text *out, const pk_json *calls)
{
    pk_err err = PK_OK;
    if (pk_json_kind_of(calls) != PK_JSON_ARRAY)
        return refuse("tool_calls", calls, "an array");
    if (!pk_json_count(calls))
        return PK_OK;
    if (out->used && out->bytes[out->used - 1] != '\n')
        put(out, "\n");
    put(out, "<tool_calls>\n");
    for (size_t i = 0; !err && i < pk_json_count(calls); i++)
        err = pk_pass(put_call(out, pk_json_item(calls, i)), "tool_calls[%zu]", i);
    put(out, "</tool_calls>");
    return err;
}

static pk_err put_assistant(pk_json_text *out, const pk_json *message)
{
    const pk_json *content = member(message, "content"), *calls = member(message, "tool_calls");
    put_turn(out, "ai name=assistant");
    pk_err err = content || !calls ? put_content(out, content) : PK_OK;
    if (!err && calls)
        err = put_calls(out, calls);
    put(out, END);
    return err;
}

/* The function's name in the call of this id, among the messages before `end`; the latest; NULL: nowhere. */
static const char *called_name(const pk_json *messages, size_t end, const char *id)
{
    while (end-- > 0) {
        const pk_json *calls = member(pk_json_item(messages, end), "tool_calls");
        for (size_t i = 0; calls && i < pk_json_count(calls); i++) {
            const pk_json *call = pk_json_item(calls, i);
            const pk_json *its = call ? member(call, "id") : NULL;
            if (its && pk_json_string(its) && !strcmp(pk_json_string(its), id))
                return pk_json_string(pk_json_member(pk_json_member(call, "function"), "name"));
        }
    }
    return NULL;
}

static pk_err tool_name(const pk_json *messages, size_t index, const char **out)
{
    const pk_json *message = pk_json_item(messages, index);
    const pk_json *name = member(message, "name"), *id = member(message, "tool_call_id");
    if (name && (*out = pk_json_string(name)))
        return PK_OK;
    if (name)
        return refuse("name", name, "a string");
    if (!id || !pk_json_string(id))
        return refuse("tool_call_id", id, "a string, or a name beside it");
    *out = called_name(messages, index, pk_json_string(id));
    return *out ? PK_OK : refuse("tool_call_id", id, "the id of a call in an earlier message");
}

static void put_tool_name(pk_json_text *out, const char *name)
{
    put(out, "tool name: ");
    put(out, name);
    put(out, "\ntool result: ");
}

/* The template's own form: each part bears its name. */
static pk_err put_named_result(pk_json_text *out, const pk_json *part)
{
    const pk_json *name = member(part, "name"), *text = member(part, "text");
    if (!pk_json_string(name))
        return refuse("name", name, "a string");
    if (!text || !pk_json_string(text))
        return refuse("text", text, "a string");
    put_tool_name(out, pk_json_string(name));
    put(out, pk_json_string(text));
    put(out, "\n\n");
    return PK_OK;
}

static bool has_named_parts(const pk_json *content)
{
    const pk_json *first = content && pk_json_kind_of(content) == PK_JSON_ARRAY ? pk_json_item(content, 0) : NULL;
    return first && pk_json_kind_of(first) == PK_JSON_OBJECT && member(first, "name");
}

static pk_err put_results(pk_json_text *out, const pk_json *messages, size_t index)
{
    const pk_json *content = member(pk_json_item(messages, index), "content");
    const char *name = NULL;
    pk_err err = PK_OK;
    if (has_named_parts(content)) {
        for (size_t i = 0; !err && i < pk_json_count(content); i++) {
            const pk_json *part = pk_json_item(content, i);
            err = pk_json_kind_of(part) == PK_JSON_OBJECT ? put_named_result(out, part)
                                                          : refuse("a part", part, "an object with name and text");
            err = pk_pass(err, "content[%zu]", i);
        }
        return err;
    }
    if ((err = tool_name(messages, index, &name)))
        return err;
    put_tool_name(out, name);
    err = put_content(out, content);
    put(out, "\n\n");
    return err;
}

static pk_err put_message(pk_json_text *out, const pk_json *messages, size_t index, role who)
{
    const pk_json *message = pk_json_item(messages, index);
    pk_err err = PK_OK;
    switch (who) {
    case USER:
        put_turn(out, "user name=user");
        err = put_content(out, member(message, "content"));
        put(out, END);
        return err;
    case ASSISTANT:
        return put_assistant(out, message);
    case TOOL:
        put_turn(out, "tool name=tools");
        err = put_results(out, messages, index);
        put(out, END);
        return err;
    case SYSTEM: /* stands in front */
    case ROLES:
        break;
    }
    return PK_OK;
}

/* All the system's words, wherever they stood, in one turn; none where there are no words. */
static pk_err put_system(pk_json_text *out, const pk_json *messages)
{
    size_t before = out->used;
    put_turn(out, "system ai_setting=assistant");
    size_t empty = out->used;
    pk_err err = PK_OK;
    for (size_t i = 0; !err && i < pk_json_count(messages); i++) {
        const pk_json *message = pk_json_item(messages, i);
        role who = ROLES;
        err = pk_json_kind_of(message) == PK_JSON_OBJECT ? read_role(message, &who)
                                                         : refuse("a message", message, "an object");
        if (!err && who == SYSTEM)
            err = put_content(out, member(message, "content"));
        err = pk_pass(err, "messages[%zu]", i);
    }
    if (out->used == empty)
        out->used = before;
    else
        put(out, END);
    return err;
}

static pk_err put_tools(pk_json_text *out, const pk_json *tools)
{
    if (pk_json_kind_of(tools) != PK_JSON_ARRAY)
        return refuse("tools", tools, "an array");
    if (!pk_json_count(tools))
        return PK_OK;
    put(out, TURN TOOLS_HEAD);
    for (size_t i = 0; i < pk_json_count(tools); i++) {
        if (pk_json_kind_of(pk_json_item(tools, i)) != PK_JSON_OBJECT)
            return refuse("tools", pk_json_item(tools, i), "objects");
        pk_json_text_value(out, pk_json_item(tools, i));
        put(out, "\n");
    }
    put(out, TOOLS_TAIL END);
    return PK_OK;
}

pk_err pk_chat_write(pk_json_text *out, const pk_json *messages, const pk_json *tools)
{
    if (!messages || pk_json_kind_of(messages) != PK_JSON_ARRAY || !pk_json_count(messages))
        return refuse("messages", messages, "an array of at least one message");
    put(out, "<begin_of_document>");
    pk_err err = put_system(out, messages);
    if (!err && tools)
        err = put_tools(out, tools);
    for (size_t i = 0; !err && i < pk_json_count(messages); i++) {
        role who;
        err = read_role(pk_json_item(messages, i), &who);
        if (!err)
            err = pk_pass(put_message(out, messages, i, who), "messages[%zu]", i);
    }
    put_turn(out, "ai name=assistant");
    return err;
}
