/* The console: questions are answered, everything else is refused, counted, and harms nobody. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "pipeline/console.h"
#include "pipeline/console_pointer.h"
#include "place.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static pk_net *net;
static pk_console *console;
static pthread_t server;
static atomic_bool ending;

static pk_err echo(void *context, uint64_t argument, pk_json_text *answer)
{
    pk_json_text_raw(answer, "{\"%s\": %d}", (const char *)context, (int)argument);
    return PK_OK;
}

static pk_err refuse(void *context, uint64_t argument, pk_json_text *answer)
{
    (void)context, (void)argument, (void)answer;
    return pk_fail(PK_NOMEM, "not today");
}

static pk_err flood(void *context, uint64_t argument, pk_json_text *answer)
{
    (void)context;
    for (uint64_t i = 0; i < argument; i++)
        pk_json_text_raw(answer, "%01000d", 0);
    return PK_OK;
}

static const pk_console_verb verbs[] = {{"echo", echo}, {"refuse", refuse}, {"flood", flood}, {0}};

static void *serve(void *unused)
{
    (void)unused;
    while (!atomic_load(&ending)) {
        pk_poll_item item = {.socket = pk_console_socket(console)};
        pk_poll(&item, 1, 20);
        pk_console_serve(console);
    }
    return NULL;
}

static int open_all(void **state)
{
    if (place_open(state) || pk_net_open(&net))
        return -1;
    char folder[512];
    snprintf(folder, sizeof folder, "%s/sockets", place);
    if (mkdir(folder, 0700) ||
        pk_console_open(&console, net, folder, (pk_console_options){.run_dir = ".", .verbs = verbs, .context = "x"}))
        return -1;
    atomic_store(&ending, false);
    return pthread_create(&server, NULL, serve, NULL);
}

static void end_server(void)
{
    if (!atomic_exchange(&ending, true))
        pthread_join(server, NULL);
}

static int close_all(void **state)
{
    end_server();
    pk_console_close(&console);
    pk_net_close(&net);
    return place_close(state);
}

static void assert_answer(const char *verb, uint64_t argument, const char *expected)
{
    char *json = NULL;
    size_t bytes = 0;
    if (pk_console_ask(".", verb, argument, 5000, &json, &bytes))
        fail_msg("%s", pk_error_text());
    assert_string_equal(json, expected);
    assert_int_equal(bytes, strlen(expected));
    free(json);
}

static void assert_refused(const char *verb, uint64_t argument, pk_err code, const char *words)
{
    char *json = NULL;
    size_t bytes = 0;
    assert_int_equal(pk_console_ask(".", verb, argument, 300, &json, &bytes), code);
    assert_null(json);
    if (!strstr(pk_error_text(), words))
        fail_msg("\"%s\" does not say \"%s\"", pk_error_text(), words);
}

static void a_question_is_answered_by_its_verb(void **state)
{
    (void)state;
    assert_answer("echo", 7, "{\"x\": 7}");
    assert_answer("echo", 8, "{\"x\": 8}"); /* and nothing of the one before */
    end_server();
    assert_int_equal(pk_console_count(console).answered, 2);
    assert_int_equal(pk_console_count(console).refused, 0);
}

static void a_refusal_comes_in_the_words_of_the_verb(void **state)
{
    (void)state;
    assert_refused("refuse", 0, PK_NOMEM, "not today");
    assert_refused("paint", 0, PK_INVALID, "a run knows no verb \"paint\"");
    assert_answer("echo", 1, "{\"x\": 1}");
}

static void an_answer_is_bounded(void **state)
{
    char *json = NULL;
    size_t bytes = 0;
    (void)state;
    assert_int_equal(pk_console_ask(".", "flood", 1048, 5000, &json, &bytes), PK_OK);
    assert_int_equal(bytes, 1048000);
    free(json);
    assert_refused("flood", 1049, PK_NOMEM, "the answer has 1049000 bytes, at most 1048576 travel");
}

/* Sends the frame as it is and returns what comes back, to be closed; NULL: nothing within 300 ms. */
static pk_buffer *exchange(const char *bytes, size_t count, bool twice)
{
    pk_socket *socket = NULL;
    char endpoint[128];
    pk_console_pointer pointer;
    assert_int_equal(pk_console_pointer_read(".", &pointer), PK_OK);
    snprintf(endpoint, sizeof endpoint, "ipc://%s", pointer.socket);
    pk_socket_options options = {.type = PK_SOCKET_DEALER, .endpoint = endpoint, .message_bytes = 4096};
    assert_int_equal(pk_socket_open(&socket, net, options), PK_OK);
    for (int i = 0; i <= twice; i++) {
        pk_buffer *frame = NULL;
        assert_int_equal(pk_buffer_open(&frame, count), PK_OK);
        memcpy(frame->data, bytes, count);
        assert_int_equal(pk_socket_send(socket, frame, i < twice, 1000), PK_OK);
    }
    pk_poll_item item = {.socket = socket};
    pk_buffer *answer = NULL;
    bool more;
    pk_poll(&item, 1, 300);
    pk_socket_recv(socket, &answer, &more);
    pk_socket_close(&socket);
    return answer;
}

