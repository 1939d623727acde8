#include "check.h"
#include "place.h"

#include "loader/json.h"
#include "pipeline/folder.h"
#include "pipeline/lines.h"
#include "pipeline/result_name.h"
#include "pipeline/results.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

static const pk_results_options standard = {
    .dir = "out/deep",
    .identity = "model: 0123\nseed: 7\nquestion 1: What?",
    .model = "nano",
};

static pk_results *open_results(void)
{
    pk_results *results;
    if (pk_results_open(&results, standard))
        fail_msg("refused: %s", pk_error_text());
    return results;
}

static pk_result answer(const char *custom_id, const char *content)
{
    static pk_choice choice;
    choice = (pk_choice){.content = {.bytes = content, .count = strlen(content)}, .finish_reason = "stop"};
    return (pk_result){
        .custom_id = custom_id, .choices = &choice, .choice_count = 1, .prompt_tokens = 100, .completion_tokens = 5};
}

static void put(pk_results *results, const char *custom_id, const char *content)
{
    pk_result result = answer(custom_id, content);
    if (pk_results_put(results, &result))
        fail_msg("refused: %s", pk_error_text());
}

static pk_err fail_request(pk_results *results, const char *custom_id, const char *code, const char *message)
{
    return pk_results_fail(results, &(pk_failure){.custom_id = custom_id, .code = code, .message = message});
}

static pk_request_state state_of(pk_results *results, const char *custom_id)
{
    pk_request_state state;
    assert_int_equal(pk_results_state(results, custom_id, &state), PK_OK);
    return state;
}

static void assert_refused(pk_results_options options, pk_err expected, const char *message)
{
    pk_results *results;
    assert_error(pk_results_open(&results, options), expected, message);
    assert_null(results);
}

static size_t count_lines(const char *path)
{
    size_t lines = 0;
    char *text = place_read(path);
    for (const char *at = text; *at; at++)
        lines += *at == '\n';
    free(text);
    return lines;
}

static void a_result_is_a_line_and_a_readable_file(void **state)
{
    pk_results *results = open_results();
    (void)state;
    put(results, "docs/a.txt#1", "Say \"\xC3\xBC\"\n\x01");
    assert_int_equal(state_of(results, "docs/a.txt#1"), PK_REQUEST_DONE);
    pk_results_close(&results);
    assert_place_holds("out/deep/docs__a.txt.1.md", "Say \"\xC3\xBC\"\n\x01\n");
    char *line = place_read("out/deep/results.jsonl"), expected[1024];
    const char *id = strstr(line, "batch_req_") + strlen("batch_req_");
    assert_int_equal(strspn(id, "0123456789abcdef"), 16);
    snprintf(expected, sizeof expected,
             "{\"id\": \"batch_req_%.16s\", \"custom_id\": \"docs/a.txt#1\", \"response\": {\"status_code\": 200, "
             "\"request_id\": \"batch_req_%.16s\", \"body\": {\"id\": \"chatcmpl-%.16s\", \"object\": "
             "\"chat.completion\", \"model\": \"nano\", \"choices\": [{\"index\": 0, \"message\": {\"role\": "
             "\"assistant\", \"content\": \"Say \\\"\xC3\xBC\\\"\\n\\u0001\"}, \"finish_reason\": \"stop\"}], "
             "\"usage\": {\"prompt_tokens\": 100, \"completion_tokens\": 5, \"total_tokens\": 105, "
             "\"prompt_tokens_details\": {\"cached_tokens\": 0}}}}, \"error\": null}\n",
             id, id, id);
    assert_string_equal(line, expected);
    pk_json *document;
    assert_int_equal(pk_json_open(&document, line, strlen(line), 100), PK_OK);
    pk_json_close(&document);
    free(line);
}

static void a_quote_stands_in_the_line_and_below_the_answer(void **state)
{
    pk_results *results = open_results();
    pk_result result = answer("a.txt#1", "Edith Crane");
    pk_choice choice = result.choices[0];
    (void)state;
    result.choices = &choice;
    choice.quote = (pk_quote){.line = "Paid to \"Edith Crane\".\r\nNo more", .bytes = 22, .begin = 40};
    assert_int_equal(pk_results_put(results, &result), PK_OK);
    pk_results_close(&results);
    assert_place_holds("out/deep/a.txt.1.md",
                       "Edith Crane\n\n> Paid to \"Edith Crane\".\n\nbytes 40 to 62 of the document\n");
    char *line = place_read("out/deep/results.jsonl");
    assert_non_null(strstr(line, "\"finish_reason\": \"stop\", \"quote\": {\"begin\": 40, \"end\": 62, \"line\": "
                                 "\"Paid to \\\"Edith Crane\\\".\"}}]"));
    free(line);
}

