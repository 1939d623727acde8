#include "pipeline/exact_match.h"

#include "pipeline/result_line.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    pk_exact_match *match;
    const pk_ask **asks; /* with a known answer, by custom_id */
    size_t count;
} recount;

static bool has_truth(const pk_ask *ask)
{
    return ask->question && ask->question->answer;
}

void pk_exact_match_add(pk_exact_match *match, const pk_ask *ask, pk_text_view content)
{
    if (!has_truth(ask))
        return;
    match->of++;
    match->right += pk_question_is_answered(ask->question, content);
}

static int compare_asks(const void *left, const void *right)
{
    return strcmp((*(const pk_ask *const *)left)->custom_id, (*(const pk_ask *const *)right)->custom_id);
}

static int compare_name(const void *name, const void *ask)
{
    return strcmp(name, (*(const pk_ask *const *)ask)->custom_id);
}

static pk_err list_asks(recount *r, const pk_asks *asks)
{
    if (!(r->asks = calloc(asks->count + 1, sizeof *r->asks)))
        return pk_fail(PK_NOMEM, "%zu requests", asks->count);
    for (size_t i = 0; i < asks->count; i++)
        if (has_truth(&asks->items[i]))
            r->asks[r->count++] = &asks->items[i];
    qsort(r->asks, r->count, sizeof *r->asks, compare_asks);
    return PK_OK;
}

static void add_record(const recount *r, const pk_json *record)
{
    const char *name = pk_json_string(pk_json_member(record, "custom_id"));
    const pk_json *body = pk_json_member(pk_json_member(record, "response"), "body");
    const pk_json *message = pk_json_member(pk_json_item(pk_json_member(body, "choices"), 0), "message");
    const char *content = pk_json_string(pk_json_member(message, "content"));
    const pk_ask **ask = name ? bsearch(name, r->asks, r->count, sizeof *r->asks, compare_name) : NULL;
    if (ask)
        pk_exact_match_add(r->match, *ask,
                           (pk_text_view){.bytes = content ? content : "", .count = content ? strlen(content) : 0});
}

static pk_err add_lines(const recount *r, FILE *file)
{
    char *line = NULL;
    size_t capacity = 0, number = 0;
    ssize_t bytes;
    pk_err err = PK_OK;
    while (!err && (bytes = getline(&line, &capacity, file)) > 0) {
        pk_json *record = NULL;
        number++;
        if (!(err = pk_result_line_open(&record, line, (size_t)bytes)))
            add_record(r, record);
        pk_json_close(&record);
        err = pk_pass(err, "line %zu", number);
    }
    if (!err && ferror(file))
        err = pk_fail_errno(PK_IO, "read");
    free(line);
    return err;
}

pk_err pk_exact_match_add_all(pk_exact_match *match, const pk_asks *asks, const char *dir)
{
    recount r = {.match = match};
    char *path = NULL;
    FILE *file = NULL;
    pk_err err = list_asks(&r, asks);
    if (err || !r.count)
        goto out;
    if (asprintf(&path, "%s/results.jsonl", dir) < 0) {
        path = NULL;
        err = pk_fail(PK_NOMEM, "a path");
        goto out;
    }
    if ((file = fopen(path, "re")))
        err = add_lines(&r, file);
    else
        err = pk_fail_errno(PK_IO, "open");
    err = pk_pass(err, "%s", path);
out:
    if (file)
        fclose(file);
    free(path);
    free(r.asks);
    return err;
}
