#include "pipeline/result_line.h"

#include "loader/digest.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* The digits that make a request's names unique. */
static const char *digits_of(const char *id)
{
    return id + strlen("batch_req_");
}

void pk_result_id(char out[PK_RESULT_ID_BYTES], const char *custom_id, const char *identity)
{
    /* A digest of two digests: no custom_id can run over into the identity. */
    pk_digest parts[2] = {pk_digest_of(custom_id, strlen(custom_id)), pk_digest_of(identity, strlen(identity))};
    char digest[PK_DIGEST_TEXT];
    pk_digest_text(digest, pk_digest_of(parts, sizeof parts));
    snprintf(out, PK_RESULT_ID_BYTES, "batch_req_%.16s", digest);
}

void pk_result_line_head(pk_json_text *out, const char *id, const char *custom_id)
{
    pk_json_text_raw(out, "{\"id\": ");
    pk_json_text_word(out, id);
    pk_json_text_raw(out, ", \"custom_id\": ");
    pk_json_text_word(out, custom_id);
    pk_json_text_raw(out, ", ");
}

static void put_view(pk_json_text *out, pk_text_view view)
{
    pk_json_text_string(out, view.bytes, view.count);
}

/* Where tools are called, content may be null, as OpenAI has it. */
static void put_message(pk_json_text *out, const pk_choice *choice)
{
    pk_json_text_raw(out, "\"message\": {\"role\": \"assistant\", \"content\": ");
    if (choice->calls.count && !choice->content.count)
        pk_json_text_raw(out, "null");
    else
        put_view(out, choice->content);
    if (choice->reasoned) {
        pk_json_text_raw(out, ", \"reasoning_content\": ");
        put_view(out, choice->reasoning);
    }
    if (choice->calls.count) {
        pk_json_text_raw(out, ", \"tool_calls\": ");
        pk_json_text_bytes(out, choice->calls.bytes, choice->calls.count);
    }
    pk_json_text_raw(out, "}");
}

static void put_quote(pk_json_text *out, pk_quote quote)
{
    if (!quote.line)
        return;
    pk_json_text_raw(out, ", \"quote\": {\"begin\": %zu, \"end\": %zu, \"line\": ", quote.begin,
                     quote.begin + quote.bytes);
    pk_json_text_string(out, quote.line, quote.bytes);
    pk_json_text_raw(out, "}");
}

static void put_choices(pk_json_text *out, const pk_result *result)
{
    pk_json_text_raw(out, "\"choices\": [");
    for (size_t i = 0; i < result->choice_count; i++) {
        const pk_choice *choice = &result->choices[i];
        pk_json_text_raw(out, "%s{\"index\": %zu, ", i ? ", " : "", i);
        if (result->completion) {
            pk_json_text_raw(out, "\"text\": ");
            put_view(out, choice->content);
        } else
            put_message(out, choice);
        pk_json_text_raw(out, ", \"finish_reason\": ");
        pk_json_text_word(out, choice->calls.count ? "tool_calls" : choice->finish_reason);
        put_quote(out, choice->quote);
        pk_json_text_raw(out, "}");
    }
    pk_json_text_raw(out, "]");
}

static void put_usage(pk_json_text *out, const pk_result *result)
{
    pk_json_text_raw(out, "\"usage\": {\"prompt_tokens\": %" PRIu64 ", \"completion_tokens\": %" PRIu64,
                     result->prompt_tokens, result->completion_tokens);
    pk_json_text_raw(out,
                     ", \"total_tokens\": %" PRIu64 ", \"prompt_tokens_details\": {\"cached_tokens\": %" PRIu64 "}}",
                     result->prompt_tokens + result->completion_tokens, result->cached_tokens);
}

void pk_result_line(pk_json_text *out, const char *id, const char *model, const pk_result *result)
{
    pk_result_line_head(out, id, result->custom_id);
    pk_json_text_raw(out, "\"response\": {\"status_code\": 200, \"request_id\": ");
    pk_json_text_word(out, id);
    pk_json_text_raw(out, ", \"body\": {\"id\": \"%s-%s\", \"object\": \"%s\", \"model\": ",
                     result->completion ? "cmpl" : "chatcmpl", digits_of(id),
                     result->completion ? "text_completion" : "chat.completion");
    pk_json_text_word(out, model);
    pk_json_text_raw(out, ", ");
    put_choices(out, result);
    pk_json_text_raw(out, ", ");
    put_usage(out, result);
    pk_json_text_raw(out, "}}, \"error\": null}\n");
}

void pk_result_error_line(pk_json_text *out, const char *id, const pk_failure *failure)
{
    pk_result_line_head(out, id, failure->custom_id);
    pk_json_text_raw(out, "\"response\": null, \"error\": {\"code\": ");
    pk_json_text_word(out, failure->code);
    pk_json_text_raw(out, ", \"message\": ");
    pk_json_text_word(out, failure->message);
    pk_json_text_raw(out, "}}\n");
}

static void mend_nuls(char *line, size_t bytes)
{
    for (size_t i = 0; i + 6 <= bytes; i++) {
        if (line[i] != '\\')
            continue;
        if (!memcmp(line + i, "\\u0000", 6))
            memcpy(line + i, "\\ufffd", 6);
        i++; /* what the backslash escapes */
    }
}

pk_err pk_result_line_open(pk_json **out, char *line, size_t bytes)
{
    mend_nuls(line, bytes);
    return pk_json_open(out, line, bytes, bytes); /* however many answers and calls it holds */
}
