#include "pipeline/results.h"

#include "ipc/log.h"
#include "loader/file.h"
#include "pipeline/folder.h"
#include "pipeline/lines.h"
#include "pipeline/result_name.h"
#include "pipeline/run_lock.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char results_file[] = "results.jsonl";
static const char errors_file[] = "errors.jsonl";
static const char summary_file[] = "summary.json";
/* While records are withdrawn: the files without them. */
static const char results_aside[] = ".results.jsonl.aside";
static const char errors_aside[] = ".errors.jsonl.aside";

struct pk_results {
    char *dir; /* NULL: standard output */
    char *run_dir;
    char *model, *identity;
    pk_run_lock lock;
    pk_journal *journal;
    int folder; /* dir, open; -1 without */
    int lines, error_lines;
    pk_json_text line; /* being written */
    bool failed;
};

static pk_err copy_options(pk_results *results, const pk_results_options *options)
{
    results->model = strdup(options->model);
    results->identity = strdup(options->identity);
    bool whole = results->model && results->identity;
    if (options->dir) {
        results->dir = strdup(options->dir);
        if (options->run_dir)
            results->run_dir = strdup(options->run_dir);
        else if (asprintf(&results->run_dir, "%s/.penstock", options->dir) < 0)
            results->run_dir = NULL;
        whole = whole && results->dir && results->run_dir;
    }
    return whole ? PK_OK : pk_fail(PK_NOMEM, "no memory for results");
}

/* Opens dir's file of lines, ours alone. */
static pk_err open_lines(const pk_results *results, int *fd, const char *name)
{
    pk_err err;
    struct stat status;
    *fd = openat(results->folder, name, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0666);
    if (*fd < 0 || fstat(*fd, &status))
        return pk_fail_errno(PK_IO, "%s/%s: open", results->dir, name);
    if (!S_ISREG(status.st_mode))
        return pk_fail(PK_INVALID, "%s/%s: is not a regular file", results->dir, name);
    if ((err = pk_run_lock_file(*fd)))
        return pk_pass(err, "%s/%s", results->dir, name);
    return PK_OK;
}

/* Cuts the file to what the journal counts. What is there beyond it was being written when a run ended. */
static pk_err cut_lines(const pk_results *results, int fd, const char *name, uint64_t length)
{
    struct stat status;
    if (fstat(fd, &status))
        return pk_fail_errno(PK_IO, "%s/%s: stat", results->dir, name);
    if ((uint64_t)status.st_size < length)
        return pk_fail(PK_CORRUPT,
                       "%s/%s: has %" PRIu64 " bytes where %" PRIu64
                       " were written; it was changed, put it back or choose another directory",
                       results->dir, name, (uint64_t)status.st_size, length);
    if ((uint64_t)status.st_size > length && (ftruncate(fd, (off_t)length) || fdatasync(fd)))
        return pk_fail_errno(PK_IO, "%s/%s: cut to %" PRIu64 " bytes", results->dir, name, length);
    return PK_OK;
}

/* A new journal would count nothing of what lies there, and cut it off. */
static pk_err refuse_strangers(const pk_results *results, int fd, const char *name)
{
    struct stat status;
    if (fstat(fd, &status))
        return pk_fail_errno(PK_IO, "%s/%s: stat", results->dir, name);
    if (status.st_size == 0)
        return PK_OK;
    return pk_fail(PK_INVALID, "%s/%s: holds results, but %s has no journal of them; choose another directory",
                   results->dir, name, results->run_dir);
}

static size_t line_bytes(const char *text)
{
    return strcspn(text, "\n");
}

/* Steps both to the first line in which they differ. */
static void skip_equal_lines(const char **there, const char **here)
{
    for (;;) {
        size_t bytes = line_bytes(*there);
        if (bytes != line_bytes(*here) || memcmp(*there, *here, bytes) || !(*there)[bytes] || !(*here)[bytes])
            return;
        *there += bytes + 1;
        *here += bytes + 1;
    }
}