static void a_failure_is_a_line_of_errors_only(void **state)
{
    pk_results *results = open_results();
    (void)state;
    assert_int_equal(fail_request(results, "gone.txt#1", "not_found", "gone.txt: No such file"), PK_OK);
    assert_int_equal(state_of(results, "gone.txt#1"), PK_REQUEST_FAILED);
    pk_results_close(&results);
    char *line = place_read("out/deep/errors.jsonl");
    assert_non_null(strstr(line, "\"custom_id\": \"gone.txt#1\", \"response\": null, \"error\": "
                                 "{\"code\": \"not_found\", \"message\": \"gone.txt: No such file\"}}\n"));
    free(line);
    assert_int_equal(access("out/deep/gone.txt.1.md", F_OK), -1);
    assert_place_holds("out/deep/results.jsonl", "");
}

static void a_message_that_was_cut_within_a_character_is_still_json(void **state)
{
    pk_results *results = open_results();
    (void)state;
    assert_int_equal(fail_request(results, "a#1", "x", "gr\xC3"), PK_OK);
    pk_results_close(&results);
    char *line = place_read("out/deep/errors.jsonl");
    assert_non_null(strstr(line, "\"message\": \"gr\xEF\xBF\xBD\"}}\n"));
    free(line);
}

static void reopening_resumes_and_leaves_equal_bytes(void **state)
{
    static const char *const requests[] = {"a#1", "b#1", "c#1"};
    pk_request_counts counts;
    (void)state;
    pk_results *results = open_results();
    assert_int_equal(pk_results_queue(results, requests, 3), PK_OK);
    put(results, "a#1", "first");
    assert_int_equal(fail_request(results, "b#1", "empty", "b: is empty"), PK_OK);
    pk_results_close(&results);
    results = open_results();
    assert_int_equal(pk_results_queue(results, requests, 3), PK_OK);
    assert_int_equal(state_of(results, "a#1"), PK_REQUEST_DONE);
    assert_int_equal(state_of(results, "b#1"), PK_REQUEST_FAILED);
    assert_int_equal(state_of(results, "c#1"), PK_REQUEST_QUEUED);
    assert_int_equal(pk_results_count(results, &counts), PK_OK);
    assert_true(counts.queued == 1 && counts.done == 1 && counts.failed == 1);
    put(results, "c#1", "third");
    pk_results_close(&results);
    char *resumed = place_read("out/deep/results.jsonl");

    pk_results_options undisturbed = standard;
    undisturbed.dir = "other";
    assert_int_equal(pk_results_open(&results, undisturbed), PK_OK);
    put(results, "a#1", "first");
    put(results, "c#1", "third");
    pk_results_close(&results);
    assert_place_holds("other/results.jsonl", resumed);
    free(resumed);
}

static void a_torn_tail_is_cut(void **state)
{
    (void)state;
    pk_results *results = open_results();
    put(results, "a#1", "first");
    assert_int_equal(fail_request(results, "b#1", "empty", "b: is empty"), PK_OK);
    pk_results_close(&results);
    char *whole = place_read("out/deep/results.jsonl"), *errors = place_read("out/deep/errors.jsonl");
    place_write_mode("out/deep/results.jsonl", "a", "{\"id\": \"bat", 11);
    place_write_mode("out/deep/errors.jsonl", "a", whole, strlen(whole));
    place_write("out/deep/.partial", "half an ans");
    place_write("out/deep/c.1.md", "a readable file without its row\n");
    results = open_results();
    assert_place_holds("out/deep/results.jsonl", whole);
    assert_place_holds("out/deep/errors.jsonl", errors);
    assert_int_equal(access("out/deep/.partial", F_OK), -1);
    put(results, "c#1", "third");
    pk_results_close(&results);
    assert_place_holds("out/deep/c.1.md", "third\n");
    assert_int_equal(count_lines("out/deep/results.jsonl"), 2);
    free(whole);
    free(errors);
}

