/* The runtime as a process: this program runs itself again as a stage that sends on what it gets, and plays the
 * coordinator. */
#include "fixture.h"
#include "ipc/link.h"

#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

enum { PATIENCE_MS = 20 * 1000, EPOCH = 5 };

/* The stage. A batch of trace kind is one that it cannot bear. */

static pk_err echo_open(void *self, pk_stage *stage)
{
    (void)self;
    stage->in = stage->out = (pk_batch_limits){.spans = 4, .payload_bytes = 1024};
    stage->loading(stage, 10, 10);
    if (!strcmp(stage->assignment.model, "none"))
        return pk_fail(PK_IO, "there is no model");
    return PK_OK;
}

static pk_err echo_step(void *self, const pk_batch *in, pk_buffer *payload, pk_outbox *next)
{
    (void)self;
    if (in->kind != PK_KIND_TRACE)
        return next->send(next, PK_PORT_NEXT, in, payload);
    pk_buffer_close(&payload);
    return pk_fail(PK_PEER, "a trace came");
}

static void echo_close(void *self)
{
    (void)self;
}

static const pk_stage_ops echo = {
    .kind = PK_STAGE_HEAD, .open = echo_open, .step = echo_step, .close = echo_close};

/* The coordinator. */

typedef struct {
    char folder[32], control_name[64], in_name[64], out_name[64], next_in_name[64], next_out_name[64];
    pk_net *net;
    pk_channel *control;
    pk_link *to, *from;
    pid_t pid;
    int lifeline;
} coordinator;

