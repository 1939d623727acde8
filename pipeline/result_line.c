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

static void put_choices(pk_json_text *out, const pk_result *result)
{
    pk_json_text_raw(out, "\"choices\": [{\"index\": 0, \"message\": {\"role\": \"assistant\", \"content\": ");
    pk_json_text_string(out, result->content, result->content_bytes);
    pk_json_text_raw(out, "}, \"finish_reason\": ");
    pk_json_text_word(out, result->finish_reason);
    pk_json_text_raw(out, "}]");
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
    pk_json_text_raw(
        out, ", \"body\": {\"id\": \"chatcmpl-%s\", \"object\": \"chat.completion\", \"model\": ", digits_of(id));
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