static void a_killed_coordinator_leaves_what_it_committed(void **state)
{
    (void)state;
    int status;
    pid_t child = fork();
    if (child == 0) {
        pk_results *results = open_results();
        put(results, "a#1", "first");
        raise(SIGKILL);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    pk_results *results = open_results();
    assert_int_equal(state_of(results, "a#1"), PK_REQUEST_DONE);
    assert_int_equal(count_lines("out/deep/results.jsonl"), 1);
    put(results, "b#1", "second");
    pk_results_close(&results);
    assert_int_equal(count_lines("out/deep/results.jsonl"), 2);
}

static void a_shortened_result_file_is_refused(void **state)
{
    (void)state;
    pk_results *results = open_results();
    put(results, "a#1", "first");
    pk_results_close(&results);
    char message[256];
    struct stat status;
    assert_int_equal(stat("out/deep/results.jsonl", &status) | truncate("out/deep/results.jsonl", 9), 0);
    snprintf(message, sizeof message,
             "out/deep/results.jsonl: has 9 bytes where %lld were written; it was changed, put it back or choose "
             "another directory",
             (long long)status.st_size);
    assert_refused(standard, PK_CORRUPT, message);
}

static void results_without_a_journal_are_not_touched(void **state)
{
    (void)state;
    assert_int_equal(mkdir("out", 0777) | mkdir("out/deep", 0777), 0);
    place_write("out/deep/results.jsonl", "somebody's\n");
    for (int i = 0; i < 2; i++) {
        assert_refused(standard, PK_INVALID,
                       "out/deep/results.jsonl: holds results, but out/deep/.penstock has no journal of them; choose "
                       "another directory");
        assert_place_holds("out/deep/results.jsonl", "somebody's\n");
    }
}

static void a_run_of_another_identity_is_refused(void **state)
{
    static const char *const cases[][2] = {
        {"model: 0123\nseed: 8\nquestion 1: What?", "\"seed: 7\" there, \"seed: 8\" now"},
        {"model: 0123\nseed: 7\nquestion 1: What?\nquestion 2: Who?", "\"\" there, \"question 2: Who?\" now"},
        {"model: 0123\nseed: 7", "\"question 1: What?\" there, \"\" now"},
        {"", "\"model: 0123\" there, \"\" now"},
    };
    (void)state;
    pk_results *results = open_results();
    put(results, "a#1", "first");
    pk_results_close(&results);
    char *whole = place_read("out/deep/results.jsonl"), message[512];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        pk_results_options other = standard;
        other.identity = cases[i][0];
        snprintf(message, sizeof message,
                 "out/deep: holds the results of another run: %s; choose another output directory, or remove this one "
                 "to start again",
                 cases[i][1]);
        assert_refused(other, PK_INVALID, message);
    }
    assert_place_holds("out/deep/results.jsonl", whole);
    free(whole);
}

static void a_second_coordinator_is_refused(void **state)
{
    char message[128];
    (void)state;
    pk_results *results = open_results();
    snprintf(message, sizeof message, "out/deep/.penstock: in use by another coordinator (pid %d)", (int)getpid());
    pid_t child = fork();
    if (child == 0) {
        pk_results *second;
        _exit(pk_results_open(&second, standard) == PK_AGAIN && !strcmp(pk_error_text(), message) ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_refused(standard, PK_AGAIN, message);
    pk_results_options elsewhere = standard;
    elsewhere.run_dir = "run";
    assert_refused(elsewhere, PK_AGAIN, "out/deep/results.jsonl: in use by another coordinator");
    put(results, "a#1", "first");
    pk_results_close(&results);
    results = open_results();
    pk_results_close(&results);
}

static void the_run_directory_may_lie_elsewhere(void **state)
{
    pk_results *results;
    pk_results_options options = standard;
    (void)state;
    options.run_dir = "run/of/it";
    assert_int_equal(pk_results_open(&results, options), PK_OK);
    put(results, "a#1", "first");
    pk_results_close(&results);
    assert_int_equal(access("run/of/it/journal.sqlite", F_OK), 0);
    assert_int_equal(access("out/deep/.penstock", F_OK), -1);
    assert_int_equal(pk_results_open(&results, options), PK_OK);
    assert_int_equal(state_of(results, "a#1"), PK_REQUEST_DONE);
    pk_results_close(&results);
}

static void a_path_that_is_a_file_is_refused(void **state)
{
    (void)state;
    place_write("out", "a file");
    assert_refused(standard, PK_INVALID, "out is a file, expected a directory");
}

/* Every write beyond `bytes` of a file fails as on a full disk. */
static void limit_files(rlim_t bytes, struct rlimit *old)
{
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, old), 0);
    struct rlimit tight = {bytes, old->rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &tight), 0);
}

static char *long_text(size_t bytes)
{
    char *text = malloc(bytes + 1);
    assert_non_null(text);
    memset(text, 'x', bytes);
    text[bytes] = '\0';
    return text;
}