static pk_err check_identity(const pk_results *results)
{
    const int shown_bytes = 200;
    const char *there = pk_journal_identity(results->journal), *here = results->identity;
    if (!strcmp(there, here))
        return PK_OK;
    skip_equal_lines(&there, &here);
    if (line_bytes(there) == line_bytes(here) && !memcmp(there, here, line_bytes(here))) {
        /* one is the other and more lines: show the first of those */
        there += line_bytes(there) + (there[line_bytes(there)] == '\n');
        here += line_bytes(here) + (here[line_bytes(here)] == '\n');
    }
    int there_bytes = (int)line_bytes(there), here_bytes = (int)line_bytes(here);
    return pk_fail(PK_INVALID,
                   "%s: holds the results of another run: \"%.*s\" there, \"%.*s\" now; choose another output "
                   "directory, or remove this one to start again",
                   results->dir, there_bytes < shown_bytes ? there_bytes : shown_bytes, there,
                   here_bytes < shown_bytes ? here_bytes : shown_bytes, here);
}

static pk_err begin_directory(pk_results *results)
{
    pk_err err;
    if ((err = refuse_strangers(results, results->lines, results_file)) ||
        (err = refuse_strangers(results, results->error_lines, errors_file)) || (err = pk_folder_sync(results->folder)))
        return err;
    return pk_journal_begin(results->journal, results->identity);
}

/* Puts the file that lies aside in the place of the other, unless that is done. */
static pk_err replace_file(const pk_results *results, const char *aside, const char *name)
{
    if (renameat(results->folder, aside, results->folder, name) && errno != ENOENT)
        return pk_fail_errno(PK_IO, "%s: rename %s", name, aside);
    return PK_OK;
}

/* The end of a withdrawal, here or in the process that died over it. */
static pk_err finish_withdrawal(pk_results *results)
{
    pk_err err;
    if ((err = replace_file(results, results_aside, results_file)) ||
        (err = replace_file(results, errors_aside, errors_file)) || (err = pk_folder_sync(results->folder)))
        return err;
    pk_file_close(&results->lines);
    pk_file_close(&results->error_lines);
    if ((err = open_lines(results, &results->lines, results_file)) ||
        (err = open_lines(results, &results->error_lines, errors_file)))
        return err;
    return pk_journal_replaced(results->journal);
}

static pk_err resume_directory(pk_results *results)
{
    pk_err err;
    pk_journal_lengths lengths = pk_journal_length(results->journal);
    if ((err = check_identity(results)) ||
        (pk_journal_replacing(results->journal) && (err = finish_withdrawal(results))) ||
        (err = cut_lines(results, results->lines, results_file, lengths.results)))
        return err;
    return cut_lines(results, results->error_lines, errors_file, lengths.errors);
}

static pk_err open_journal(pk_results *results)
{
    char *path = NULL;
    if (asprintf(&path, "%s/journal.sqlite", results->run_dir) < 0)
        return pk_fail(PK_NOMEM, "no memory for a path");
    pk_err err = pk_journal_open(&results->journal, path);
    free(path);
    return err;
}

static pk_err open_directory(pk_results *results)
{
    pk_err err;
    if ((err = pk_folder_make(results->dir)) || (err = pk_folder_make(results->run_dir)) ||
        (err = pk_run_lock_take(&results->lock, results->run_dir)) ||
        (err = pk_folder_open(&results->folder, results->dir)) ||
        (err = open_lines(results, &results->lines, results_file)) ||
        (err = open_lines(results, &results->error_lines, errors_file)) || (err = open_journal(results)))
        return err;
    err = pk_journal_identity(results->journal) ? resume_directory(results) : begin_directory(results);
    if (err)
        return err;
    unlinkat(results->folder, results_aside, 0); /* of a withdrawal that was never committed */
    unlinkat(results->folder, errors_aside, 0);
    return pk_pass(pk_folder_clean(results->folder), "%s", results->dir);
}

static pk_err open_streams(pk_results *results)
{
    pk_err err = pk_journal_open(&results->journal, NULL);
    return err ? err : pk_journal_begin(results->journal, results->identity);
}

