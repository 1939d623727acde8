#include "stages/runtime.h"
#include "ipc/clock.h"
#include "ipc/link.h"
#include "ipc/log.h"

#include <bsd/unistd.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

extern char **environ;

enum { BEAT_MS = 1000, LOADING_NS = 100 * 1000 * 1000 };

typedef struct {
    pk_outbox outbox; /* first: step's view of the runtime */
    pk_stage stage;
    const pk_stage_ops *ops;
    void *self;
    const char *name, *coordinator;
    int lifeline; /* read end of a pipe that closes when the coordinator is gone; -1: none */
    pk_net *net;
    pk_channel *control;
    pk_link *in, *out[PK_PORT_COUNT];
    uint64_t last_number, dropped, loading_told_ns;
    bool drained;
    pthread_t helper;
    bool helper_runs;
    int wake; /* eventfd: ends the helper's wait */
    _Atomic bool ending;
    _Atomic uint64_t waiting, batches, rows, busy_ns, wait_ns;
} runtime;

static const char *kind_word(pk_stage_kind kind)
{
    switch (kind) {
#define X(name, code, word, text)                                                                                      \
    case PK_STAGE_##name:                                                                                              \
        return word;
        PK_STAGE_KINDS(X)
#undef X
    }
    return "?";
}

static pk_err parse_arguments(runtime *rt, int argc, char **argv)
{
    static const struct option options[] = {{"name", required_argument, NULL, 'n'},
                                            {"connect", required_argument, NULL, 'c'},
                                            {"lifeline", required_argument, NULL, 'l'},
                                            {0}};
    int option;
    rt->lifeline = -1;
    if ((rt->wake = eventfd(0, EFD_CLOEXEC)) < 0)
        return pk_fail_errno(PK_IO, "eventfd");
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == 'n')
            rt->name = optarg;
        else if (option == 'c')
            rt->coordinator = optarg;
        else if (option == 'l')
            rt->lifeline = atoi(optarg);
        else
            return pk_fail(PK_INVALID, "usage");
    }
    if (!rt->name || !rt->coordinator || optind != argc || strlen(rt->name) >= PK_NAME_BYTES - sizeof "/beat")
        return pk_fail(PK_INVALID, "usage");
    return PK_OK;
}

static pk_control beat_message(runtime *rt, pk_control_kind kind)
{
    return (pk_control){.kind = kind,
                        .counters = {.progress = atomic_load(&rt->stage.progress),
                                     .waiting = atomic_load(&rt->waiting),
                                     .batches = atomic_load(&rt->batches),
                                     .rows = atomic_load(&rt->rows),
                                     .busy_ns = atomic_load(&rt->busy_ns),
                                     .wait_ns = atomic_load(&rt->wait_ns)}};
}

/* Waits one beat, or until the stage ends; true when the lifeline closed: the coordinator is gone, however it went. */
static bool lifeline_closed(const runtime *rt)
{
    struct pollfd ends[] = {{.fd = rt->lifeline, .events = POLLIN}, {.fd = rt->wake, .events = POLLIN}};
    return poll(ends, 2, BEAT_MS) > 0 && ends[0].revents && !ends[1].revents;
}

/* The helper thread. It has a socket of its own and shares nothing else but counters, so that beats come on while the
 * main thread computes. */
static void *help(void *argument)
{
    runtime *rt = argument;
    pk_channel *channel = NULL;
    char identity[PK_NAME_BYTES + 8];
    snprintf(identity, sizeof identity, "%s/beat", rt->name);
    if (pk_channel_open(&channel, rt->net, rt->coordinator, identity))
        pk_log_error("beat error=\"%s\"", pk_error_text());
    while (!atomic_load(&rt->ending)) {
        if (lifeline_closed(rt))
            _exit(1); /* nobody is left to tell, and nobody needs what we hold */
        pk_control beat = beat_message(rt, PK_CONTROL_BEAT);
        if (channel && pk_channel_send(channel, NULL, &beat))
            pk_log_warn("beat lost error=\"%s\"", pk_error_text());
    }
    pk_channel_close(&channel);
    return NULL;
}

static void tell_loading(pk_stage *stage, uint64_t done, uint64_t total)
{
    runtime *rt = (runtime *)((char *)stage - offsetof(runtime, stage));
    uint64_t now = pk_clock_ns();
    atomic_fetch_add(&stage->progress, 1);
    if (now - rt->loading_told_ns < LOADING_NS && done < total)
        return;
    rt->loading_told_ns = now;
    pk_control message = {.kind = PK_CONTROL_LOADING, .bytes_done = done, .bytes_total = total};
    if (pk_channel_send(rt->control, NULL, &message))
        pk_log_warn("loading untold error=\"%s\"", pk_error_text());
}

