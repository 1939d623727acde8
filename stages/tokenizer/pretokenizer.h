/* pretokenizer.h - cuts text into the pieces inside which tokens are merged: a row of steps, each cutting the pieces of
 * the one before. Filled once while the file is read, then only looked at. */
#ifndef PK_STAGES_TOKENIZER_PRETOKENIZER_H
#define PK_STAGES_TOKENIZER_PRETOKENIZER_H

#include "stages/tokenizer/cutter.h"
#include "stages/tokenizer/pattern.h"

enum { PK_PRETOKENIZER_STEPS = 16 };

typedef struct {
    pk_cutter cut;         /* one of the known patterns; or */
    pk_pattern *pattern;   /* any other, owned; without either the piece goes on whole */
    bool keep_matches;     /* what the pattern matches becomes a piece each */
    bool keep_gaps;        /* and so does what lies between */
    bool add_prefix_space; /* first, a piece that starts with no space gets one */
} pk_pretokenizer_step;

typedef struct {
    pk_pretokenizer_step steps[PK_PRETOKENIZER_STEPS];
    size_t step_count;
    uint8_t *classes; /* of characters, owned; there when a step cuts by hand */
} pk_pretokenizer;    /* zeroed: the text is one piece */

/* Makes `step`, of this pretokenizer, cut by a pattern in Oniguruma's spelling. PK_INVALID names what is not supported.
 */
pk_err pk_pretokenizer_set_pattern(pk_pretokenizer *pretokenizer, pk_pretokenizer_step *step, const char *pattern);

/* A view, valid during the call: a piece of `bytes` bytes, never none, and how many may be read from its start on. */
typedef struct {
    const char *text;
    size_t bytes;
    size_t readable;
} pk_piece;

/* Is given one piece after another. An error ends the run. */
typedef pk_err (*pk_piece_sink)(void *context, pk_piece piece);

/* Runs all steps over `text`, which is UTF-8. */
pk_err pk_pretokenizer_run(const pk_pretokenizer *pretokenizer, const char *text, size_t bytes, pk_piece_sink sink,
                           void *context);

void pk_pretokenizer_fini(pk_pretokenizer *pretokenizer);

#endif