/* For limits at which the readable file, the line or the journal's log is what does not fit: each time the error names
 * the disk, nothing half done is seen afterwards, and the run goes on from there once there is room. */
static void a_full_disk_is_reported_and_continued_after(void **state)
{
    char *content = long_text(30000);
    bool seen_readable = false, seen_line = false, seen_journal = false;
    (void)state;
    for (rlim_t limit = 10000; limit < 90000; limit += 10000) {
        struct rlimit old;
        pk_results *results = open_results();
        put(results, "a#1", content);
        limit_files(limit, &old);
        pk_result second = answer("b#1", content);
        pk_err err = pk_results_put(results, &second), again = fail_request(results, "c#1", "x", "y");
        char *text = strdup(pk_error_text());
        if (err) {
            assert_int_equal(err, PK_IO);
            assert_int_equal(again, PK_IO);
            assert_string_equal(text, "out/deep: an earlier write failed");
        }
        free(text);
        seen_readable |= err && access("out/deep/b.1.md", F_OK);
        pk_results_close(&results);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
        struct stat status;
        assert_int_equal(stat("out/deep/results.jsonl", &status), 0);
        seen_line |= err && !access("out/deep/b.1.md", F_OK) && status.st_size < 60000;
        seen_journal |= err && status.st_size > 60000;

        results = open_results();
        pk_request_state found = state_of(results, "b#1");
        assert_int_equal(count_lines("out/deep/results.jsonl"), found == PK_REQUEST_DONE ? 2 : 1);
        if (found == PK_REQUEST_QUEUED)
            put(results, "b#1", content);
        pk_results_close(&results);
        assert_int_equal(count_lines("out/deep/results.jsonl"), 2);
        assert_int_equal(access("out/deep/.partial", F_OK), -1);
        assert_int_equal(nftw("out", place_remove_one, 8, FTW_DEPTH | FTW_PHYS), 0);
    }
    free(content);
    assert_true(seen_readable && seen_line);
    (void)seen_journal; /* depends on how large the log was */
}

/* The journal's log is filled first, so that it is what does not fit. */
static void a_journal_that_cannot_commit_leaves_the_request_undone(void **state)
{
    struct rlimit old;
    (void)state;
    pk_results *results = open_results();
    for (int i = 0; i < 20; i++) {
        char name[16];
        snprintf(name, sizeof name, "a%d#1", i);
        put(results, name, "short");
    }
    char *before = place_read("out/deep/results.jsonl");
    limit_files(strlen(before) + 4096, &old); /* less than the log has, more than the line needs */
    pk_result result = answer("b#1", "second");
    assert_int_equal(pk_results_put(results, &result), PK_IO);
    assert_non_null(strstr(pk_error_text(), "out/deep: journal: "));
    pk_results_close(&results);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    results = open_results();
    assert_int_equal(state_of(results, "b#1"), PK_REQUEST_QUEUED);
    assert_place_holds("out/deep/results.jsonl", before);
    put(results, "b#1", "second");
    pk_results_close(&results);
    assert_int_equal(count_lines("out/deep/results.jsonl"), 21);
    free(before);
}

static void a_second_record_for_a_request_stops_the_process(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        int status;
        pid_t child = fork();
        if (child == 0) {
            struct rlimit none = {0, 0};
            setrlimit(RLIMIT_CORE, &none);
            signal(SIGABRT, SIG_DFL);
            pk_results *results = open_results();
            if (i == 0)
                put(results, "a#1", "first");
            close(STDERR_FILENO); /* the line that says why is expected */
            pk_result again = answer("a#1", "second");
            pk_err err = i ? fail_request(results, "a#1", "x", "y") : pk_results_put(results, &again);
            _exit(err ? 2 : 3);
        }
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    }
    assert_int_equal(count_lines("out/deep/results.jsonl"), 1);
    assert_place_holds("out/deep/a.1.md", "first\n");
}

static void a_journal_that_is_none_is_refused(void **state)
{
    (void)state;
    pk_results *results = open_results();
    put(results, "a#1", "first");
    pk_results_close(&results);
    place_write("out/deep/.penstock/journal.sqlite",
                "this is text, and long enough to look like a header of something");
    pk_results *second;
    assert_int_equal(pk_results_open(&second, standard), PK_CORRUPT);
    assert_non_null(strstr(pk_error_text(), "out/deep/.penstock/journal.sqlite: "));
    assert_int_equal(count_lines("out/deep/results.jsonl"), 1);
}

