#include "pipeline/request_line.h"

#include "pipeline/chat.h"
#include "pipeline/scalar.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define CHAT_URL       "/v1/chat/completions"
#define COMPLETION_URL "/v1/completions"

enum { TEMPERATURE_MAX = 100 };

/* What is being read. The prompt is written when all fields are known. */
typedef struct {
    pk_request_line *out;
    const pk_json *messages, *tools, *prompt; /* NULL: not said */
    const char *code;
} reading;

/* Which urls have a field. */
enum { CHAT = 1, COMPLETION = 2, BOTH = 3 };

typedef struct field field;
typedef pk_err take_field(reading *r, const field *f, const pk_json *value);

struct field {
    const char *name;
    unsigned urls;
    take_field *take;
    const char *neutral; /* without take: the values that ask for nothing, as JSON, "|" between */
};

static take_field take_max_tokens, take_temperature, take_top_p, take_top_k, take_min_p, take_seed, take_choices;
static take_field take_messages, take_tools, take_tool_choice, take_prompt, take_anything;

static const field fields[] = {
    {"messages", CHAT, .take = take_messages},
    {"tools", CHAT, .take = take_tools},
    {"tool_choice", CHAT, .take = take_tool_choice},
    {"prompt", COMPLETION, .take = take_prompt},
    {"max_tokens", BOTH, .take = take_max_tokens},
    {"max_completion_tokens", CHAT, .take = take_max_tokens},
    {"temperature", BOTH, .take = take_temperature},
    {"top_p", BOTH, .take = take_top_p},
    {"top_k", BOTH, .take = take_top_k},
    {"min_p", BOTH, .take = take_min_p},
    {"seed", BOTH, .take = take_seed},
    {"n", BOTH, .take = take_choices},
    /* Said about a request, not to the model. */
    {"model", BOTH, .take = take_anything},
    {"user", BOTH, .take = take_anything},
    {"metadata", BOTH, .take = take_anything},
    {"store", BOTH, .take = take_anything},
    {"service_tier", BOTH, .take = take_anything},
    /* Not in this version. */
    {"stop", BOTH, .neutral = "[]"},
    {"stream", BOTH, .neutral = "false"},
    {"stream_options", BOTH, .neutral = ""},
    {"logprobs", CHAT, .neutral = "false"},
    {"logprobs", COMPLETION, .neutral = ""},
    {"top_logprobs", CHAT, .neutral = "0"},
    {"presence_penalty", BOTH, .neutral = "0|0.0"},
    {"frequency_penalty", BOTH, .neutral = "0|0.0"},
    {"repetition_penalty", BOTH, .neutral = "1|1.0"},
    {"length_penalty", BOTH, .neutral = "1|1.0"},
    {"logit_bias", BOTH, .neutral = "{}"},
    {"response_format", BOTH, .neutral = "{\"type\": \"text\"}"},
    {"parallel_tool_calls", CHAT, .neutral = "true"},
    {"min_tokens", BOTH, .neutral = "0"},
    {"ignore_eos", BOTH, .neutral = "false"},
    {"stop_token_ids", BOTH, .neutral = "[]"},
    {"bad_words", BOTH, .neutral = "[]"},
    {"use_beam_search", BOTH, .neutral = "false"},
    {"skip_special_tokens", BOTH, .neutral = "true"},
    {"echo", BOTH, .neutral = "false"},
    {"best_of", BOTH, .neutral = "1"},
    {"suffix", COMPLETION, .neutral = "\"\""},
    {"add_generation_prompt", CHAT, .neutral = "true"},
    {"continue_final_message", CHAT, .neutral = "false"},
    {"chat_template", CHAT, .neutral = ""},
    {"chat_template_kwargs", CHAT, .neutral = "{}"},
    {"modalities", CHAT, .neutral = "[\"text\"]"},
    {"reasoning_effort", CHAT, .neutral = ""},
    {"think_budget", CHAT, .neutral = ""},
};

