/* format.h - reads a tokenizer.json, and the tokenizer_config.json beside it, into the parts of a tokenizer. Every
 * check of what the files claim is made here, so that the parts may trust what they hold. */
#ifndef PK_STAGES_TOKENIZER_FORMAT_H
#define PK_STAGES_TOKENIZER_FORMAT_H

#include "stages/tokenizer/merges.h"
#include "stages/tokenizer/pretokenizer.h"
#include "stages/tokenizer/vocabulary.h"

struct pk_tokenizer {
    pk_vocabulary vocabulary;
    pk_merges merges;
    pk_pretokenizer pretokenizer;
    pk_ids added; /* the ids of added tokens, in the file's order */
    pk_ids eos;
};

/* Fills `tokenizer`, which is zeroed; what a failure leaves in it, pk_tokenizer_close releases. */
pk_err pk_tokenizer_format_read(pk_tokenizer *tokenizer, const char *path);

#endif