/* Each byte of the first page and some of the others: refused, or nothing of what counts is lost. */
static void a_damaged_journal_is_refused_or_harmless(void **state)
{
    (void)state;
    pk_results *results = open_results();
    put(results, "a#1", "first");
    pk_results_close(&results);
    char *lines = place_read("out/deep/results.jsonl");
    int fd = open("out/deep/.penstock/journal.sqlite", O_RDWR);
    struct stat status;
    assert_true(fd >= 0 && !fstat(fd, &status));
    char *whole = malloc((size_t)status.st_size);
    assert_int_equal(pread(fd, whole, (size_t)status.st_size, 0), status.st_size);
    for (off_t at = 0; at < status.st_size; at += at < 128 ? 1 : 97) {
        char flipped = (char)(whole[at] ^ 0xFF);
        assert_int_equal(pwrite(fd, &flipped, 1, at), 1);
        if (pk_results_open(&results, standard) == PK_OK)
            pk_results_close(&results);
        else
            assert_true(strlen(pk_error_text()) > 0);
        assert_int_equal(pwrite(fd, whole, (size_t)status.st_size, 0), status.st_size);
        assert_int_equal(ftruncate(fd, status.st_size), 0);
        unlink("out/deep/.penstock/journal.sqlite-wal");
        unlink("out/deep/.penstock/journal.sqlite-journal");
    }
    close(fd);
    results = open_results();
    assert_int_equal(state_of(results, "a#1"), PK_REQUEST_DONE);
    pk_results_close(&results);
    assert_place_holds("out/deep/results.jsonl", lines);
    free(whole);
    free(lines);
}

static void the_summary_is_replaced_whole(void **state)
{
    (void)state;
    pk_results *results = open_results();
    assert_int_equal(pk_results_summary(results, "{\"done\": 1, \"a longer one\": true}\n"), PK_OK);
    assert_int_equal(pk_results_summary(results, "{\"done\": 2}"), PK_OK);
    pk_results_close(&results);
    assert_place_holds("out/deep/summary.json", "{\"done\": 2}\n");
}

static int divert(int fd, const char *path)
{
    int kept = dup(fd), file = open(path, O_WRONLY | O_CREAT, 0666);
    assert_true(kept >= 0 && file >= 0);
    dup2(file, fd);
    close(file);
    return kept;
}

static void restore(int fd, int kept)
{
    dup2(kept, fd);
    close(kept);
}

static void without_a_directory_lines_go_to_the_standard_streams(void **state)
{
    pk_results *results;
    pk_results_options options = standard;
    (void)state;
    options.dir = NULL;
    assert_int_equal(pk_results_open(&results, options), PK_OK);
    fflush(NULL);
    int out = divert(1, "stdout"), err = divert(2, "stderr");
    pk_result result = answer("a#1", "first");
    pk_err put_err = pk_results_put(results, &result);
    pk_err fail_err = fail_request(results, "b#1", "empty", "b: is empty");
    pk_err summary_err = pk_results_summary(results, "{}");
    restore(1, out);
    restore(2, err);
    assert_true(!put_err && !fail_err && !summary_err);
    assert_int_equal(state_of(results, "a#1"), PK_REQUEST_DONE);
    pk_results_close(&results);
    results = open_results();
    put(results, "a#1", "first");
    pk_results_close(&results);
    char *line = place_read("out/deep/results.jsonl");
    assert_place_holds("stdout", line);
    free(line);
    char *error = place_read("stderr");
    assert_non_null(strstr(error, "\"custom_id\": \"b#1\", \"response\": null"));
    free(error);
}

static void a_closed_standard_output_is_an_error(void **state)
{
    pk_results *results;
    pk_results_options options = standard;
    (void)state;
    options.dir = NULL;
    assert_int_equal(pk_results_open(&results, options), PK_OK);
    fflush(NULL);
    int out = divert(1, "/dev/full");
    pk_result result = answer("a#1", "first");
    pk_err err = pk_results_put(results, &result);
    restore(1, out);
    assert_int_equal(err, PK_IO);
    assert_string_equal(pk_error_text(), "results: write to standard output: No space left on device");
    pk_results_close(&results);
}

static void each_of_several_answers_has_a_file(void **state)
{
    pk_results *results;
    (void)state;
    assert_int_equal(pk_results_open(&results, standard), PK_OK);
    pk_choice choices[] = {{.content = {"first", 5}, .finish_reason = "stop"},
                           {.content = {"second", 6}, .finish_reason = "length"}};
    pk_result result = {.custom_id = "a.txt#1", .choices = choices, .choice_count = 2};
    assert_int_equal(pk_results_put(results, &result), PK_OK);
    pk_results_close(&results);
    assert_place_holds("out/deep/a.txt.1.1.md", "first\n");
    assert_place_holds("out/deep/a.txt.1.2.md", "second\n");
    char *line = place_read("out/deep/results.jsonl");
    assert_non_null(strstr(line, "{\"index\": 1, \"message\": {\"role\": \"assistant\", \"content\": \"second\"}, "
                                 "\"finish_reason\": \"length\"}]"));
    free(line);
}