static pk_err refuse(reading *r, const char *name, const pk_json *value, const char *expected)
{
    char shown[PK_JSON_SHOW];
    r->code = PK_REQUEST_INVALID;
    return pk_fail(PK_INVALID, "%s: %s; expected %s", name, pk_json_show(shown, value), expected);
}

static pk_err take_anything(reading *r, const field *f, const pk_json *value)
{
    (void)r, (void)f, (void)value;
    return PK_OK;
}

static pk_err take_messages(reading *r, const field *f, const pk_json *value)
{
    (void)f;
    r->messages = value;
    return PK_OK;
}

static pk_err take_tools(reading *r, const field *f, const pk_json *value)
{
    (void)f;
    r->tools = value;
    return PK_OK;
}

static pk_err take_prompt(reading *r, const field *f, const pk_json *value)
{
    (void)f;
    r->prompt = value;
    return PK_OK;
}

static pk_err take_tool_choice(reading *r, const field *f, const pk_json *value)
{
    const char *word = pk_json_string(value);
    if (!word || (strcmp(word, "auto") && strcmp(word, "none")))
        return refuse(r, f->name, value, "\"auto\" or \"none\"");
    r->out->calls = !strcmp(word, "auto");
    return PK_OK;
}

static pk_err take_max_tokens(reading *r, const field *f, const pk_json *value)
{
    int64_t number = 0;
    if (!pk_json_integer(value, &number) || number < 1 || number > PK_LIMIT_CONTEXT)
        return refuse(r, f->name, value, "an integer from 1 to 1073741824");
    r->out->generation.max_tokens = (uint32_t)number;
    return PK_OK;
}

static pk_err take_temperature(reading *r, const field *f, const pk_json *value)
{
    double number = 0;
    if (!pk_json_number(value, &number) || !(number >= 0 && number <= TEMPERATURE_MAX))
        return refuse(r, f->name, value, "a number from 0 to 100");
    r->out->generation.temperature = (float)number;
    return PK_OK;
}

static pk_err take_top_p(reading *r, const field *f, const pk_json *value)
{
    double number = 0;
    if (!pk_json_number(value, &number) || !(number > 0 && number <= 1))
        return refuse(r, f->name, value, "a number above 0, at most 1");
    r->out->generation.top_p = (float)number;
    return PK_OK;
}

static pk_err take_top_k(reading *r, const field *f, const pk_json *value)
{
    int64_t number = 0;
    if (!pk_json_integer(value, &number) || number < -1 || number > INT32_MAX)
        return refuse(r, f->name, value, "an integer; 0 or -1 for all tokens");
    r->out->generation.top_k = number < 0 ? 0 : (uint32_t)number;
    return PK_OK;
}

static pk_err take_min_p(reading *r, const field *f, const pk_json *value)
{
    double number = 0;
    if (!pk_json_number(value, &number) || !(number >= 0 && number <= 1))
        return refuse(r, f->name, value, "a number from 0 to 1");
    r->out->generation.min_p = (float)number;
    return PK_OK;
}

static pk_err take_seed(reading *r, const field *f, const pk_json *value)
{
    int64_t number = 0;
    if (!pk_json_integer(value, &number) || number < 0)
        return refuse(r, f->name, value, "an integer of at least 0");
    r->out->generation.seed = (uint64_t)number;
    return PK_OK;
}

static pk_err take_choices(reading *r, const field *f, const pk_json *value)
{
    int64_t number = 0;
    if (!pk_json_integer(value, &number) || number < 1 || number > PK_ANSWERS_MAX)
        return refuse(r, f->name, value, "an integer from 1 to 128");
    r->out->choices = (uint32_t)number;
    return PK_OK;
}

static bool is_one_of(const char *alternatives, const char *text, size_t bytes)
{
    for (const char *at = alternatives; *at;) {
        size_t length = strcspn(at, "|");
        if (length == bytes && !memcmp(at, text, bytes))
            return true;
        at += length + (at[length] == '|');
    }
    return false;
}