/* Waits for the next control message, for ever: the lifeline ends a wait that has become pointless. */
static pk_err await_control(runtime *rt, pk_control *message)
{
    pk_poll_item item = {.socket = pk_channel_socket(rt->control)};
    pk_err err;
    while ((err = pk_channel_recv(rt->control, NULL, message)) == PK_AGAIN)
        if ((err = pk_poll(&item, 1, -1)))
            break;
    return err;
}

static pk_err greet(runtime *rt)
{
    pk_control hello = {
        .kind = PK_CONTROL_HELLO, .version = PK_VERSION, .stage_kind = rt->ops->kind, .pid = (uint64_t)getpid()};
    pk_control answer;
    pk_err err = pk_channel_send(rt->control, NULL, &hello);
    if (err || (err = await_control(rt, &answer)))
        return err;
    if (answer.kind == PK_CONTROL_DRAIN)
        rt->drained = true;
    else if (answer.kind != PK_CONTROL_ASSIGN)
        return pk_fail(PK_PEER, "the coordinator answered hello with control message %d", answer.kind);
    rt->stage.assignment = answer.assignment;
    return PK_OK;
}

static void set_title(const runtime *rt)
{
    const pk_assignment *a = &rt->stage.assignment;
    if (rt->ops->kind == PK_STAGE_LAYERS)
        setproctitle("-penstock-%s %s: layers %" PRIu64 "-%" PRIu64 ", %" PRIu64 " threads", kind_word(rt->ops->kind),
                     rt->name, a->first_layer, a->last_layer, a->threads);
    else
        setproctitle("-penstock-%s %s", kind_word(rt->ops->kind), rt->name);
}

static pk_err open_links(runtime *rt)
{
    const pk_assignment *a = &rt->stage.assignment;
    uint32_t window = (uint32_t)a->window;
    pk_err err = pk_link_open(
        &rt->in, rt->net,
        (pk_link_options){.endpoint = a->listen, .receive = true, .limits = rt->stage.in, .window = window});
    if (!err)
        err = pk_link_open(&rt->out[PK_PORT_NEXT], rt->net,
                           (pk_link_options){.endpoint = a->next, .limits = rt->stage.out, .window = window});
    if (!err && a->trace[0])
        err = pk_link_open(&rt->out[PK_PORT_TRACE], rt->net,
                           (pk_link_options){.endpoint = a->trace, .limits = rt->stage.trace, .window = window});
    return err;
}

static pk_err prepare(runtime *rt)
{
    uint64_t start = pk_clock_ns();
    set_title(rt);
    rt->stage.loading = tell_loading;
    rt->stage.ready.end_token = -1;
    pk_err err = rt->ops->open(rt->self, &rt->stage);
    if (!err)
        err = open_links(rt);
    if (err)
        return err;
    rt->stage.ready.kind = PK_CONTROL_READY;
    rt->stage.ready.load_ns = pk_clock_ns() - start;
    pk_log_info("ready kind=%s bytes=%" PRIu64 " tensors=%" PRIu64 " load_ms=%" PRIu64, kind_word(rt->ops->kind),
                rt->stage.ready.bytes_total, rt->stage.ready.tensors, rt->stage.ready.load_ns / 1000000);
    return pk_channel_send(rt->control, NULL, &rt->stage.ready);
}

static pk_err emit(pk_outbox *outbox, pk_port port, const pk_batch *head, pk_buffer *payload)
{
    runtime *rt = (runtime *)outbox;
    pk_err err = pk_link_send(rt->out[port], head, payload);
    return pk_pass(err, "batch %" PRIu64, head->number);
}

/* PK_AGAIN: not for this life of the stage, drop it. */
static pk_err guard(runtime *rt, const pk_batch *batch)
{
    if (batch->epoch != rt->stage.assignment.epoch) {
        rt->dropped++;
        pk_log_warn("batch dropped epoch=%" PRIu32 " expected=%" PRIu64, batch->epoch, rt->stage.assignment.epoch);
        return PK_AGAIN;
    }
    if (batch->number != rt->last_number + 1)
        return pk_fail(PK_PEER, "batch %" PRIu64 " came after batch %" PRIu64 ": batches were lost", batch->number,
                       rt->last_number);
    rt->last_number = batch->number;
    return PK_OK;
}

static pk_err report_slice(runtime *rt, const pk_batch *batch, uint64_t rows, uint64_t start, uint64_t end)
{
    pk_control slice = {
        .kind = PK_CONTROL_SLICE, .batch = batch->number, .rows = rows, .start_ns = start, .end_ns = end};
    return rt->stage.assignment.slices ? pk_channel_send(rt->control, NULL, &slice) : PK_OK;
}