static void files_of_answers_that_no_record_has_do_not_stay(void **state)
{
    static const char *const left[] = {"out/deep/a.txt.1.md", "out/deep/a.txt.1.1.md", "out/deep/a.txt.1.2.md",
                                       "out/deep/a.txt.1.3.md"}; /* of a process that was killed */
    pk_results *results = open_results();
    (void)state;
    for (size_t i = 0; i < 4; i++)
        place_write(left[i], "old");
    pk_result result = answer("a.txt#1", "new");
    pk_choice two[2] = {*result.choices, *result.choices};
    result.choices = two;
    result.choice_count = 2;
    assert_int_equal(pk_results_put(results, &result), PK_OK);
    pk_results_close(&results);
    assert_int_equal(access(left[0], F_OK), -1);
    assert_place_holds(left[1], "new\n");
    assert_place_holds(left[2], "new\n");
    assert_int_equal(access(left[3], F_OK), -1);
}

static void reasoning_and_calls_stand_beside_the_content(void **state)
{
    pk_json_text line = {0};
    (void)state;
    pk_choice choice = {.reasoned = true, .reasoning = {"why", 3}, .calls = {"[1]", 3}, .finish_reason = "stop"};
    pk_result result = {.custom_id = "a", .choices = &choice, .choice_count = 1};
    pk_result_line(&line, "batch_req_0123456789abcdef", "m", &result);
    pk_json_text_raw(&line, "%c", 0);
    assert_non_null(strstr(line.bytes, "\"message\": {\"role\": \"assistant\", \"content\": null, "
                                       "\"reasoning_content\": \"why\", \"tool_calls\": [1]}, "
                                       "\"finish_reason\": \"tool_calls\"}]"));
    pk_json_text_fini(&line);
}

static void a_text_completion_is_a_text(void **state)
{
    pk_json_text line = {0};
    (void)state;
    pk_choice choice = {.content = {"t", 1}, .finish_reason = "stop"};
    pk_result result = {.custom_id = "a", .completion = true, .choices = &choice, .choice_count = 1};
    pk_result_line(&line, "batch_req_0123456789abcdef", "m", &result);
    pk_json_text_raw(&line, "%c", 0);
    assert_non_null(strstr(line.bytes, "\"id\": \"cmpl-0123456789abcdef\", \"object\": \"text_completion\""));
    assert_non_null(strstr(line.bytes, "\"choices\": [{\"index\": 0, \"text\": \"t\", \"finish_reason\": \"stop\"}]"));
    pk_json_text_fini(&line);
}

static void the_names_of_answers_meet_no_other(void **state)
{
    char name[PK_RESULT_NAME_BYTES];
    (void)state;
    pk_result_name(name, "a.txt#1", 2);
    assert_string_equal(name, "a.txt.1.2.md");
    pk_result_name(name, "a#txt", 1); /* a.txt.1.md is the only answer to a.txt#1 */
    assert_non_null(strchr(name, '~'));
}

static void names_of_readable_files_never_meet(void **state)
{
    static const char *const plain[][2] = {
        {"docs/a.txt#1", "docs__a.txt.1.md"},
        {"/abs/a.txt#12", "__abs__a.txt.12.md"},
        {"a_b.txt#1", "a_b.txt.1.md"},
        {"a#b.txt#1", "a#b.txt.1.md"},
        {"../\xC3\xBC/_x.md#q", "_.__\xC3\xBC___x.md.q~65e58dd123a5ec74.md"},
    };
    static const char *const digested[] = {"docs__a.txt#1", "a_/b#1", "a.1#2.md", "a#1.2",    "a#x/y",
                                           "none",          "",       "a~b#1",    "a.txt.1#2"};
    char name[PK_RESULT_NAME_BYTES], other[PK_RESULT_NAME_BYTES], path[2000];
    (void)state;
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++) {
        pk_result_name(name, plain[i][0], 0);
        assert_string_equal(name, plain[i][1]);
    }
    for (size_t i = 0; i < sizeof digested / sizeof *digested; i++) {
        pk_result_name(name, digested[i], 0);
        assert_null(strchr(name, '/'));
        assert_int_equal(name[strlen(name) - 20], '~');
    }
    for (size_t bytes = 240; bytes < 1900; bytes += 7) {
        memset(path, 'x', bytes);
        for (size_t i = 0; i + 1 < bytes; i += 2)
            memcpy(path + i, "\xC3\xBC", 2);
        strcpy(path + bytes, "#1");
        pk_result_name(name, path, 0);
        strcpy(path + bytes, "#2");
        pk_result_name(other, path, 0);
        assert_true(strlen(name) < 256 && strcmp(name, other));
        assert_int_equal((unsigned char)name[strspn(name, "\xC3\xBC") - 1], 0xBC);
    }
}