static pk_err expect_neutral(reading *r, const field *f, const pk_json *value)
{
    char shown[PK_JSON_SHOW];
    pk_json_text text = {0};
    pk_json_text_value(&text, value);
    pk_err err = pk_json_text_check(&text);
    bool neutral = !err && is_one_of(f->neutral, text.bytes, text.used);
    pk_json_text_fini(&text);
    if (err || neutral)
        return err;
    r->code = PK_REQUEST_UNSUPPORTED_FIELD;
    size_t length = strcspn(f->neutral, "|");
    if (!length)
        return pk_fail(PK_INVALID, "%s: %s; the field is not in this version, leave it out", f->name,
                       pk_json_show(shown, value));
    return pk_fail(PK_INVALID, "%s: %s; expected %.*s, nothing else is in this version", f->name,
                   pk_json_show(shown, value), (int)length, f->neutral);
}

static pk_err refuse_unknown(reading *r, const char *name, unsigned url)
{
    const char *words[sizeof fields / sizeof *fields + 1] = {0};
    size_t count = 0;
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        if (fields[i].urls & url)
            words[count++] = fields[i].name;
    const char *nearest = pk_scalar_nearest(name, words);
    r->code = PK_REQUEST_UNSUPPORTED_FIELD;
    return pk_fail(PK_INVALID, "%.80s: unknown field%s%s%s", name, nearest ? "; did you mean \"" : "",
                   nearest ? nearest : "", nearest ? "\"?" : "");
}

static pk_err read_field(reading *r, const char *name, const pk_json *value, unsigned url)
{
    if (pk_json_kind_of(value) == PK_JSON_NULL) /* says nothing */
        return PK_OK;
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        if ((fields[i].urls & url) && !strcmp(fields[i].name, name))
            return fields[i].take ? fields[i].take(r, &fields[i], value) : expect_neutral(r, &fields[i], value);
    return refuse_unknown(r, name, url);
}

static pk_err take_ids(reading *r, const pk_json *ids)
{
    size_t count = pk_json_count(ids);
    if (!count || count > PK_LIMIT_CONTEXT)
        return refuse(r, "prompt", ids, "a string or token ids, at least one");
    if (!(r->out->ids = malloc(count * sizeof *r->out->ids)))
        return pk_fail(PK_NOMEM, "%zu token ids", count);
    for (size_t i = 0; i < count; i++) {
        int64_t id = -1;
        if (!pk_json_integer(pk_json_item(ids, i), &id) || id < 0 || id > INT32_MAX)
            return refuse(r, "prompt", pk_json_item(ids, i), "one string, or a list of token ids");
        r->out->ids[i] = (int32_t)id;
    }
    r->out->id_count = (uint32_t)count;
    return PK_OK;
}

static pk_err take_text(reading *r, const char *text)
{
    r->out->prompt_bytes = strlen(text);
    if (!*text)
        return refuse(r, "prompt", r->prompt, "at least one character");
    r->out->prompt = strdup(text);
    return r->out->prompt ? PK_OK : pk_fail(PK_NOMEM, "a prompt of %zu bytes", r->out->prompt_bytes);
}

/* Of a text completion: a string, a list of ids, or a list of one of these. */
static pk_err write_prompt(reading *r)
{
    const pk_json *prompt = r->prompt;
    if (prompt && pk_json_kind_of(prompt) == PK_JSON_ARRAY && pk_json_count(prompt) == 1 &&
        pk_json_kind_of(pk_json_item(prompt, 0)) != PK_JSON_INTEGER)
        prompt = pk_json_item(prompt, 0);
    if (prompt && pk_json_string(prompt))
        return take_text(r, pk_json_string(prompt));
    if (prompt && pk_json_kind_of(prompt) == PK_JSON_ARRAY)
        return take_ids(r, prompt);
    return refuse(r, "prompt", prompt, "a string or a list of token ids");
}

