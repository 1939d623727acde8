#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "pipeline/process.h"
#include "place.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>

enum { WAIT_MS = 10 * 1000 };

static int lifeline[2];

static int open_all(void **state)
{
    assert_int_equal(pipe2(lifeline, O_CLOEXEC), 0);
    return place_open(state);
}

static int close_all(void **state)
{
    close(lifeline[0]);
    close(lifeline[1]);
    return place_close(state);
}

static void start_shell(pk_process *process, const char *script, const char *log_path)
{
    const char *const argv[] = {"sh", "-c", script, NULL};
    pk_process_options options = {.path = "/bin/sh", .argv = argv, .lifeline = lifeline[0], .log_path = log_path};
    if (pk_process_start(process, options))
        fail_msg("%s", pk_error_text());
}

typedef struct {
    char text[2 * PK_LOG_LINE_BYTES];
    unsigned count;
} lines;

static void note(void *context, const char *line)
{
    lines *seen = context;
    size_t used = strlen(seen->text);
    snprintf(seen->text + used, sizeof seen->text - used, "%s\n", line);
    seen->count++;
}

/* Reads until the process has closed its stderr. */
static void read_to_the_end(pk_process *process, lines *seen)
{
    while (process->stderr_fd >= 0) {
        struct pollfd readable = {.fd = process->stderr_fd, .events = POLLIN};
        assert_int_equal(poll(&readable, 1, WAIT_MS), 1);
        pk_process_read_log(process, note, seen);
    }
}

static void assert_ends(pk_process *process, const char *expected)
{
    char end[96];
    assert_true(pk_process_reap(process, true));
    assert_int_equal(process->pid, 0);
    pk_process_describe_end(process, end, sizeof end);
    assert_string_equal(end, expected);
    pk_process_close(process);
    assert_false(process->open);
}

static void an_exec_that_fails_is_reported_with_its_cause(void **state)
{
    const char *const argv[] = {"none", NULL};
    pk_process missing = {0}, forbidden = {0};
    (void)state;
    assert_int_equal(
        pk_process_start(&missing, (pk_process_options){.path = "/no/such", .argv = argv, .lifeline = lifeline[0]}),
        PK_IO);
    assert_string_equal(pk_error_text(), "start /no/such: No such file or directory");
    pk_process_close(&missing);
    assert_int_equal(
        pk_process_start(&forbidden, (pk_process_options){.path = "/", .argv = argv, .lifeline = lifeline[0]}), PK_IO);
    assert_string_equal(pk_error_text(), "start /: Permission denied");
    pk_process_close(&forbidden);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* nothing is left to reap */
}

static void a_log_that_cannot_be_opened_is_reported(void **state)
{
    const char *const argv[] = {"sh", NULL};
    pk_process process = {0};
    (void)state;
    assert_int_equal(pk_process_start(&process, (pk_process_options){.path = "/bin/sh", .argv = argv,
                                                                     .lifeline = lifeline[0],
                                                                     .log_path = "no/such/log"}), PK_IO);
    assert_string_equal(pk_error_text(), "open no/such/log: No such file or directory");
    assert_int_equal(process.pid, 0);
    pk_process_close(&process);
}

static void whole_lines_of_its_stderr_are_seen(void **state)
{
    pk_process process = {0};
    lines seen = {0};
    (void)state;
    start_shell(&process, "echo out; echo one >&2; printf 'tw' >&2; sleep 0.1; printf 'o\\nthree' >&2; exit 3", NULL);
    read_to_the_end(&process, &seen);
    assert_string_equal(seen.text, "one\ntwo\nthree\n");
    assert_ends(&process, "exit status 3");
}

static void an_overlong_line_is_cut_and_the_next_one_is_whole(void **state)
{
    pk_process process = {0};
    lines seen = {0};
    (void)state;
    start_shell(&process, "printf '%010000d\\nnext\\n' 7 >&2", NULL);
    read_to_the_end(&process, &seen);
    assert_int_equal(seen.count, 2);
    assert_int_equal(strcspn(seen.text, " "), PK_LOG_LINE_BYTES);
    assert_string_equal(strchr(seen.text, ' '), " [1808 bytes cut]\nnext\n");
    assert_ends(&process, "exit status 0");
}

static void the_last_lines_are_kept_oldest_first(void **state)
{
    pk_process process = {0};
    lines seen = {0};
    char *text = NULL;
    size_t bytes = 0;
    (void)state;
    start_shell(&process, "i=1; while [ $i -le 11 ]; do echo line $i >&2; i=$((i+1)); done", NULL);
    read_to_the_end(&process, &seen);
    assert_int_equal(seen.count, 11);
    FILE *out = open_memstream(&text, &bytes);
    pk_stage_log_print_tail(&process.log, "> ", out);
    fclose(out);
    assert_string_equal(text, "> line 4\n> line 5\n> line 6\n> line 7\n> line 8\n> line 9\n> line 10\n> line 11\n");
    free(text);
    assert_ends(&process, "exit status 0");
}