#define IN_PLACE(test) cmocka_unit_test_setup_teardown(test, place_open, place_close)

static void put_with_input(pk_results *results, const char *custom_id, const char *content, const char *input)
{
    pk_result result = answer(custom_id, content);
    result.input = input;
    assert_int_equal(pk_results_put(results, &result), PK_OK);
}

/* a, b and c have answers, d and e failed; b and d are withdrawn. */
static const char *const withdrawn[] = {"b#1", "d#1"};

static void fill(pk_results *results)
{
    put_with_input(results, "a#1", "first", "one");
    put_with_input(results, "b#1", "second, which says {\"id\": \"batch_req_", "two");
    assert_int_equal(fail_request(results, "d#1", "empty", "d: is empty"), PK_OK);
    put_with_input(results, "c#1", "third", "three");
    assert_int_equal(fail_request(results, "e#1", "empty", "e: is empty"), PK_OK);
}

static void assert_withdrawn(pk_results *results)
{
    char input[PK_INPUT_BYTES];
    static const char *const kept[] = {"a#1", "c#1", "e#1"};
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(state_of(results, withdrawn[i]), PK_REQUEST_QUEUED);
        assert_int_equal(pk_results_input(results, withdrawn[i], input), PK_OK);
        assert_string_equal(input, "");
    }
    for (size_t i = 0; i < 3; i++)
        assert_int_not_equal(state_of(results, kept[i]), PK_REQUEST_QUEUED);
    assert_int_equal(pk_results_input(results, "c#1", input), PK_OK);
    assert_string_equal(input, "three");
    assert_int_equal(count_lines("out/deep/results.jsonl"), 2);
    assert_int_equal(count_lines("out/deep/errors.jsonl"), 1);
    assert_int_equal(access("out/deep/.results.jsonl.aside", F_OK), -1);
    assert_int_equal(access("out/deep/.errors.jsonl.aside", F_OK), -1);
}

/* What is written after a withdrawal is what a run without the withdrawn records would have written. */
static void finish_and_compare(pk_results *results)
{
    put_with_input(results, "d#1", "fourth", "four");
    assert_int_equal(fail_request(results, "b#1", "empty", "b: is empty"), PK_OK);
    pk_results_close(&results);
    assert_int_equal(access("out/deep/b.1.md", F_OK), -1);
    assert_place_holds("out/deep/d.1.md", "fourth\n");
    pk_results_options undisturbed = standard;
    undisturbed.dir = "other";
    assert_int_equal(pk_results_open(&results, undisturbed), PK_OK);
    put(results, "a#1", "first");
    put(results, "c#1", "third");
    assert_int_equal(fail_request(results, "e#1", "empty", "e: is empty"), PK_OK);
    put(results, "d#1", "fourth");
    assert_int_equal(fail_request(results, "b#1", "empty", "b: is empty"), PK_OK);
    pk_results_close(&results);
    char *lines = place_read("other/results.jsonl"), *errors = place_read("other/errors.jsonl");
    assert_place_holds("out/deep/results.jsonl", lines);
    assert_place_holds("out/deep/errors.jsonl", errors);
    free(lines);
    free(errors);
}

static void withdrawn_records_leave_nothing_behind(void **state)
{
    (void)state;
    pk_results *results = open_results();
    fill(results);
    assert_int_equal(pk_results_withdraw(results, withdrawn, 2), PK_OK);
    assert_int_equal(access("out/deep/b.1.md", F_OK), -1);
    assert_withdrawn(results);
    pk_results_close(&results);
    results = open_results();
    assert_withdrawn(results);
    finish_and_compare(results);
}