static pk_err write_chat(reading *r)
{
    pk_json_text text = {0};
    r->code = PK_REQUEST_INVALID;
    pk_err err = pk_chat_write(&text, r->messages, r->tools);
    if (!err)
        err = pk_json_text_check(&text);
    if (err) {
        pk_json_text_fini(&text);
        return err;
    }
    r->out->prompt = text.bytes;
    r->out->prompt_bytes = text.used;
    return PK_OK;
}

static pk_err read_body(reading *r, const pk_json *body)
{
    void *at = NULL;
    const char *name = NULL;
    const pk_json *value = NULL;
    pk_err err = PK_OK;
    if (!body || pk_json_kind_of(body) != PK_JSON_OBJECT)
        return refuse(r, "body", body, "an object");
    while (!err && pk_json_next(body, &at, &name, &value))
        err = read_field(r, name, value, r->out->chat ? CHAT : COMPLETION);
    if (!err)
        err = r->out->chat ? write_chat(r) : write_prompt(r);
    r->out->calls &= r->tools != NULL;
    return pk_pass(err, "body");
}

static pk_err read_custom_id(reading *r, const pk_json *root)
{
    const pk_json *id = pk_json_member(root, "custom_id");
    const char *text = id ? pk_json_string(id) : NULL;
    if (!text || !*text || strlen(text) >= PK_CUSTOM_ID_BYTES)
        return refuse(r, "custom_id", id, "a string of 1 to 512 bytes");
    strcpy(r->out->custom_id, text);
    return PK_OK;
}

static pk_err read_envelope(reading *r, const pk_json *root)
{
    const pk_json *method = pk_json_member(root, "method"), *url = pk_json_member(root, "url");
    const char *where = url ? pk_json_string(url) : NULL;
    if (!method || !pk_json_string(method) || strcmp(pk_json_string(method), "POST"))
        return refuse(r, "method", method, "\"POST\"");
    r->out->chat = where && !strcmp(where, CHAT_URL);
    if (!r->out->chat && (!where || strcmp(where, COMPLETION_URL)))
        return refuse(r, "url", url, "\"" CHAT_URL "\" or \"" COMPLETION_URL "\"");
    return PK_OK;
}

static pk_err read_root(reading *r, const pk_json *root)
{
    void *at = NULL;
    const char *name = NULL;
    const pk_json *value = NULL;
    if (pk_json_kind_of(root) != PK_JSON_OBJECT)
        return refuse(r, "the line", root, "an object");
    pk_err err = read_custom_id(r, root);
    if (!err)
        err = read_envelope(r, root);
    while (!err && pk_json_next(root, &at, &name, &value))
        if (strcmp(name, "custom_id") && strcmp(name, "method") && strcmp(name, "url") && strcmp(name, "body"))
            err = refuse(r, name, value, "custom_id, method, url and body only");
    return err ? err : read_body(r, pk_json_member(root, "body"));
}

pk_err pk_request_line_read(pk_request_line *out, const char *line, size_t bytes, const pk_generation *defaults,
                            const char **code)
{
    reading r = {.out = out, .code = PK_REQUEST_INVALID_JSON};
    pk_json *root = NULL;
    *out = (pk_request_line){.generation = *defaults, .choices = 1, .calls = true, .markup = true};
    pk_err err = pk_json_open(&root, line, bytes, bytes);
    if (!err)
        err = read_root(&r, root);
    pk_json_close(&root);
    if (err && err != PK_NOMEM) {
        *code = r.code;
        return pk_fail(PK_INVALID, "%s", pk_error_text());
    }
    return err;
}

void pk_request_line_fini(pk_request_line *line)
{
    free(line->prompt);
    free(line->ids);
    line->prompt = NULL;
    line->ids = NULL;
}
