/* reasoning.h - an answer's text taken apart: what the model thought, what it says, which tools it calls.
 *
 * MiniMax-M1 has no tokens of its own for this. It writes
 *
 *     <think>\n reasoning \n</think>\n content <tool_calls>\n {"name": …, "arguments": {…}} \n … </tool_calls>
 *
 * as ordinary text, so the text is what is looked at, whatever tokens it came in. Pure functions. */
#ifndef PK_PIPELINE_REASONING_H
#define PK_PIPELINE_REASONING_H

#include "pipeline/json_text.h"

#include <stdbool.h>
#include <stddef.h>

/* Views into the text. */
typedef struct {
    const char *bytes;
    size_t count;
} pk_text_view;

typedef struct {
    bool reasoned;          /* there was a <think> or a </think> */
    pk_text_view reasoning; /* without its tags and the line ends beside them; all of a text that never closes them */
    pk_text_view content;   /* the rest, without the line ends in front; tool calls are in it still */
} pk_reasoning;

pk_reasoning pk_reasoning_split(const char *text, size_t bytes);

/* Takes the calls out of `content`: appends OpenAI's array of tool calls to `out` and cuts the content where the calls
 * began, without the white space before them. id: what the calls' ids are made of ("call_{id}_{n}"). Returns how many;
 * 0 leaves content and `out` as they are: where nothing is called, or what stands there is no call (the text then
 * speaks for itself). */
size_t pk_reasoning_calls(pk_json_text *out, const char *id, pk_text_view *content);

#endif
