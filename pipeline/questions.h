/* questions.h - what is asked of documents: one question from the command line, or a file of them.
 *
 * Three forms of a file, told apart by what is in it:
 *
 *     JSON lines   {"question": …, "id": …, "answer": …, "document": …}; all but the question may be left out. With an
 *                  answer, the run counts how often it was given; with a document, only that one is asked.
 *     blocks       between lines of ---, so that a question may have several lines
 *     lines        one question each; empty ones are passed over
 */
#ifndef PK_PIPELINE_QUESTIONS_H
#define PK_PIPELINE_QUESTIONS_H

#include "pipeline/reasoning.h"

enum { PK_QUESTIONS_FILE_BYTES = 64 << 20, PK_QUESTION_ID_BYTES = 128 };

typedef struct {
    char *id;       /* what custom_ids say behind their #; unique; by default its number, from 1 */
    char *text;     /* UTF-8, at least one byte */
    char *answer;   /* the true one, or NULL */
    char *document; /* the only one that is asked, by name or by the end of its path; NULL: all */
} pk_question;

typedef struct {
    pk_question *items;
    size_t count;
} pk_questions;

/* Both initialise *out, which is to be finished after failure too. PK_INVALID: not UTF-8, no question in it, two of one
 * id, or a line that is no question; the trail says `FILE:line`. PK_IO, PK_NOMEM. */
pk_err pk_questions_read(pk_questions *out, const char *path);
pk_err pk_questions_single(pk_questions *out, const char *text);

/* Whether an answer is the true one: equal but for white space around it. The question has an answer. */
bool pk_question_is_answered(const pk_question *question, pk_text_view answer);

void pk_questions_fini(pk_questions *questions);

#endif