static pk_err work(runtime *rt, const pk_batch *batch, pk_buffer *payload)
{
    uint64_t start = pk_clock_ns(), rows = pk_batch_rows(batch);
    pk_err err = rt->ops->step(rt->self, batch, payload, &rt->outbox);
    uint64_t end = pk_clock_ns();
    atomic_fetch_add(&rt->stage.progress, 1);
    atomic_fetch_add(&rt->batches, 1);
    atomic_fetch_add(&rt->rows, rows);
    atomic_fetch_add(&rt->busy_ns, end - start);
    if (err)
        return pk_pass(err, "batch %" PRIu64, batch->number);
    return report_slice(rt, batch, rows, start, end);
}

/* Works off what has come; returns PK_OK when there is nothing left. */
static pk_err take_batches(runtime *rt)
{
    pk_batch batch;
    pk_buffer *payload = NULL;
    pk_err err;
    while (!(err = pk_link_recv(rt->in, &batch, &payload))) {
        err = guard(rt, &batch);
        if (!err)
            err = work(rt, &batch, payload); /* takes the payload */
        else
            pk_buffer_close(&payload);
        payload = NULL;
        if (err && err != PK_AGAIN)
            return err;
    }
    return err == PK_AGAIN ? PK_OK : err;
}

static pk_err take_control(runtime *rt)
{
    pk_control message;
    pk_err err = pk_channel_recv(rt->control, NULL, &message);
    if (err)
        return err == PK_AGAIN ? PK_OK : err;
    if (message.kind != PK_CONTROL_DRAIN)
        return pk_fail(PK_PEER, "control message %d does not belong here", message.kind);
    rt->drained = true;
    return PK_OK;
}

static pk_err serve(runtime *rt)
{
    pk_poll_item items[] = {{.socket = pk_channel_socket(rt->control)}, {.socket = pk_link_socket(rt->in)}};
    pk_err err = PK_OK;
    while (!err && !rt->drained) {
        uint64_t start = pk_clock_ns();
        atomic_store(&rt->waiting, 1);
        err = pk_poll(items, 2, -1);
        atomic_store(&rt->waiting, 0);
        atomic_fetch_add(&rt->wait_ns, pk_clock_ns() - start);
        if (!err && items[1].ready)
            err = take_batches(rt);
        if (!err && items[0].ready)
            err = take_control(rt);
    }
    return err;
}

static pk_err live(runtime *rt)
{
    pk_err err = pk_net_open(&rt->net);
    if (!err)
        err = pk_channel_open(&rt->control, rt->net, rt->coordinator, rt->name);
    if (err)
        return err;
    if (pthread_create(&rt->helper, NULL, help, rt))
        return pk_fail(PK_IO, "helper thread");
    rt->helper_runs = true;
    if (!(err = greet(rt)) && !rt->drained && !(err = prepare(rt)))
        err = serve(rt);
    pk_control last = beat_message(rt, PK_CONTROL_BYE);
    if (err) {
        pk_log_error("stage failed error=\"%s\"", pk_error_text());
        last = (pk_control){.kind = PK_CONTROL_ERROR, .code = err};
        snprintf(last.reason, sizeof last.reason, "%s", pk_error_text());
    }
    if (pk_channel_send(rt->control, NULL, &last))
        pk_log_warn("last message unsent error=\"%s\"", pk_error_text());
    return err;
}

int pk_stage_main(int argc, char **argv, const pk_stage_ops *ops, void *self)
{
    runtime rt = {.outbox.send = emit, .ops = ops, .self = self};
    struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none); /* a core would hold weights and documents */
    signal(SIGPIPE, SIG_IGN);
    if (parse_arguments(&rt, argc, argv)) {
        fprintf(stderr, "%s is a stage of a pipeline; `penstock run` starts it (--name NAME --connect ENDPOINT)\n",
                argv[0]);
        return 2;
    }
    setproctitle_init(argc, argv, environ);
    /* setproctitle will write over the place where the arguments stand */
    char name[PK_NAME_BYTES], coordinator[PK_ENDPOINT_BYTES];
    snprintf(name, sizeof name, "%s", rt.name);
    snprintf(coordinator, sizeof coordinator, "%s", rt.coordinator);
    rt.name = name;
    rt.coordinator = coordinator;
    pk_err err = live(&rt);
    ops->close(self);
    atomic_store(&rt.ending, true);
    if (eventfd_write(rt.wake, 1) == 0 && rt.helper_runs)
        pthread_join(rt.helper, NULL);
    close(rt.wake);
    pk_link_close(&rt.in);
    for (int port = 0; port < PK_PORT_COUNT; port++)
        pk_link_close(&rt.out[port]);
    pk_channel_close(&rt.control);
    pk_net_close(&rt.net);
    return err ? 1 : 0;
}
