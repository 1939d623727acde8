#include "pipeline/questions.h"

#include "ipc/utf8.h"
#include "loader/file.h"
#include "loader/json.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char fence[] = "---";

/* A file being read: its lines, in place. */
typedef struct {
    pk_questions *out;
    size_t capacity;
    char *rest; /* what has not been read, ends in NUL */
    size_t line;
} reader;

static void fini_question(pk_question *question)
{
    free(question->id);
    free(question->text);
    free(question->answer);
    free(question->document);
    *question = (pk_question){0};
}

void pk_questions_fini(pk_questions *questions)
{
    for (size_t i = 0; i < questions->count; i++)
        fini_question(&questions->items[i]);
    free(questions->items);
    *questions = (pk_questions){0};
}

/* Takes what the question owns, also on failure. Without an id it is called by its number. */
static pk_err add(reader *r, pk_question question)
{
    pk_questions *all = r->out;
    if (all->count == r->capacity) {
        size_t capacity = r->capacity ? 2 * r->capacity : 16;
        pk_question *grown = reallocarray(all->items, capacity, sizeof *grown);
        if (grown) {
            all->items = grown;
            r->capacity = capacity;
        }
    }
    if (!question.id && asprintf(&question.id, "%zu", all->count + 1) < 0)
        question.id = NULL;
    if (!question.id || !question.text || all->count == r->capacity) {
        fini_question(&question);
        return pk_fail(PK_NOMEM, "%zu questions", all->count + 1);
    }
    all->items[all->count++] = question;
    return PK_OK;
}

/* The next line without its end, or NULL. */
static char *next_line(reader *r)
{
    char *line = r->rest;
    if (!*line)
        return NULL;
    size_t bytes = strcspn(line, "\n");
    r->rest = line + bytes + (line[bytes] == '\n');
    line[bytes] = '\0';
    if (bytes && line[bytes - 1] == '\r')
        line[bytes - 1] = '\0';
    r->line++;
    return line;
}

static bool is_blank(const char *line)
{
    return line[strspn(line, " \t\r\n")] == '\0';
}

static pk_err read_lines(reader *r)
{
    pk_err err = PK_OK;
    for (char *line; !err && (line = next_line(r));)
        if (!is_blank(line))
            err = add(r, (pk_question){.text = strdup(line)});
    return err;
}

/* The block of lines that begins at `start`, without blank lines around it. */
static pk_err add_block(reader *r, char *start, size_t bytes)
{
    while (bytes && strchr("\r\n", start[bytes - 1]))
        bytes--;
    while (bytes && strchr("\r\n", *start)) {
        start++;
        bytes--;
    }
    char *text = strndup(start, bytes);
    if (text && is_blank(text)) {
        free(text);
        return PK_OK;
    }
    return add(r, (pk_question){.text = text});
}

static bool is_fence(const char *line)
{
    size_t bytes = strcspn(line, "\r\n");
    return bytes == strlen(fence) && !memcmp(line, fence, bytes);
}

/* With its end. */
static size_t line_bytes(const char *line)
{
    size_t bytes = strcspn(line, "\n");
    return bytes + (line[bytes] == '\n');
}

static pk_err read_blocks(reader *r)
{
    pk_err err = PK_OK;
    char *start = r->rest, *at = start;
    while (!err && *at) {
        char *next = at + line_bytes(at);
        if (is_fence(at)) {
            err = add_block(r, start, (size_t)(at - start));
            start = next;
        }
        at = next;
    }
    return err ? err : add_block(r, start, strlen(start));
}

static pk_err take_text(char **out, const pk_json *object, const char *name, size_t most)
{
    char shown[PK_JSON_SHOW];
    const pk_json *value = pk_json_member(object, name);
    if (!value || pk_json_kind_of(value) == PK_JSON_NULL)
        return PK_OK;
    const char *text = pk_json_string(value);
    if (!text || !*text || strlen(text) >= most)
        return pk_fail(PK_INVALID, "%s: %s; expected a string of 1 to %zu bytes", name, pk_json_show(shown, value),
                       most - 1);
    *out = strdup(text);
    return *out ? PK_OK : pk_fail(PK_NOMEM, "a question");
}

static pk_err check_members(const pk_json *object)
{
    void *at = NULL;
    const char *name = NULL;
    const pk_json *value = NULL;
    if (pk_json_kind_of(object) != PK_JSON_OBJECT)
        return pk_fail(PK_INVALID, "expected an object with a question");
    while (pk_json_next(object, &at, &name, &value))
        if (strcmp(name, "id") && strcmp(name, "question") && strcmp(name, "answer") && strcmp(name, "document"))
            return pk_fail(PK_INVALID, "unknown member \"%.80s\"; expected question, id, answer, document", name);
    return PK_OK;
}

