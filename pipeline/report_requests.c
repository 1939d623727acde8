/* report_requests.c - the requests of a run, a row each, from the lines of its result files. */
#include "pipeline/report_parts.h"

#include "pipeline/markup.h"
#include "pipeline/result_line.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

enum { EXCERPT_BYTES = 280 };

struct listing {
    FILE *out;
    uint64_t rows, left; /* written; of the file, beyond those */
};

/* The beginning of a text, cut between characters. */
static void put_excerpt(FILE *out, const char *text)
{
    char excerpt[EXCERPT_BYTES + 1];
    size_t bytes = strlen(text), cut = bytes < EXCERPT_BYTES ? bytes : EXCERPT_BYTES;
    while (cut < bytes && cut && ((unsigned char)text[cut] & 0xC0) == 0x80)
        cut--;
    memcpy(excerpt, text, cut);
    excerpt[cut] = 0;
    pk_markup_text(out, excerpt);
    if (cut < bytes)
        fputs(" …", out);
}

static void put_tokens(FILE *out, const pk_json *usage, const char *name)
{
    fputs("<td class=\"n\">", out);
    if (usage)
        pk_report_whole(out, pk_report_count(usage, name));
    fputs("</td>", out);
}

static void put_row(FILE *out, const pk_json *line)
{
    const pk_json *error = pk_json_member(line, "error"), *code = pk_json_member(error, "code");
    const pk_json *body = pk_json_member(pk_json_member(line, "response"), "body");
    const pk_json *choice = pk_json_item(pk_json_member(body, "choices"), 0), *usage = pk_json_member(body, "usage");
    fprintf(out, "<tr%s><td>", code ? " class=\"failed\"" : "");
    pk_markup_text(out, pk_report_word(line, "custom_id"));
    fputs("</td><td>", out);
    pk_markup_text(out, code ? pk_report_word(error, "code") : pk_report_word(choice, "finish_reason"));
    fputs("</td>", out);
    put_tokens(out, usage, "prompt_tokens");
    put_tokens(out, usage, "completion_tokens");
    fputs("<td class=\"text\">", out);
    put_excerpt(out,
                code ? pk_report_word(error, "message") : pk_report_word(pk_json_member(choice, "message"), "content"));
    fputs("</td></tr>\n", out);
}

/* A line that has no end yet is being written, or torn: it is no record. */
static pk_err list_line(struct listing *listing, char *line, size_t bytes, uint64_t rows_max)
{
    pk_json *record = NULL;
    if (line[bytes - 1] != '\n')
        return PK_OK;
    if (listing->rows >= rows_max) {
        listing->left++;
        return PK_OK;
    }
    pk_err err = pk_result_line_open(&record, line, bytes);
    if (!err)
        put_row(listing->out, record);
    listing->rows += !err;
    pk_json_close(&record);
    return err;
}

/* A file that is not there has no lines. */
static pk_err list_file(struct listing *listing, const char *dir, const char *name, uint64_t rows_max)
{
    char path[4352], *line = NULL;
    size_t capacity = 0;
    ssize_t bytes;
    uint64_t number = 0;
    pk_err err = PK_OK;
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *file = fopen(path, "re");
    if (!file)
        return errno == ENOENT ? PK_OK : pk_fail_errno(PK_IO, "%s", path);
    while (!err && (bytes = getline(&line, &capacity, file)) > 0 && ++number)
        err = list_line(listing, line, (size_t)bytes, rows_max);
    if (err)
        err = pk_pass(err, "%s: line %" PRIu64, path, number);
    else if (ferror(file))
        err = pk_fail_errno(PK_IO, "%s", path);
    free(line);
    fclose(file);
    return err;
}

pk_err pk_report_requests(pk_report *report)
{
    struct listing listing = {.out = report->out};
    const char *dir = report->options->out_dir;
    fputs(
        "<table id=\"requests\"><thead><tr><th>request<th>end<th class=\"n\">prompt tokens<th class=\"n\">answer tokens"
        "<th>answer, or why it failed</tr></thead><tbody>\n",
        report->out);
    pk_err err = list_file(&listing, dir, "errors.jsonl", PK_REPORT_REQUESTS / 2);
    if (!err)
        err = list_file(&listing, dir, "results.jsonl", PK_REPORT_REQUESTS);
    fputs("</tbody></table>\n", report->out);
    if (listing.left) {
        fputs("<p class=\"missing\">", report->out);
        pk_report_whole(report->out, listing.left);
        fputs(" more stand in results.jsonl and errors.jsonl.</p>\n", report->out);
    }
    return err;
}