pk_err pk_results_open(pk_results **out, pk_results_options options)
{
    pk_err err;
    *out = NULL;
    pk_results *results = calloc(1, sizeof *results);
    if (!results)
        return pk_fail(PK_NOMEM, "no memory for results");
    results->lock = PK_RUN_LOCK_NONE;
    results->folder = results->lines = results->error_lines = -1;
    if (!(err = copy_options(results, &options)))
        err = results->dir ? open_directory(results) : open_streams(results);
    if (err)
        pk_results_close(&results);
    *out = results;
    return err;
}

void pk_results_close(pk_results **results)
{
    pk_results *held = *results;
    *results = NULL;
    if (!held)
        return;
    pk_journal_close(&held->journal);
    pk_file_close(&held->lines);
    pk_file_close(&held->error_lines);
    pk_file_close(&held->folder);
    pk_run_lock_drop(&held->lock); /* last: until here the directory is ours */
    pk_json_text_fini(&held->line);
    free(held->dir);
    free(held->run_dir);
    free(held->model);
    free(held->identity);
    free(held);
}

static pk_err check_usable(const pk_results *results)
{
    return results->failed ? pk_fail(PK_IO, "%s: an earlier write failed", results->dir ? results->dir : "results")
                           : PK_OK;
}

/* Remembers a failure that may have left something half done. */
static pk_err keep_failure(pk_results *results, pk_err err)
{
    if (err == PK_OK)
        return PK_OK;
    results->failed = results->failed || err == PK_IO;
    return pk_pass(err, "%s", results->dir ? results->dir : "results");
}

pk_err pk_results_queue(pk_results *results, const char *const *custom_ids, size_t count)
{
    pk_err err = check_usable(results);
    return err ? err : keep_failure(results, pk_journal_queue(results->journal, custom_ids, count));
}

uint32_t pk_results_epoch(const pk_results *results)
{
    return pk_journal_epoch(results->journal);
}

pk_err pk_results_raise(pk_results *results, uint32_t epoch)
{
    pk_err err = check_usable(results);
    return err ? err : keep_failure(results, pk_journal_raise(results->journal, epoch));
}

pk_err pk_results_state(pk_results *results, const char *custom_id, pk_request_state *out)
{
    return pk_journal_state(results->journal, custom_id, out);
}

pk_err pk_results_input(pk_results *results, const char *custom_id, char out[PK_INPUT_BYTES])
{
    return pk_journal_input(results->journal, custom_id, out);
}

pk_err pk_results_count(pk_results *results, pk_request_counts *out)
{
    return pk_journal_count(results->journal, out);
}

/* Before anything is written: a second record would be the one thing that must never happen. Stands in release builds
 * too, as does the journal's own check. */
static pk_err insist_first(pk_results *results, const char *custom_id)
{
    pk_request_state state;
    pk_err err = pk_journal_state(results->journal, custom_id, &state);
    if (!err && state != PK_REQUEST_QUEUED) {
        pk_log_error("second-record request=%s", custom_id);
        abort();
    }
    return err;
}

/* To a pipe or a terminal: no offset, no sync. */
static pk_err write_stream(int fd, const char *name, const pk_json_text *line)
{
    size_t done = 0;
    while (done < line->used) {
        ssize_t put = write(fd, line->bytes + done, line->used - done);
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return pk_fail_errno(PK_IO, "write to %s", name);
        done += (size_t)put;
    }
    return PK_OK;
}

static pk_err append_line(int fd, const char *name, const pk_json_text *line, uint64_t *length)
{
    pk_err err = pk_file_write_at(fd, line->bytes, line->used, *length);
    if (!err && fdatasync(fd))
        err = pk_fail_errno(PK_IO, "sync");
    if (!err)
        *length += line->used;
    return pk_pass(err, "%s", name);
}

