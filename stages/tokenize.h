/* tokenize.h - the stage that turns texts into token ids.
 *
 * A text comes in pieces, several texts may be interleaved; with its last piece it is encoded, and its ids go out in
 * pieces of their own. A text with more tokens than its START allows is answered by their number alone. */
#ifndef PK_STAGES_TOKENIZE_H
#define PK_STAGES_TOKENIZE_H

#include "stages/runtime.h"
#include "stages/slots.h"
#include "stages/tokenizer/tokenizer.h"

enum { PK_TOKENS_PIECE = 1 << 20 }; /* most ids in one batch of a text */

/* A text whose end has not come yet. */
typedef struct {
    pk_text text;
    uint64_t bytes;   /* that have come; beyond PK_TOKENIZER_TEXT_BYTES they are only counted */
    uint32_t allowed; /* tokens */
    pk_added added;   /* which added tokens count in it */
} pk_open_text;

/* The stage's own memory; zeroed before open. */
typedef struct {
    pk_tokenizer *tokenizer;
    pk_encoder *encoder;
    pk_slots *slots;
    pk_open_text *texts; /* [slots] */
    size_t text_count;
    uint64_t number; /* of the last batch sent */
} pk_tokenize;

extern const pk_stage_ops pk_tokenize_ops;

#endif
