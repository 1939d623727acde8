/* result_line.h - the lines of results.jsonl and errors.jsonl, as in the output files of the OpenAI batch API.
 *
 * Pure functions: no clock, no chance, nothing of the machine; keys in a fixed order. So the same answer is the same
 * line, byte for byte. */
#ifndef PK_PIPELINE_RESULT_LINE_H
#define PK_PIPELINE_RESULT_LINE_H

#include "pipeline/json_text.h"
#include "pipeline/quote.h"
#include "pipeline/reasoning.h"

#include <stddef.h>
#include <stdint.h>

/* All text is UTF-8, a view that is valid during the call it is given to. */

/* One answer. */
typedef struct {
    pk_text_view content, reasoning;
    bool reasoned;             /* reasoning counts, even when it is empty */
    pk_text_view calls;        /* OpenAI's array of tool calls, as JSON; empty: none */
    const char *finish_reason; /* "stop", "length"; where there are calls "tool_calls" is said instead */
    pk_quote quote;            /* line NULL: none */
} pk_choice;

typedef struct {
    const char *custom_id;
    const char *input; /* for the journal only: what was read (pk_request_end), or NULL */
    bool completion;   /* answered as a text completion: a text and nothing else; else as a chat completion */
    const pk_choice *choices;
    size_t choice_count;                       /* at least one */
    uint64_t prompt_tokens, completion_tokens; /* of all choices */
    uint64_t cached_tokens; /* of the prompt, shared with other requests by design; never what happened to be cached */
} pk_result;

/* A request that failed. The same lifetimes. */
typedef struct {
    const char *custom_id;
    const char *input; /* as above */
    const char *code, *message;
} pk_failure;

/* What a request is called outside: "batch_req_" and 16 hexadecimal digits (of xxh3 of the custom_id and of the run's
 * identity). */
enum { PK_RESULT_ID_BYTES = 27 };

void pk_result_id(char out[PK_RESULT_ID_BYTES], const char *custom_id, const char *identity);

/* Appends {"id", "custom_id", "response", "error": null} and a line end. */
void pk_result_line(pk_json_text *out, const char *id, const char *model, const pk_result *result);

/* Appends {"id", "custom_id", "response": null, "error": {"code", "message"}} and a line end. */
void pk_result_error_line(pk_json_text *out, const char *id, const pk_failure *failure);

/* Appends what both kinds of line begin with, and no other request's does. */
void pk_result_line_head(pk_json_text *out, const char *id, const char *custom_id);

/* Reads a line of ours back; in it NULs, which an answer may hold and the JSON reader refuses, become U+FFFD. As
 * pk_json_open. */
pk_err pk_result_line_open(pk_json **out, char *line, size_t bytes);

#endif