static void write_aside(const char *name, const char *aside, uint64_t *length)
{
    int folder;
    assert_int_equal(pk_folder_open(&folder, "out/deep"), PK_OK);
    char *text = place_read(name[0] == 'r' ? "out/deep/results.jsonl" : "out/deep/errors.jsonl"), *heads[1];
    char *line = name[0] == 'r' ? strchr(text, '\n') + 1 : text; /* b stands second, d first */
    heads[0] = strndup(line, 50);
    pk_lines_without_options options = {
        .folder = folder, .from = name, .to = aside, .length = *length, .heads = heads, .head_count = 1};
    assert_int_equal(pk_lines_without(options, length), PK_OK);
    free(heads[0]);
    free(text);
    close(folder);
}

/* The states that a process can leave that dies in a withdrawal: before it is committed, after, after a rename. */
static void a_withdrawal_that_was_cut_short_is_whole_or_not_at_all(void **state)
{
    (void)state;
    for (int step = 0; step < 3; step++) {
        pk_results *results = open_results();
        pk_journal *journal;
        fill(results);
        pk_results_close(&results);
        assert_int_equal(pk_journal_open(&journal, "out/deep/.penstock/journal.sqlite"), PK_OK);
        pk_journal_lengths lengths = pk_journal_length(journal);
        write_aside("results.jsonl", ".results.jsonl.aside", &lengths.results);
        write_aside("errors.jsonl", ".errors.jsonl.aside", &lengths.errors);
        if (step > 0)
            assert_int_equal(pk_journal_withdraw(journal, withdrawn, 2, lengths), PK_OK);
        pk_journal_close(&journal);
        if (step == 2)
            assert_int_equal(rename("out/deep/.results.jsonl.aside", "out/deep/results.jsonl"), 0);
        results = open_results();
        if (step == 0) {
            assert_int_equal(state_of(results, "b#1"), PK_REQUEST_DONE);
            assert_int_equal(count_lines("out/deep/results.jsonl"), 3);
            assert_int_equal(pk_results_withdraw(results, withdrawn, 2), PK_OK);
        }
        assert_withdrawn(results);
        finish_and_compare(results);
        assert_int_equal(system("rm -r out other"), 0);
    }
}

static void a_summary_is_missing_until_it_is_written(void **state)
{
    (void)state;
    pk_results *results = open_results();
    assert_false(pk_results_summarized(results));
    assert_int_equal(pk_results_begin(results), PK_OK);
    assert_int_equal(pk_results_summary(results, "{}"), PK_OK);
    assert_true(pk_results_summarized(results));
    assert_int_equal(pk_results_begin(results), PK_OK);
    assert_false(pk_results_summarized(results));
    pk_results_close(&results);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_PLACE(withdrawn_records_leave_nothing_behind),
        IN_PLACE(a_withdrawal_that_was_cut_short_is_whole_or_not_at_all),
        IN_PLACE(a_summary_is_missing_until_it_is_written),
        IN_PLACE(a_result_is_a_line_and_a_readable_file),
        IN_PLACE(a_quote_stands_in_the_line_and_below_the_answer),
        IN_PLACE(a_failure_is_a_line_of_errors_only),
        IN_PLACE(a_message_that_was_cut_within_a_character_is_still_json),
        IN_PLACE(reopening_resumes_and_leaves_equal_bytes),
        IN_PLACE(a_torn_tail_is_cut),
        IN_PLACE(a_killed_coordinator_leaves_what_it_committed),
        IN_PLACE(a_shortened_result_file_is_refused),
        IN_PLACE(results_without_a_journal_are_not_touched),
        IN_PLACE(a_run_of_another_identity_is_refused),
        IN_PLACE(a_second_coordinator_is_refused),
        IN_PLACE(the_run_directory_may_lie_elsewhere),
        IN_PLACE(a_path_that_is_a_file_is_refused),
        IN_PLACE(a_full_disk_is_reported_and_continued_after),
        IN_PLACE(a_journal_that_cannot_commit_leaves_the_request_undone),
        IN_PLACE(a_second_record_for_a_request_stops_the_process),
        IN_PLACE(a_journal_that_is_none_is_refused),
        IN_PLACE(a_damaged_journal_is_refused_or_harmless),
        IN_PLACE(the_summary_is_replaced_whole),
        IN_PLACE(without_a_directory_lines_go_to_the_standard_streams),
        IN_PLACE(a_closed_standard_output_is_an_error),
        IN_PLACE(each_of_several_answers_has_a_file),
        IN_PLACE(files_of_answers_that_no_record_has_do_not_stay),
        cmocka_unit_test(reasoning_and_calls_stand_beside_the_content),
        cmocka_unit_test(a_text_completion_is_a_text),
        cmocka_unit_test(the_names_of_answers_meet_no_other),
        cmocka_unit_test(names_of_readable_files_never_meet),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