static void start_stage(coordinator *c)
{
    char lifeline[16];
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    snprintf(lifeline, sizeof lifeline, "%d", ends[0]);
    char *arguments[] = {"test_stage_runtime", "--name",   "echo", "--connect",
                         c->control_name,      "--lifeline", lifeline, NULL};
    posix_spawn_file_actions_t actions;
    assert_int_equal(posix_spawn_file_actions_init(&actions), 0);
    assert_int_equal(posix_spawn_file_actions_addclose(&actions, ends[1]), 0);
    assert_int_equal(posix_spawn(&c->pid, "/proc/self/exe", &actions, NULL, arguments, environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[0]);
    c->lifeline = ends[1];
}

/* Waits for a message of the stage of this kind; beats and progress may come before it. */
static pk_control await_message(coordinator *c, pk_control_kind kind)
{
    pk_control message;
    char from[PK_NAME_BYTES];
    for (int waits = 0; waits < PATIENCE_MS / 10;) {
        pk_err err = pk_channel_recv(c->control, from, &message);
        if (err == PK_AGAIN) {
            pk_poll_item item = {.socket = pk_channel_socket(c->control)};
            assert_ok(pk_poll(&item, 1, 10));
            waits++;
            continue;
        }
        assert_ok(err);
        if (message.kind == kind)
            return message;
        if (message.kind != PK_CONTROL_BEAT && message.kind != PK_CONTROL_LOADING)
            fail_msg("control message %d of %s came where %d was expected: %s", message.kind, from, kind,
                     message.reason);
    }
    fail_msg("control message %d did not come", kind);
    return message;
}

static void assign(coordinator *c, const char *model)
{
    pk_control message = {.kind = PK_CONTROL_ASSIGN};
    pk_assignment *a = &message.assignment;
    snprintf(a->model, sizeof a->model, "%s", model);
    snprintf(a->device, sizeof a->device, "cpu");
    snprintf(a->io, sizeof a->io, "auto");
    snprintf(a->listen, sizeof a->listen, "%s", c->in_name);
    snprintf(a->next, sizeof a->next, "%s", c->out_name);
    a->window = 8;
    a->epoch = EPOCH;
    assert_ok(pk_channel_send(c->control, "echo", &message));
}

static int open_coordinator(void **state)
{
    coordinator *c = calloc(1, sizeof *c);
    assert_non_null(c);
    *state = c;
    snprintf(c->folder, sizeof c->folder, "/tmp/penstock-XXXXXX");
    assert_non_null(mkdtemp(c->folder));
    snprintf(c->control_name, sizeof c->control_name, "ipc://%s/c", c->folder);
    snprintf(c->in_name, sizeof c->in_name, "ipc://%s/i", c->folder);
    snprintf(c->out_name, sizeof c->out_name, "ipc://%s/o", c->folder);
    snprintf(c->next_in_name, sizeof c->next_in_name, "ipc://%s/i2", c->folder);
    snprintf(c->next_out_name, sizeof c->next_out_name, "ipc://%s/o2", c->folder);
    assert_ok(pk_net_open(&c->net));
    assert_ok(pk_channel_open(&c->control, c->net, c->control_name, NULL));
    assert_ok(pk_link_open(&c->from, c->net,
                           (pk_link_options){.endpoint = c->out_name,
                                             .receive = true,
                                             .limits = {.spans = 4, .payload_bytes = 1024},
                                             .window = 8}));
    start_stage(c);
    pk_control hello = await_message(c, PK_CONTROL_HELLO);
    assert_int_equal(hello.stage_kind, PK_STAGE_HEAD);
    assert_int_equal(hello.pid, c->pid);
    return 0;
}

static void make_ready(coordinator *c)
{
    assign(c, "some");
    await_message(c, PK_CONTROL_READY);
    assert_ok(pk_link_open(&c->to, c->net,
                           (pk_link_options){.endpoint = c->in_name,
                                             .limits = {.spans = 4, .payload_bytes = 1024},
                                             .window = 8}));
}

static int close_coordinator(void **state)
{
    coordinator *c = *state;
    pk_link_close(&c->to);
    pk_link_close(&c->from);
    pk_channel_close(&c->control);
    pk_net_close(&c->net);
    close(c->lifeline);
    if (c->pid) {
        kill(c->pid, SIGKILL);
        waitpid(c->pid, NULL, 0);
    }
    const char *const names[] = {c->control_name, c->in_name, c->out_name, c->next_in_name, c->next_out_name};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        unlink(names[i] + strlen("ipc://"));
    rmdir(c->folder);
    free(c);
    return 0;
}

static int exit_status(coordinator *c)
{
    int status = 0;
    for (int waits = 0; waits < PATIENCE_MS / 10; waits++) {
        pid_t ended = waitpid(c->pid, &status, WNOHANG);
        assert_true(ended >= 0);
        if (ended) {
            c->pid = 0;
            assert_true(WIFEXITED(status));
            return WEXITSTATUS(status);
        }
        poll(NULL, 0, 10);
    }
    fail_msg("the stage does not end");
    return -1;
}

static void send_batch(coordinator *c, pk_batch_kind kind, uint32_t epoch, uint64_t number)
{
    pk_span span = {.sequence = 1, .count = 3};
    pk_batch head = {.kind = (uint8_t)kind,
                     .epoch = epoch,
                     .number = number,
                     .dtype = PK_U8,
                     .width = 1,
                     .spans = &span,
                     .span_count = 1};
    assert_ok(pk_link_send(c->to, &head, payload_of("abc", 3)));
}

static uint64_t receive_number(coordinator *c)
{
    pk_batch head;
    pk_buffer *payload = NULL;
    pk_err err;
    for (int waits = 0; waits < PATIENCE_MS / 10 && (err = pk_link_recv(c->from, &head, &payload)) == PK_AGAIN; waits++)
        poll(NULL, 0, 10);
    assert_ok(err);
    assert_memory_equal(payload->data, "abc", 3);
    pk_buffer_close(&payload);
    return head.number;
}

static void drain(coordinator *c)
{
    pk_control message = {.kind = PK_CONTROL_DRAIN};
    assert_ok(pk_channel_send(c->control, "echo", &message));
}

static void batches_pass_and_drain_ends_the_stage_in_order(void **state)
{
    coordinator *c = *state;
    make_ready(c);
    for (uint64_t number = 1; number <= 5; number++) {
        send_batch(c, PK_KIND_TEXT, EPOCH, number);
        assert_int_equal(receive_number(c), number);
    }
    drain(c);
    pk_control bye = await_message(c, PK_CONTROL_BYE);
    assert_int_equal(bye.counters.batches, 5);
    assert_int_equal(bye.counters.rows, 15);
    assert_int_equal(exit_status(c), 0);
}

static pk_link *open_link(coordinator *c, const char *name, bool receive)
{
    pk_link *link = NULL;
    assert_ok(pk_link_open(&link, c->net,
                           (pk_link_options){.endpoint = name,
                                             .receive = receive,
                                             .limits = {.spans = 4, .payload_bytes = 1024},
                                             .window = 8}));
    return link;
}

/* To the next links, on which the test's batches go from here on. */
static void reset(coordinator *c, uint64_t epoch)
{
    pk_control message = {.kind = PK_CONTROL_RESET, .assignment.epoch = epoch};
    snprintf(message.assignment.listen, sizeof message.assignment.listen, "%s", c->next_in_name);
    snprintf(message.assignment.next, sizeof message.assignment.next, "%s", c->next_out_name);
    pk_link_close(&c->from);
    c->from = open_link(c, c->next_out_name, true);
    assert_ok(pk_channel_send(c->control, "echo", &message));
    assert_int_equal(await_message(c, PK_CONTROL_RESET_DONE).assignment.epoch, epoch);
    pk_link_close(&c->to);
    c->to = open_link(c, c->next_in_name, false);
}

static void after_a_reset_batches_count_from_one_on_new_links(void **state)
{
    coordinator *c = *state;
    make_ready(c);
    for (uint64_t number = 1; number <= 3; number++) {
        send_batch(c, PK_KIND_TEXT, EPOCH, number);
        assert_int_equal(receive_number(c), number);
    }
    reset(c, EPOCH + 1);
    send_batch(c, PK_KIND_TEXT, EPOCH, 4);
    send_batch(c, PK_KIND_TEXT, EPOCH + 1, 1);
    assert_int_equal(receive_number(c), 1);
    drain(c);
    pk_control bye = await_message(c, PK_CONTROL_BYE);
    assert_int_equal(bye.counters.epoch, EPOCH + 1);
    assert_int_equal(bye.counters.last_in, 1);
    assert_int_equal(bye.counters.last_out, 1);
    assert_int_equal(bye.counters.dropped, 1);
    assert_int_equal(exit_status(c), 0);
}

/* Nobody takes what it sends: sooner or later it waits for room, and must hear a reset nevertheless. */
static void a_stage_that_waits_for_room_obeys_a_reset(void **state)
{
    coordinator *c = *state;
    make_ready(c);
    pk_poll_item room = {.socket = pk_link_socket(c->to), .room = true, .ready = true};
    for (uint64_t number = 1; room.ready; number++) {
        send_batch(c, PK_KIND_TEXT, EPOCH, number);
        assert_ok(pk_poll(&room, 1, 300));
    }
    while (await_message(c, PK_CONTROL_BEAT).counters.waiting_on != PK_WAIT_NEXT)
        ;
    reset(c, EPOCH + 1);
    send_batch(c, PK_KIND_TEXT, EPOCH + 1, 1);
    assert_int_equal(receive_number(c), 1);
    drain(c);
    await_message(c, PK_CONTROL_BYE);
    assert_int_equal(exit_status(c), 0);
}

static void a_stage_that_is_not_needed_ends_before_it_loads(void **state)
{
    coordinator *c = *state;
    drain(c);
    await_message(c, PK_CONTROL_BYE);
    assert_int_equal(exit_status(c), 0);
}

static void a_lost_batch_ends_the_stage(void **state)
{
    coordinator *c = *state;
    make_ready(c);
    send_batch(c, PK_KIND_TEXT, EPOCH, 1);
    assert_int_equal(receive_number(c), 1);
    send_batch(c, PK_KIND_TEXT, EPOCH, 3);
    pk_control error = await_message(c, PK_CONTROL_ERROR);
    assert_non_null(strstr(error.reason, "batch 3 came after batch 1: batches were lost"));
    assert_int_equal(exit_status(c), 1);
}

static void a_batch_of_another_epoch_is_dropped(void **state)
{
    coordinator *c = *state;
    make_ready(c);
    send_batch(c, PK_KIND_TEXT, EPOCH - 1, 7);
    send_batch(c, PK_KIND_TEXT, EPOCH, 1);
    assert_int_equal(receive_number(c), 1);
    drain(c);
    assert_int_equal(await_message(c, PK_CONTROL_BYE).counters.batches, 1);
    assert_int_equal(exit_status(c), 0);
}

static void an_error_of_the_step_is_told_in_words(void **state)
{
    coordinator *c = *state;
    make_ready(c);
    send_batch(c, PK_KIND_TRACE, EPOCH, 1);
    pk_control error = await_message(c, PK_CONTROL_ERROR);
    assert_non_null(strstr(error.reason, "batch 1: a trace came"));
    assert_int_equal(exit_status(c), 1);
}

static void an_error_of_open_is_told_in_words(void **state)
{
    coordinator *c = *state;
    assign(c, "none");
    pk_control error = await_message(c, PK_CONTROL_ERROR);
    assert_non_null(strstr(error.reason, "there is no model"));
    assert_int_equal(exit_status(c), 1);
}

static void beats_come_while_nothing_happens(void **state)
{
    coordinator *c = *state;
    make_ready(c);
    pk_control first = await_message(c, PK_CONTROL_BEAT), second = await_message(c, PK_CONTROL_BEAT);
    assert_int_equal(second.counters.waiting_on, PK_WAIT_BATCH);
    assert_int_equal(first.counters.batches, 0);
}

static void the_end_of_the_coordinator_is_the_end_of_the_stage(void **state)
{
    coordinator *c = *state;
    make_ready(c);
    close(c->lifeline);
    c->lifeline = -1;
    assert_int_equal(exit_status(c), 1);
}

#define IN_COORDINATOR(test) cmocka_unit_test_setup_teardown(test, open_coordinator, close_coordinator)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        IN_COORDINATOR(batches_pass_and_drain_ends_the_stage_in_order),
        IN_COORDINATOR(a_stage_that_is_not_needed_ends_before_it_loads),
        IN_COORDINATOR(a_lost_batch_ends_the_stage),
        IN_COORDINATOR(a_batch_of_another_epoch_is_dropped),
        IN_COORDINATOR(after_a_reset_batches_count_from_one_on_new_links),
        IN_COORDINATOR(a_stage_that_waits_for_room_obeys_a_reset),
        IN_COORDINATOR(an_error_of_the_step_is_told_in_words),
        IN_COORDINATOR(an_error_of_open_is_told_in_words),
        IN_COORDINATOR(beats_come_while_nothing_happens),
        IN_COORDINATOR(the_end_of_the_coordinator_is_the_end_of_the_stage),
    };
    if (argc > 1)
        return pk_stage_main(argc, argv, &echo, NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
