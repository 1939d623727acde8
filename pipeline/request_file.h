/* request_file.h - a file of requests, a JSON object a line, as the OpenAI batch API takes it.
 *
 * Opening reads and checks every line before anything starts, and keeps no more of a line than where it stands; a line
 * is read again when its turn comes. A bad line is no reason to stop: it stays in the list with its code and message,
 * and becomes one failed request. One thread. */
#ifndef PK_PIPELINE_REQUEST_FILE_H
#define PK_PIPELINE_REQUEST_FILE_H

#include "loader/digest.h"
#include "loader/file.h"
#include "pipeline/request_line.h"

/* The file was changed after it was checked. The code stands in errors.jsonl: it does not change. */
#define PK_REQUEST_CHANGED "changed_while_running"

typedef struct {
    uint64_t offset, bytes; /* of the line, without its end */
    pk_digest digest;       /* of these bytes */
    size_t number;          /* from 1, as an editor counts */
    char *custom_id;        /* owned; NULL: none could be read */
    const char *code;       /* NULL, or why it cannot run (static) */
    char *message;          /* with code; owned */
} pk_request_place;

typedef struct {
    char *path; /* owned */
    int fd;     /* open for its life */
    pk_file_identity identity;
    pk_request_place *lines;
    size_t count;
} pk_request_file;

/* Initialises *out, which is to be finished after failure too. Blank lines, and a byte order mark in
 * front, are passed over. PK_INVALID: it cannot be opened, or is no regular file; PK_IO, PK_NOMEM. */
pk_err pk_request_file_open(pk_request_file *out, const char *path, const pk_generation *defaults);
void pk_request_file_fini(pk_request_file *file);

/* Reads a good line again; as pk_request_line_read. */
pk_err pk_request_file_read(const pk_request_file *file, size_t index, const pk_generation *defaults,
                            pk_request_line *out, const char **code);

#endif
