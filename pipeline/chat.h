/* chat.h - the messages of a conversation as the text of a prompt, in the chat format of MiniMax-M1.
 *
 * What is written is, byte for byte, what the published Jinja template writes, wherever that template works at all.
 * Where it fails, or drops what the user said, this goes on; docs/requests.md lists each such difference with its reason:
 *
 *     content      a string, or parts of type text, all of them (the template: parts only, the first of user's and
 *                  system's)
 *     tool         the OpenAI form too: `name`, or the name that the call `tool_call_id` bore
 *     tool_calls   of an assistant's message, written as the model itself writes calls (the template: dropped)
 *     developer    is system's other name; any other role is refused (the template: dropped)
 */
#ifndef PK_PIPELINE_CHAT_H
#define PK_PIPELINE_CHAT_H

#include "loader/json.h"
#include "pipeline/json_text.h"

/* Appends the prompt, up to and with the words that ask for the assistant's turn. messages: an array of at least one;
 * tools: an array, or NULL for none. PK_INVALID: what is not a conversation; the trail says where, as in
 * `messages[2].content[0].type: "image_url"; this model reads text only`. PK_NOMEM is told by pk_json_text_check. */
pk_err pk_chat_write(pk_json_text *out, const pk_json *messages, const pk_json *tools);

#endif
