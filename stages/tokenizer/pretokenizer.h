/* pretokenizer.h - cuts text into the pieces inside which tokens are merged: a row of steps, each cutting the pieces of
 * the one before. Filled once while the file is read, then only looked at. */
#ifndef PK_STAGES_TOKENIZER_PRETOKENIZER_H
#define PK_STAGES_TOKENIZER_PRETOKENIZER_H

#include "stages/tokenizer/pattern.h"

enum { PK_PRETOKENIZER_STEPS = 16 };

typedef struct {
    pk_pattern *pattern;   /* owned; NULL: the piece goes on whole */
    bool keep_matches;     /* what the pattern matches becomes a piece each */
    bool keep_gaps;        /* and so does what lies between */
    bool add_prefix_space; /* first, a piece that starts with no space gets one */
} pk_pretokenizer_step;

typedef struct {
    pk_pretokenizer_step steps[PK_PRETOKENIZER_STEPS];
    size_t step_count;
} pk_pretokenizer; /* zeroed: the text is one piece */

/* Is given one piece after another, never empty. The piece is a view, valid during the call. An error ends the run. */
typedef pk_err (*pk_piece_sink)(void *context, const char *piece, size_t bytes);

/* Runs all steps over `text`, which is UTF-8. */
pk_err pk_pretokenizer_run(const pk_pretokenizer *pretokenizer, const char *text, size_t bytes, pk_piece_sink sink,
                           void *context);

void pk_pretokenizer_fini(pk_pretokenizer *pretokenizer);

#endif