/* The line is in results->line. */
static pk_err end_request(pk_results *results, const char *custom_id, pk_request_state state, const char *input)
{
    pk_err err;
    bool done = state == PK_REQUEST_DONE;
    pk_journal_lengths lengths = pk_journal_length(results->journal);
    if (!results->dir)
        err = done ? write_stream(STDOUT_FILENO, "standard output", &results->line)
                   : write_stream(STDERR_FILENO, "standard error", &results->line);
    else
        err = done ? append_line(results->lines, results_file, &results->line, &lengths.results)
                   : append_line(results->error_lines, errors_file, &results->line, &lengths.errors);
    return err ? err
               : pk_journal_end(results->journal, custom_id,
                                (pk_request_end){.state = state, .input = input, .lengths = lengths});
}

/* What stands below the answer: its line end, and the document's line that it stands in. malloc'd; NULL: no memory. */
static char *readable_tail(const pk_choice *choice)
{
    char *tail;
    pk_quote quote = choice->quote;
    pk_text_view content = choice->content;
    const char *end = content.count && content.bytes[content.count - 1] == '\n' ? "" : "\n";
    if (!quote.line)
        return strdup(end);
    if (asprintf(&tail, "%s\n> %.*s\n\nbytes %zu to %zu of the document\n", end, (int)quote.bytes, quote.line,
                 quote.begin, quote.begin + quote.bytes) < 0)
        return NULL;
    return tail;
}

/* A file for each answer; answer 0: the only one. */
static pk_err put_readable(const pk_results *results, const char *custom_id, size_t answer, const pk_choice *choice)
{
    char name[PK_RESULT_NAME_BYTES];
    char *tail = readable_tail(choice);
    if (!tail)
        return pk_fail(PK_NOMEM, "no memory for an answer");
    pk_result_name(name, custom_id, answer);
    pk_err err = pk_folder_put(results->folder, name,
                               (pk_folder_data){
                                   .head = choice->content.bytes,
                                   .head_bytes = choice->content.count,
                                   .tail = tail,
                                   .tail_bytes = strlen(tail),
                               });
    free(tail);
    return err;
}

static bool has_readable(const pk_results *results, const char *custom_id, size_t answer)
{
    char name[PK_RESULT_NAME_BYTES];
    pk_result_name(name, custom_id, answer);
    return !faccessat(results->folder, name, F_OK, AT_SYMLINK_NOFOLLOW);
}

/* The file of the only answer, and those of several. From the last to the first: whenever the process dies, there is no
 * gap behind which the next would not look. */
static pk_err remove_readable(const pk_results *results, const char *custom_id)
{
    char name[PK_RESULT_NAME_BYTES];
    size_t end = 1;
    while (has_readable(results, custom_id, end))
        end++;
    while (end-- > 0) {
        pk_result_name(name, custom_id, end);
        if (unlinkat(results->folder, name, 0) && errno != ENOENT)
            return pk_fail_errno(PK_IO, "remove %s", name);
    }
    return PK_OK;
}

/* Where the process died over an earlier end of the request, there may be files of more answers, or of the only one. */
static pk_err put_all_readable(const pk_results *results, const pk_result *result)
{
    if (!results->dir)
        return PK_OK;
    pk_err err = remove_readable(results, result->custom_id);
    for (size_t i = 0; !err && i < result->choice_count; i++)
        err = put_readable(results, result->custom_id, result->choice_count > 1 ? i + 1 : 0, &result->choices[i]);
    return err;
}

pk_err pk_results_put(pk_results *results, const pk_result *result)
{
    pk_err err;
    char id[PK_RESULT_ID_BYTES];
    if ((err = check_usable(results)) || (err = insist_first(results, result->custom_id)))
        return err;
    pk_result_id(id, result->custom_id, results->identity);
    pk_json_text_clear(&results->line);
    pk_result_line(&results->line, id, results->model, result);
    if ((err = pk_json_text_check(&results->line)) || (err = put_all_readable(results, result)))
        return keep_failure(results, err);
    return keep_failure(results, end_request(results, result->custom_id, PK_REQUEST_DONE, result->input));
}

