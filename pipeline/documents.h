/* documents.h - what `run` was given to read: files, folders, standard input.
 *
 * Collecting looks at names only; a document's text is read when its turn comes. A document that cannot be had is not a
 * reason to stop: it stays in the list, and reading it fails with a short code and a message, which become that
 * document's failed requests. One thread; the list owns its documents. */
#ifndef PK_PIPELINE_DOCUMENTS_H
#define PK_PIPELINE_DOCUMENTS_H

#include "ipc/error.h"
#include "loader/digest.h"

#include <stddef.h>
#include <stdint.h>

/* One document's text: at most 1 GiB. */
#define PK_DOCUMENT_BYTES_MAX (UINT64_C(1) << 30)

/* Why a document cannot be had. The codes stand in errors.jsonl: they do not change. */
#define PK_DOCUMENT_NOT_FOUND        "not_found"
#define PK_DOCUMENT_UNREADABLE       "unreadable" /* permission, not a regular file, a failing disk */
#define PK_DOCUMENT_EMPTY            "empty"      /* no byte, or a byte order mark only */
#define PK_DOCUMENT_INVALID_UTF8     "invalid_utf8"
#define PK_DOCUMENT_TOO_LARGE        "too_large" /* over PK_DOCUMENT_BYTES_MAX, or over the memory that there is */
#define PK_DOCUMENT_UNSUPPORTED_KIND "unsupported_kind"

typedef struct {
    char *name;       /* UTF-8, unique in the list; what results call it. A path's bytes that are not UTF-8 show as
                         U+FFFD and two hexadecimal digits each. */
    char *path;       /* what to open, without needless `.` and `/`; NULL: standard input */
    const char *code; /* NULL, or why reading it fails, known beforehand (of standard input: since it failed) */
    char *message;    /* with code: what is wrong; else NULL */
    char *text;       /* NULL, or what pk_document_keep took; text_bytes of it */
    size_t text_bytes;
} pk_document;

typedef struct {
    pk_document *items;
    size_t count;
    size_t skipped; /* entries of folders that are not documents: other kinds, folders behind symbolic links */
} pk_documents;

/* Each input is a file, a folder (its .txt and .md files at any depth, sorted by path; what is hidden is passed over)
 * or
 * "-" (standard input, named "stdin"). Documents keep the order of the inputs; the same path twice is one document. An
 * input that is missing or of another kind, and a folder that cannot be read, are documents whose code is set. `out` is
 * initialised here and empty on failure. PK_NOMEM. */
pk_err pk_documents_collect(pk_documents *out, const char *const *inputs, size_t count);

void pk_documents_fini(pk_documents *documents);

/* The whole text: UTF-8, at least one byte, without its byte order mark, line ends as they are, a NUL behind it;
 * free() it. Standard input can be read once; where that
 * failed, it fails in the same way again. On failure *code is one of the codes above (static), the thread's error
 * text is the message, and the return value is PK_IO (missing, unreadable), PK_CORRUPT (empty, not UTF-8, too large,
 * not a regular file), PK_INVALID (kind) or PK_NOMEM (too large for this machine). */
pk_err pk_document_read(pk_document *document, char **text, size_t *bytes, const char **code);

/* Gives back the text that was read, for the next read; takes it. Of standard input it is the only way to read twice;
 * of a file nothing is kept. */
void pk_document_keep(pk_document *document, char *text, size_t bytes);

/* What was read, as a word that no other content has: the digest of the text, or the code of why there is none. */
void pk_document_input(char out[PK_DIGEST_TEXT], const char *text, size_t bytes, const char *code);

#endif
