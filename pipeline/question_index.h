/* question_index.h - which questions a document is asked, found without a look at each of them.
 *
 * A question is of all documents, or of those whose name is, or ends in, the name that it says. One thread; the index
 * looks at the questions, which outlive it. */
#ifndef PK_PIPELINE_QUESTION_INDEX_H
#define PK_PIPELINE_QUESTION_INDEX_H

#include "pipeline/questions.h"

typedef struct pk_question_index pk_question_index;

/* questions: NULL is none. PK_NOMEM. */
pk_err pk_question_index_open(pk_question_index **out, const pk_questions *questions);
void pk_question_index_close(pk_question_index **index);

/* The questions of the document of this name, in their order: *out, a view until the next call. */
size_t pk_question_index_find(pk_question_index *index, const char *name, const pk_question *const **out);

/* A question that no document was found for, or NULL. */
const pk_question *pk_question_index_unmet(const pk_question_index *index);

#endif