pk_err pk_results_fail(pk_results *results, const pk_failure *failure)
{
    pk_err err;
    char id[PK_RESULT_ID_BYTES];
    if ((err = check_usable(results)) || (err = insist_first(results, failure->custom_id)))
        return err;
    pk_result_id(id, failure->custom_id, results->identity);
    pk_json_text_clear(&results->line);
    pk_result_error_line(&results->line, id, failure);
    if (!(err = pk_json_text_check(&results->line)) &&
        !(results->dir && (err = remove_readable(results, failure->custom_id))))
        err = end_request(results, failure->custom_id, PK_REQUEST_FAILED, failure->input);
    return keep_failure(results, err);
}

/* What the request's line begins with; malloc'd. */
static pk_err head_of(pk_results *results, const char *custom_id, char **out)
{
    char id[PK_RESULT_ID_BYTES];
    pk_result_id(id, custom_id, results->identity);
    pk_json_text_clear(&results->line);
    pk_result_line_head(&results->line, id, custom_id);
    pk_err err = pk_json_text_check(&results->line);
    if (!err && !(*out = strndup(results->line.bytes, results->line.used)))
        err = pk_fail(PK_NOMEM, "no memory for a line");
    return err;
}

static int compare_words(const void *left, const void *right)
{
    return strcmp(*(char *const *)left, *(char *const *)right);
}

/* Writes both files aside without the lines of these heads. */
static pk_err write_aside(const pk_results *results, char *const *heads, size_t count, pk_journal_lengths *lengths)
{
    pk_lines_without_options options = {.folder = results->folder,
                                        .from = results_file,
                                        .to = results_aside,
                                        .length = lengths->results,
                                        .heads = heads,
                                        .head_count = count};
    pk_err err = pk_lines_without(options, &lengths->results);
    options.from = errors_file;
    options.to = errors_aside;
    options.length = lengths->errors;
    if (!err)
        err = pk_lines_without(options, &lengths->errors);
    return err ? err : pk_folder_sync(results->folder); /* their names too, before anybody counts on them */
}

/* A process that dies before the readable files are gone leaves them to the requests' next ends, which put or remove
 * them. */
static pk_err withdraw(pk_results *results, char **heads, const char *const *custom_ids, size_t count)
{
    pk_err err = PK_OK;
    pk_journal_lengths lengths = pk_journal_length(results->journal);
    for (size_t i = 0; i < count && !err; i++)
        err = head_of(results, custom_ids[i], &heads[i]);
    if (err)
        return err;
    qsort(heads, count, sizeof *heads, compare_words);
    if ((err = write_aside(results, heads, count, &lengths)) ||
        (err = pk_journal_withdraw(results->journal, custom_ids, count, lengths)) || (err = finish_withdrawal(results)))
        return err;
    for (size_t i = 0; i < count && !err; i++)
        err = remove_readable(results, custom_ids[i]);
    return err;
}

pk_err pk_results_withdraw(pk_results *results, const char *const *custom_ids, size_t count)
{
    pk_err err = check_usable(results);
    if (err || !count || !results->dir)
        return err;
    char **heads = calloc(count, sizeof *heads);
    err = heads ? withdraw(results, heads, custom_ids, count) : pk_fail(PK_NOMEM, "%zu requests", count);
    for (size_t i = 0; heads && i < count; i++)
        free(heads[i]);
    free(heads);
    return keep_failure(results, err);
}

pk_err pk_results_begin(pk_results *results)
{
    pk_err err = check_usable(results);
    if (!err && results->dir && unlinkat(results->folder, summary_file, 0) && errno != ENOENT)
        err = pk_fail_errno(PK_IO, "remove %s", summary_file);
    return keep_failure(results, err);
}

bool pk_results_summarized(const pk_results *results)
{
    return !results->dir || !faccessat(results->folder, summary_file, F_OK, 0);
}

pk_err pk_results_summary(pk_results *results, const char *json_text)
{
    pk_err err = check_usable(results);
    size_t bytes = strlen(json_text);
    if (err || !results->dir)
        return err;
    bool ends = bytes && json_text[bytes - 1] == '\n';
    return keep_failure(results, pk_folder_put(results->folder, summary_file,
                                               (pk_folder_data){
                                                   .head = json_text,
                                                   .head_bytes = bytes,
                                                   .tail = "\n",
                                                   .tail_bytes = ends ? 0 : 1,
                                               }));
}
