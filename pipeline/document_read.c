/* document_read.c - the text of one document. */
#include "pipeline/documents.h"

#include "ipc/utf8.h"
#include "loader/file.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static pk_err fail_too_large(const char **code)
{
    *code = PK_DOCUMENT_TOO_LARGE;
    return pk_fail(PK_CORRUPT, "has more than %" PRIu64 " bytes", PK_DOCUMENT_BYTES_MAX);
}

static pk_err fail_no_memory(const char **code, size_t bytes)
{
    *code = PK_DOCUMENT_TOO_LARGE;
    return pk_fail(PK_NOMEM, "no memory for %zu bytes", bytes);
}

/* Reads to the end of a file or a pipe; `expected` bytes are a guess. A file that grows meanwhile is read as it is when
 * its end is met. */
static pk_err read_to_end(int fd, size_t expected, char **text, size_t *bytes, const char **code)
{
    size_t capacity = expected + 2, used = 0; /* a byte to meet the end in, and the NUL */
    char *held = malloc(capacity);
    for (;;) {
        if (!held)
            return fail_no_memory(code, capacity);
        ssize_t got = read(fd, held + used, capacity - 1 - used);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            free(held);
            *code = PK_DOCUMENT_UNREADABLE;
            return pk_fail_errno(PK_IO, "read at byte %zu", used);
        }
        if (got == 0)
            break;
        used += (size_t)got;
        if (used > PK_DOCUMENT_BYTES_MAX) {
            free(held);
            return fail_too_large(code);
        }
        if (used + 1 < capacity)
            continue;
        char *grown = realloc(held, capacity *= 2);
        if (!grown)
            free(held);
        held = grown;
    }
    held[used] = '\0';
    *text = held;
    *bytes = used;
    return PK_OK;
}

/* Says the name, not the path: a message is UTF-8. */
static pk_err fail_open(pk_err err, const char *name, const char **code)
{
    bool missing = err == PK_IO && (errno == ENOENT || errno == ENOTDIR);
    *code = missing ? PK_DOCUMENT_NOT_FOUND : PK_DOCUMENT_UNREADABLE;
    return err == PK_IO ? pk_fail_errno(err, "%s", name) : pk_fail(err, "%s: is not a regular file", name);
}

static pk_err read_file(const pk_document *document, char **text, size_t *bytes, const char **code)
{
    pk_file_identity identity;
    int fd;
    pk_err err = pk_file_open(&fd, &identity, document->path, 0);
    if (err)
        return fail_open(err, document->name, code);
    err = identity.bytes > PK_DOCUMENT_BYTES_MAX ? fail_too_large(code)
                                                 : read_to_end(fd, (size_t)identity.bytes, text, bytes, code);
    pk_file_close(&fd);
    return pk_pass(err, "%s", document->name);
}

/* Offsets are those of the file, its byte order mark counted. */
static pk_err check_text(const char *name, char *text, size_t *bytes, const char **code)
{
    static const char mark[] = "\xEF\xBB\xBF";
    size_t bad, skipped = *bytes >= 3 && !memcmp(text, mark, 3) ? 3 : 0;
    if (*bytes == skipped) {
        *code = PK_DOCUMENT_EMPTY;
        return pk_fail(PK_CORRUPT, "%s: is empty", name);
    }
    if (!pk_utf8_check(text, *bytes, &bad)) {
        *code = PK_DOCUMENT_INVALID_UTF8;
        return pk_fail(PK_CORRUPT, "%s: byte %zu (0x%02X) is not UTF-8", name, bad, (unsigned char)text[bad]);
    }
    *bytes -= skipped;
    memmove(text, text + skipped, *bytes + 1);
    return PK_OK;
}

static bool is_code(const pk_document *document, const char *code)
{
    return !strcmp(document->code, code);
}

static pk_err fail_known(const pk_document *document)
{
    pk_err err = is_code(document, PK_DOCUMENT_UNSUPPORTED_KIND)                                         ? PK_INVALID
                 : is_code(document, PK_DOCUMENT_NOT_FOUND) || is_code(document, PK_DOCUMENT_UNREADABLE) ? PK_IO
                                                                                                         : PK_CORRUPT;
    return document->path ? pk_fail(err, "%s: %s", document->name, document->message)
                          : pk_fail(err, "%s", document->message);
}

/* Standard input can be read once: what was wrong with it stays wrong, for each of its questions. */
static pk_err keep_failure(pk_document *document, pk_err err, const char *code)
{
    if (!(document->message = strdup(pk_error_text())))
        return err; /* and the next read says that it is empty */
    document->code = code;
    return err;
}

pk_err pk_document_read(pk_document *document, char **text, size_t *bytes, const char **code)
{
    pk_err err;
    *text = document->text;
    *bytes = document->text_bytes;
    document->text = NULL;
    document->text_bytes = 0;
    if ((*code = document->code))
        return fail_known(document);
    if (*text)
        return PK_OK;
    if (document->path)
        err = read_file(document, text, bytes, code);
    else
        err = pk_pass(read_to_end(STDIN_FILENO, 1 << 16, text, bytes, code), "%s", document->name);
    if (!err && (err = check_text(document->name, *text, bytes, code))) {
        free(*text);
        *text = NULL;
        *bytes = 0;
    }
    return err && !document->path ? keep_failure(document, err, *code) : err;
}

void pk_document_keep(pk_document *document, char *text, size_t bytes)
{
    free(document->text);
    document->text = document->path ? NULL : text;
    document->text_bytes = document->path ? 0 : bytes;
    if (document->path)
        free(text);
}

void pk_document_input(char out[PK_DIGEST_TEXT], const char *text, size_t bytes, const char *code)
{
    if (code)
        snprintf(out, PK_DIGEST_TEXT, "%s", code);
    else
        pk_digest_text(out, pk_digest_of(text, bytes));
}