static void its_lines_go_to_its_log_with_the_time(void **state)
{
    pk_process process = {0};
    lines seen = {0};
    char line[128] = "";
    int year, used = 0;
    (void)state;
    start_shell(&process, "echo info weights read >&2", "low.log");
    read_to_the_end(&process, &seen);
    assert_ends(&process, "exit status 0");
    FILE *log = fopen("low.log", "r");
    assert_non_null(log);
    assert_non_null(fgets(line, sizeof line, log));
    assert_int_equal(sscanf(line, "%4d-%*2d-%*2dT%*2d:%*2d:%*2d.%*3dZ %n", &year, &used), 1);
    assert_true(year >= 2024);
    assert_string_equal(line + used, "info weights read\n");
    fclose(log);
}

static void a_signal_is_named(void **state)
{
    pk_process process = {0};
    (void)state;
    start_shell(&process, "kill -SEGV $$", NULL);
    assert_ends(&process, "signal 11 (Segmentation fault)");
}

static void what_still_runs_is_not_reaped(void **state)
{
    pk_process process = {0};
    (void)state;
    start_shell(&process, "exec sleep 100", NULL);
    assert_false(pk_process_reap(&process, false));
    assert_int_not_equal(process.pid, 0);
    kill(process.pid, SIGTERM);
    struct pollfd ended = {.fd = process.pidfd, .events = POLLIN};
    assert_int_equal(poll(&ended, 1, WAIT_MS), 1);
    assert_true(pk_process_reap(&process, false));
    assert_int_equal(process.pidfd, -1);
    assert_ends(&process, "signal 15 (Terminated)");
}

/* Gone, or a zombie that nobody has reaped yet. */
static bool is_gone(int pid)
{
    char path[64], state = 'Z';
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    FILE *stat = fopen(path, "r");
    if (stat && fscanf(stat, "%*d (%*[^)]) %c", &state) != 1)
        state = 'Z';
    if (stat)
        fclose(stat);
    return state == 'Z' || state == 'X';
}

static void closing_kills_its_whole_group(void **state)
{
    pk_process process = {0};
    lines seen = {0};
    int child = 0;
    (void)state;
    start_shell(&process, "sleep 100 & echo $! >&2; wait", NULL);
    pid_t group = process.pid;
    while (!seen.count) {
        struct pollfd readable = {.fd = process.stderr_fd, .events = POLLIN};
        assert_int_equal(poll(&readable, 1, WAIT_MS), 1);
        pk_process_read_log(&process, note, &seen);
    }
    assert_int_equal(sscanf(seen.text, "%d", &child), 1);
    assert_int_equal(getpgid(child), group);
    assert_int_not_equal(getpgid(0), group);
    assert_false(is_gone(child));
    pk_process_close(&process);
    for (int i = 0; i < 500 && !is_gone(child); i++)
        poll(NULL, 0, 10);
    assert_true(is_gone(child));
    assert_false(process.open);
    pk_process_close(&process); /* of a zeroed one */
}

/* Descriptor 3 tells of our end; another of ours would keep a file or a socket open behind our back. */
static void it_inherits_the_lifeline_and_nothing_of_ours(void **state)
{
    pk_process process = {0};
    lines seen = {0};
    int file = open("/dev/null", O_RDONLY | O_CLOEXEC), ours = fcntl(file, F_DUPFD_CLOEXEC, 50);
    (void)state;
    assert_int_equal(ours, 50);
    start_shell(&process, "for fd in 3 50; do [ -e /proc/$$/fd/$fd ] && echo $fd >&2; done; echo $(cat <&3)gone >&2",
                NULL);
    close(lifeline[1]); /* we are gone, for all it knows */
    lifeline[1] = -1;
    read_to_the_end(&process, &seen);
    assert_string_equal(seen.text, "3\ngone\n");
    close(ours);
    close(file);
    assert_ends(&process, "exit status 0");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, open_all, close_all)
    const struct CMUnitTest tests[] = {
        TEST(an_exec_that_fails_is_reported_with_its_cause),
        TEST(a_log_that_cannot_be_opened_is_reported),
        TEST(whole_lines_of_its_stderr_are_seen),
        TEST(an_overlong_line_is_cut_and_the_next_one_is_whole),
        TEST(the_last_lines_are_kept_oldest_first),
        TEST(its_lines_go_to_its_log_with_the_time),
        TEST(a_signal_is_named),
        TEST(what_still_runs_is_not_reaped),
        TEST(closing_kills_its_whole_group),
        TEST(it_inherits_the_lifeline_and_nothing_of_ours),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