static pk_err read_object(reader *r, const pk_json *object)
{
    pk_question q = {0};
    pk_err err = check_members(object);
    if (!err)
        err = take_text(&q.text, object, "question", PK_QUESTIONS_FILE_BYTES);
    if (!err && !q.text)
        err = pk_fail(PK_INVALID, "question: nothing; expected a string");
    if (!err)
        err = take_text(&q.id, object, "id", PK_QUESTION_ID_BYTES);
    if (!err)
        err = take_text(&q.answer, object, "answer", PK_QUESTIONS_FILE_BYTES);
    if (!err)
        err = take_text(&q.document, object, "document", PK_QUESTIONS_FILE_BYTES);
    if (!err)
        return add(r, q);
    fini_question(&q);
    return err;
}

static pk_err read_json_lines(reader *r)
{
    pk_err err = PK_OK;
    for (char *line; !err && (line = next_line(r));) {
        pk_json *object = NULL;
        if (is_blank(line))
            continue;
        size_t bytes = strlen(line);
        err = pk_json_open(&object, line, bytes, bytes);
        if (!err)
            err = read_object(r, object);
        pk_json_close(&object);
        err = pk_pass(err, "line %zu", r->line);
    }
    return err;
}

static bool has_fence(const char *text)
{
    for (; *text; text += line_bytes(text))
        if (is_fence(text))
            return true;
    return false;
}

static int compare_ids(const void *left, const void *right)
{
    return strcmp(*(const char *const *)left, *(const char *const *)right);
}

static pk_err check_unique(const pk_questions *questions)
{
    pk_err err = PK_OK;
    const char **ids = calloc(questions->count, sizeof *ids);
    if (!ids)
        return pk_fail(PK_NOMEM, "%zu questions", questions->count);
    for (size_t i = 0; i < questions->count; i++)
        ids[i] = questions->items[i].id;
    qsort(ids, questions->count, sizeof *ids, compare_ids);
    for (size_t i = 1; !err && i < questions->count; i++)
        if (!strcmp(ids[i - 1], ids[i]))
            err = pk_fail(PK_INVALID, "two questions have the id \"%s\"", ids[i]);
    free(ids);
    return err;
}

static pk_err read_text(pk_questions *out, char *text, size_t bytes)
{
    size_t bad;
    static const char mark[] = "\xEF\xBB\xBF";
    reader r = {.out = out, .rest = text};
    if (!pk_utf8_check(text, bytes, &bad))
        return pk_fail(PK_INVALID, "byte %zu is not UTF-8", bad);
    if (memchr(text, 0, bytes))
        return pk_fail(PK_INVALID, "byte %zu is a NUL; expected text", strlen(text));
    if (bytes >= 3 && !memcmp(text, mark, 3))
        r.rest += 3;
    pk_err err = r.rest[strspn(r.rest, " \t\r\n")] == '{' ? read_json_lines(&r)
                 : has_fence(r.rest)                      ? read_blocks(&r)
                                                          : read_lines(&r);
    if (!err && !out->count)
        err = pk_fail(PK_INVALID, "no question is in it");
    return err ? err : check_unique(out);
}

pk_err pk_questions_read(pk_questions *out, const char *path)
{
    char *text = NULL;
    size_t bytes = 0;
    *out = (pk_questions){0};
    pk_err err = pk_file_read_all(&text, &bytes, path, PK_QUESTIONS_FILE_BYTES);
    if (!err)
        err = pk_pass(read_text(out, text, bytes), "%s", path);
    free(text);
    return err == PK_CORRUPT ? PK_INVALID : err;
}

static pk_text_view trimmed(pk_text_view text)
{
    while (text.count && isspace((unsigned char)*text.bytes)) {
        text.bytes++;
        text.count--;
    }
    while (text.count && isspace((unsigned char)text.bytes[text.count - 1]))
        text.count--;
    return text;
}

bool pk_question_is_answered(const pk_question *question, pk_text_view answer)
{
    pk_text_view given = trimmed(answer);
    pk_text_view truth = trimmed((pk_text_view){.bytes = question->answer, .count = strlen(question->answer)});
    return given.count == truth.count && !memcmp(given.bytes, truth.bytes, truth.count);
}

pk_err pk_questions_single(pk_questions *out, const char *text)
{
    *out = (pk_questions){0};
    return add(&(reader){.out = out}, (pk_question){.text = strdup(text)});
}
