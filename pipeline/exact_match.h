/* exact_match.h - how often the true answer was given.
 *
 * Of questions whose answer is known. What is compared is the content of the first answer, as it stands in the result;
 * white space around it does not count (pk_question_is_answered). */
#ifndef PK_PIPELINE_EXACT_MATCH_H
#define PK_PIPELINE_EXACT_MATCH_H

#include "pipeline/asks.h"

typedef struct {
    uint64_t of, right; /* requests whose true answer is known and that were answered; rightly */
} pk_exact_match;

/* One more answer. */
void pk_exact_match_add(pk_exact_match *match, const pk_ask *ask, pk_text_view content);

/* Adds the results of an earlier run, {dir}/results.jsonl: those of these asks. The file is ours: each line is whole.
 * PK_CORRUPT: it is not; PK_IO, PK_NOMEM. */
pk_err pk_exact_match_add_all(pk_exact_match *match, const pk_asks *asks, const char *dir);

#endif
