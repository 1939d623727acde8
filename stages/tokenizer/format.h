/* format.h - reads a tokenizer.json into the parts of a tokenizer. Every check of what the file claims is made here, so
 * that the parts may trust what they hold. */
#ifndef PK_STAGES_TOKENIZER_FORMAT_H
#define PK_STAGES_TOKENIZER_FORMAT_H

#include "loader/json.h"
#include "stages/tokenizer/added.h"
#include "stages/tokenizer/merges.h"
#include "stages/tokenizer/pretokenizer.h"
#include "stages/tokenizer/vocabulary.h"

struct pk_tokenizer {
    pk_vocabulary vocabulary;
    pk_merges merges;
    pk_pretokenizer pretokenizer;
    pk_added_tokens added;
    pk_ids eos;
    bool ignore_merges; /* a piece that is a token is that token, whatever the merges make of it */
    char assumed[512];
    pk_text spelled; /* room to undo the byte alphabet in, while files are read */
};

/* Fills `tokenizer`, which is zeroed; what a failure leaves in it, pk_tokenizer_close releases. */
pk_err pk_tokenizer_format_read(pk_tokenizer *tokenizer, const char *text, size_t bytes);

/* Puts an added token: one entry of "added_tokens", or of a config's "added_tokens_decoder", whose key is the id. */
pk_err pk_tokenizer_format_added(pk_tokenizer *tokenizer, const pk_json *token, int32_t id);

#endif
