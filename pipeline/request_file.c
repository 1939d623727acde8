#include "pipeline/request_file.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct {
    pk_request_file *file;
    const pk_generation *defaults;
    size_t capacity;
} opening;

/* Room for one more place. */
static pk_err grow(opening *o)
{
    pk_request_file *file = o->file;
    if (file->count < o->capacity)
        return PK_OK;
    size_t capacity = o->capacity ? 2 * o->capacity : 64;
    pk_request_place *grown = reallocarray(file->lines, capacity, sizeof *grown);
    if (!grown)
        return pk_fail(PK_NOMEM, "%zu requests", capacity);
    file->lines = grown;
    o->capacity = capacity;
    return PK_OK;
}

/* What a look at the line tells: its id, and what is wrong with it. */
static pk_err check_line(const opening *o, pk_request_place *place, const char *line)
{
    pk_request_line request;
    pk_err err = pk_request_line_read(&request, line, place->bytes, o->defaults, &place->code);
    if (err == PK_INVALID && !(place->message = strdup(pk_error_text())))
        err = PK_NOMEM;
    if (*request.custom_id && !(place->custom_id = strdup(request.custom_id)))
        err = PK_NOMEM;
    pk_request_line_fini(&request);
    return err == PK_NOMEM ? pk_fail(PK_NOMEM, "line %zu", place->number) : PK_OK;
}

static pk_err take_line(opening *o, const char *line, size_t bytes, uint64_t offset, size_t number)
{
    if (strspn(line, " \t\r") == bytes)
        return PK_OK;
    pk_err err = grow(o);
    if (err)
        return err;
    pk_request_place *place = &o->file->lines[o->file->count++];
    *place =
        (pk_request_place){.offset = offset, .bytes = bytes, .number = number, .digest = pk_digest_of(line, bytes)};
    return check_line(o, place, line);
}

static pk_err take_lines(opening *o, FILE *stream)
{
    char *line = NULL;
    size_t capacity = 0;
    uint64_t offset = 0;
    pk_err err = PK_OK;
    ssize_t bytes;
    static const char mark[] = "\xEF\xBB\xBF";
    for (size_t number = 1; !err && (bytes = getline(&line, &capacity, stream)) > 0; number++) {
        size_t text = (size_t)bytes;
        if (line[text - 1] == '\n')
            line[--text] = '\0';
        size_t skipped = number == 1 && text >= 3 && !memcmp(line, mark, 3) ? 3 : 0;
        err = take_line(o, line + skipped, text - skipped, offset + skipped, number);
        offset += (uint64_t)bytes;
    }
    if (!err && !feof(stream)) /* or a line that memory does not hold */
        err = pk_fail_errno(PK_IO, "read at byte %" PRIu64, offset);
    free(line);
    return err;
}

pk_err pk_request_file_open(pk_request_file *out, const char *path, const pk_generation *defaults)
{
    opening o = {.file = out, .defaults = defaults};
    FILE *stream = NULL;
    int copy = -1;
    *out = (pk_request_file){.fd = -1, .path = strdup(path)};
    if (!out->path)
        return pk_fail(PK_NOMEM, "a path");
    pk_err err = pk_file_open(&out->fd, &out->identity, path, 0);
    if (err) /* names the path already; it is the person's who named it */
        return err == PK_NOMEM ? err : PK_INVALID;
    if ((copy = dup(out->fd)) < 0 || !(stream = fdopen(copy, "r")))
        err = pk_fail_errno(PK_IO, "open");
    if (!err)
        err = take_lines(&o, stream);
    if (stream)
        fclose(stream);
    else
        pk_file_close(&copy);
    return pk_pass(err, "%s", path);
}

void pk_request_file_fini(pk_request_file *file)
{
    for (size_t i = 0; i < file->count; i++) {
        free(file->lines[i].custom_id);
        free(file->lines[i].message);
    }
    free(file->lines);
    free(file->path);
    pk_file_close(&file->fd);
    *file = (pk_request_file){.fd = -1};
}

pk_err pk_request_file_read(const pk_request_file *file, size_t index, const pk_generation *defaults,
                            pk_request_line *out, const char **code)
{
    const pk_request_place *place = &file->lines[index];
    *out = (pk_request_line){0};
    char *line = malloc(place->bytes + 1);
    if (!line)
        return pk_fail(PK_NOMEM, "a line of %" PRIu64 " bytes", place->bytes);
    pk_err err = pk_file_read_at(file->fd, line, place->bytes, place->offset);
    pk_digest digest = pk_digest_of(line, err ? 0 : place->bytes);
    if (err || memcmp(&digest, &place->digest, sizeof digest)) {
        *code = PK_REQUEST_CHANGED;
        err = pk_fail(PK_INVALID, "the line is not what it was when the run began");
    } else
        err = pk_request_line_read(out, line, place->bytes, defaults, code);
    free(line);
    return pk_pass(err, "%s:%zu", file->path, place->number);
}
