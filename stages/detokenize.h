/* detokenize.h - the stage that turns token ids into text, special tokens left out.
 *
 * Ids come in pieces, those of several texts interleaved; text goes out as it becomes whole characters. */
#ifndef PK_STAGES_DETOKENIZE_H
#define PK_STAGES_DETOKENIZE_H

#include "stages/runtime.h"
#include "stages/slots.h"
#include "stages/tokenizer/tokenizer.h"

/* Ids whose end has not come yet. */
typedef struct {
    pk_detokenizer detokenizer;
    uint64_t ids;   /* that have come */
    uint64_t bytes; /* of text that have gone */
} pk_open_ids;

/* The stage's own memory; zeroed before open. */
typedef struct {
    pk_tokenizer *tokenizer;
    pk_slots *slots;
    pk_open_ids *open; /* [slots] */
    pk_text text;      /* of the piece at hand; its memory is kept */
    uint64_t number;   /* of the last batch sent */
} pk_detokenize;

extern const pk_stage_ops pk_detokenize_ops;

#endif
