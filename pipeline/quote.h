/* quote.h - the line of a document in which an answer stands.
 *
 * A search of text in text: it says where a reader finds the answer's words, and nothing of whether the model looked
 * there. Pure; any thread. */
#ifndef PK_PIPELINE_QUOTE_H
#define PK_PIPELINE_QUOTE_H

#include <stdbool.h>
#include <stddef.h>

typedef struct {
    const char *line; /* without its line end; view of the document */
    size_t bytes;
    size_t begin; /* of the line in the document, in bytes */
} pk_quote;

/* Finds the line that holds the answer, white space around it aside, as whole words ("16" does not stand in "1611"). Of
 * several lines it is the one that shares most with the question (bytes of whole words), the first among equals. False,
 * and *out zeroed, where there is none, and for an answer that is empty or has several lines. The question is a string;
 * time is that of one pass over the document and, for each line that holds the answer, one for each of the
 * question's words. */
bool pk_quote_find(pk_quote *out, const char *document, size_t document_bytes, const char *answer, size_t answer_bytes,
                   const char *question);

#endif
