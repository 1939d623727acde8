/* format_pretokenizer.h - reads what a tokenizer.json says around its model: pre_tokenizer, post_processor, decoder. */
#ifndef PK_STAGES_TOKENIZER_FORMAT_PRETOKENIZER_H
#define PK_STAGES_TOKENIZER_FORMAT_PRETOKENIZER_H

#include "loader/json.h"
#include "stages/tokenizer/pretokenizer.h"

/* Each takes a value that may be NULL, null or of any kind. PK_INVALID names what is not supported. */
pk_err pk_format_read_pretokenizer(pk_pretokenizer *out, const pk_json *value);
pk_err pk_format_check_post_processor(const pk_json *value);
pk_err pk_format_check_decoder(const pk_json *value);

/* `value`.type, "" when there is none. View into the document. */
const char *pk_format_type(const pk_json *value);

/* `object`.key, true or false, or `absent`. */
pk_err pk_format_flag(const pk_json *object, const char *key, bool absent, bool *out);

/* Refuses a key that is not in `known`, which ends in NULL: what we do not know, we cannot leave out. */
pk_err pk_format_check_keys(const pk_json *object, const char *const *known);

#endif
