/* asks.h - everything that a run is asked: documents × questions, and the lines of request files.
 *
 * Collecting looks at names, questions and lines; a document's text and a line's prompt are read when their turn comes.
 * What cannot be had stays in the list and fails by itself, with a code and a message. Every ask has a custom_id that
 * no other has: `path#question` for documents, its own for a line of a request file, FILE:line (and a `~`, if some
 * request is called that) for a line whose own cannot be had. One thread. */
#ifndef PK_PIPELINE_ASKS_H
#define PK_PIPELINE_ASKS_H

#include "pipeline/documents.h"
#include "pipeline/journal.h"
#include "pipeline/questions.h"
#include "pipeline/request_file.h"

/* Of a second request with one custom_id. The code stands in errors.jsonl: it does not change. */
#define PK_REQUEST_DUPLICATE "duplicate_custom_id"

typedef struct {
    char *custom_id;             /* owned */
    const pk_question *question; /* NULL: a line of a request file */
    size_t source, line;         /* index of the document, or of the file and in it */
    bool doubled;                /* its custom_id was another's before */
} pk_ask;

typedef struct {
    pk_documents documents;
    const pk_questions *questions; /* view */
    const char *prompt;            /* view; see options */
    pk_generation generation;
    uint32_t choices;
    pk_request_file *files;
    size_t file_count;
    pk_ask *items;
    size_t count, capacity;
    size_t last_source; /* the document that pk_ask_input looked at last, and what it found; "": none */
    char last_input[PK_DIGEST_TEXT];
} pk_asks;

typedef struct {
    const char *const *inputs; /* a name that ends in .jsonl is a request file, one that is named
                                  twice is one; all others are pk_documents_collect's */
    size_t input_count;
    const pk_questions *questions;   /* at least one where there are documents; view for the list's life, or NULL */
    const char *prompt;              /* text with {document} and {question}; view for the list's life; NULL: the
                                        document, a blank line, the question */
    const pk_generation *generation; /* what nothing else is said about */
    uint32_t choices;                /* answers for each question */
} pk_asks_options;

/* Initialises *out, which is to be finished after failure too. PK_INVALID: nothing is asked, documents without a
 * question, a question of a document that is not among them, a prompt without {document} or {question}; PK_IO: a
 * request file cannot be read; PK_NOMEM. */
pk_err pk_asks_collect(pk_asks *out, pk_asks_options options);
void pk_asks_fini(pk_asks *asks);

/* One ask, ready: as a line of a request file. `read_bytes` gets the bytes of the document or line, `input` a word that
 * nothing else read would have: its digest, or the code. On failure *code is why (documents.h, request_line.h,
 * request_file.h, above) and the thread's error text the message; PK_NOMEM without a code is the run's. */
pk_err pk_ask_read(pk_asks *asks, size_t index, pk_request_line *out, size_t *read_bytes, char input[PK_INPUT_BYTES],
                   const char **code);

/* The input alone, as reading it would give it; asks in order read each document once. Standard input can be read
 * afterwards all the same. */
void pk_ask_input(pk_asks *asks, size_t index, char input[PK_INPUT_BYTES]);

#endif