static void assert_rubbish(const char *bytes, size_t count, bool twice, const char *words)
{
    pk_buffer *answer = exchange(bytes, count, twice);
    assert_non_null(answer);
    if (!memmem(answer->data, answer->bytes, words, strlen(words)))
        fail_msg("\"%.*s\" does not say \"%s\"", (int)answer->bytes, (char *)answer->data, words);
    pk_buffer_close(&answer);
}

static void rubbish_is_refused_and_counted(void **state)
{
    (void)state;
#define RUBBISH(text, words) assert_rubbish(text, sizeof text - 1, false, words)
    RUBBISH("", "the message ends where question (an array) was expected");
    RUBBISH("GET / HTTP/1.1", "type 0x47 where question (an array) was expected");
    RUBBISH("\x92\x01\xa4" "echo", "2 elements, [version, verb, argument] was expected");
    RUBBISH("\x93\x02\xa4" "echo\x00", "version 2 where 1 was expected");
    RUBBISH("\x93\x01\xa4" "ec\nh\x00", "letters a to z were expected");
    RUBBISH("\x93\x01\xdb\xff\xff\xff\xff" "echo", "claims 4294967295 bytes");
    RUBBISH("\x93\x01\xd9\x20" "echoechoechoechoechoechoechoecho\x00", "32 bytes, at most 31 were expected");
    RUBBISH("\x93\x01\xa4" "echo\x00\x00", "1 bytes stand behind the question");
    assert_rubbish("\x93\x01\xa4" "echo\x00", 8, true, "a question of more than one frame");
    assert_answer("echo", 1, "{\"x\": 1}");
    end_server();
    assert_int_equal(pk_console_count(console).refused, 9);
}

static void an_oversized_frame_cuts_its_sender_off_and_nobody_else(void **state)
{
    char big[PK_CONSOLE_QUESTION_BYTES + 1] = {0};
    (void)state;
    assert_null(exchange(big, sizeof big, false));
    assert_answer("echo", 1, "{\"x\": 1}");
}

static void a_closed_console_is_no_live_run(void **state)
{
    (void)state;
    assert_true(pk_console_is_live("."));
    end_server();
    pk_console_close(&console);
    assert_int_equal(access("console", F_OK), -1);
    assert_false(pk_console_is_live("."));
    assert_refused("echo", 0, PK_CLOSED, "no run is live in .");
}

/* The pointer of a run that was killed: its socket may still be there, and nobody listens. */
static void a_pointer_that_outlived_its_run_is_no_live_run(void **state)
{
    pk_console_pointer pointer;
    (void)state;
    assert_int_equal(pk_console_pointer_read(".", &pointer), PK_OK);
    assert_int_equal(pointer.pid, getpid());
    end_server();
    pk_console_close(&console);
    pk_net_close(&net); /* which waits until the listener is gone */
    assert_int_equal(pk_console_pointer_write(".", &pointer), PK_OK);
    assert_refused("echo", 0, PK_CLOSED, "no run is live in .");
    FILE *file = fopen("console", "w");
    fputs("what is this", file);
    fclose(file);
    assert_refused("echo", 0, PK_CORRUPT, "console: a socket's path, a process id and a host on three lines");
}

static void a_run_that_does_not_answer_is_said_to(void **state)
{
    (void)state;
    end_server();
    assert_refused("echo", 0, PK_PEER, "does not answer within 0.3 s");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, open_all, close_all)
    const struct CMUnitTest tests[] = {
        TEST(a_question_is_answered_by_its_verb),
        TEST(a_refusal_comes_in_the_words_of_the_verb),
        TEST(an_answer_is_bounded),
        TEST(rubbish_is_refused_and_counted),
        TEST(an_oversized_frame_cuts_its_sender_off_and_nobody_else),
        TEST(a_closed_console_is_no_live_run),
        TEST(a_pointer_that_outlived_its_run_is_no_live_run),
        TEST(a_run_that_does_not_answer_is_said_to),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
