/* request_line.h - one line of a request file: a request of the OpenAI batch format, checked and made ready to run.
 *
 *     {"custom_id": …, "method": "POST", "url": "/v1/chat/completions" or "/v1/completions", "body": {…}}
 *
 * No field of a body is passed over in silence: it is understood, or it has the value that asks for nothing
 * (`"presence_penalty": 0`), or the line is refused with the field's name. What a body does not say is as the pipeline
 * says. `model` is the exception: a run has one model, whatever a line calls it; results bear its real name. */
#ifndef PK_PIPELINE_REQUEST_LINE_H
#define PK_PIPELINE_REQUEST_LINE_H

#include "pipeline/file.h"

#include <stdbool.h>

/* Why a line cannot run. The codes stand in errors.jsonl: they do not change. */
#define PK_REQUEST_INVALID_JSON      "invalid_json"
#define PK_REQUEST_INVALID           "invalid_request"
#define PK_REQUEST_UNSUPPORTED_FIELD "unsupported_field"

enum { PK_CUSTOM_ID_BYTES = 513, PK_REQUEST_LINE_BYTES = 1 << 30, PK_ANSWERS_MAX = 128 };

typedef struct {
    char custom_id[PK_CUSTOM_ID_BYTES]; /* "" where the line has none that could be read */
    bool chat;                          /* answered as a chat completion, else as a text completion */
    bool calls;                         /* tool calls are to be looked for in the answer */
    bool markup;                        /* the names of special tokens in the prompt are these tokens */
    char *prompt;                       /* the text to be tokenized, prompt_bytes of it; owned; NULL: ids */
    size_t prompt_bytes;
    size_t document_begin, document_bytes; /* where the prompt has the document; 0 bytes: it has none */
    int32_t *ids; /* owned; NULL: prompt. Only known not to be negative: the vocabulary is the model's. */
    uint32_t id_count;
    pk_generation generation;
    uint32_t choices; /* answers wanted, `n` */
} pk_request_line;

/* Reads a line, without its line end, into *out, which is initialised here and to be finished after failure too (its
 * custom_id may be known). PK_INVALID: the trail says which field, what it is and what was expected, and *code is one
 * of the codes above (static). PK_NOMEM. */
pk_err pk_request_line_read(pk_request_line *out, const char *line, size_t bytes, const pk_generation *defaults,
                            const char **code);
void pk_request_line_fini(pk_request_line *line);

#endif
