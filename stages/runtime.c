#include "stages/runtime.h"
#include "ipc/clock.h"
#include "ipc/link.h"
#include "ipc/log.h"
#include "stages/protocol.h"

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

enum { BEAT_MS = 1000, ROOM_MS = 60 * 1000, LOADING_NS = 100 * 1000 * 1000 };

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
    pk_stage_protocol protocol;
    pk_control message; /* the last control message */
    pk_duty duty;       /* what it demands and is not done yet */
    uint64_t loading_told_ns;
    pthread_t helper;
    bool helper_runs;
    int wake; /* eventfd: ends the helper's wait */
    _Atomic bool ending;
    _Atomic uint64_t waiting_on, batches, rows, busy_ns, wait_ns;
    _Atomic uint64_t epoch, last_in, last_out, dropped; /* the protocol's, for the helper thread */
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
                                     .waiting_on = atomic_load(&rt->waiting_on),
                                     .batches = atomic_load(&rt->batches),
                                     .rows = atomic_load(&rt->rows),
                                     .busy_ns = atomic_load(&rt->busy_ns),
                                     .wait_ns = atomic_load(&rt->wait_ns),
                                     .dropped = atomic_load(&rt->dropped),
                                     .epoch = atomic_load(&rt->epoch),
                                     .last_in = atomic_load(&rt->last_in),
                                     .last_out = atomic_load(&rt->last_out)}};
}

static void publish(runtime *rt)
{
    pk_stage_counters counters;
    pk_stage_protocol_count(&rt->protocol, &counters);
    atomic_store(&rt->dropped, counters.dropped);
    atomic_store(&rt->last_in, counters.last_in);
    atomic_store(&rt->last_out, counters.last_out);
    atomic_store(&rt->epoch, counters.epoch);
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

/* Takes the next control message if there is one: what it demands is in rt->duty. */
static pk_err take_control(runtime *rt)
{
    pk_err err = pk_channel_recv(rt->control, NULL, &rt->message);
    if (err)
        return err == PK_AGAIN ? PK_OK : err;
    return pk_stage_protocol_control(&rt->protocol, &rt->message, &rt->duty);
}

/* Says hello and waits for what the part is, for ever: the lifeline ends a wait that has become pointless. */
static pk_err greet(runtime *rt)
{
    pk_control hello = {
        .kind = PK_CONTROL_HELLO, .version = PK_VERSION, .stage_kind = rt->ops->kind, .pid = (uint64_t)getpid()};
    pk_poll_item item = {.socket = pk_channel_socket(rt->control)};
    pk_err err = pk_channel_send(rt->control, NULL, &hello);
    while (!err && rt->duty == PK_DUTY_NONE)
        if (!(err = pk_poll(&item, 1, -1)))
            err = take_control(rt);
    rt->stage.assignment = rt->message.assignment;
    return err;
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

static void drop_links(runtime *rt)
{
    pk_link_drop(&rt->in);
    for (int port = 0; port < PK_PORT_COUNT; port++)
        pk_link_drop(&rt->out[port]);
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
    publish(rt);
    rt->stage.ready.kind = PK_CONTROL_READY;
    rt->stage.ready.load_ns = pk_clock_ns() - start;
    pk_log_info("ready kind=%s bytes=%" PRIu64 " tensors=%" PRIu64 " load_ms=%" PRIu64, kind_word(rt->ops->kind),
                rt->stage.ready.bytes_total, rt->stage.ready.tensors, rt->stage.ready.load_ns / 1000000);
    return pk_channel_send(rt->control, NULL, &rt->stage.ready);
}

/* Before a send that would have to wait: control is heard meanwhile, and whatever it demands, this batch is in vain. */
static pk_err await_room(runtime *rt, pk_port port)
{
    pk_poll_item items[] = {{.socket = pk_link_socket(rt->out[port]), .room = true},
                            {.socket = pk_channel_socket(rt->control)}};
    uint64_t deadline = pk_clock_ns() + ROOM_MS * UINT64_C(1000000);
    pk_err err = pk_poll(items, 1, 0);
    if (err || items[0].ready)
        return err;
    atomic_store(&rt->waiting_on, port == PK_PORT_NEXT ? PK_WAIT_NEXT : PK_WAIT_TRACE);
    while (!err && !items[0].ready && rt->duty == PK_DUTY_NONE && pk_clock_ns() < deadline) {
        err = pk_poll(items, 2, 1000);
        if (!err && items[1].ready)
            err = take_control(rt);
    }
    atomic_store(&rt->waiting_on, PK_WAIT_NONE);
    if (!err && rt->duty != PK_DUTY_NONE)
        return pk_fail(PK_CLOSED, "given up for a reset");
    return err; /* past the deadline it is the send that fails, in its own words */
}

static pk_err emit(pk_outbox *outbox, pk_port port, const pk_batch *head, pk_buffer *payload)
{
    runtime *rt = (runtime *)outbox;
    pk_err err = await_room(rt, port);
    if (err)
        pk_buffer_close(&payload);
    else
        err = pk_link_send(rt->out[port], head, payload);
    if (!err && port == PK_PORT_NEXT) {
        pk_stage_protocol_sent(&rt->protocol, head);
        publish(rt);
    }
    return pk_pass(err, "batch %" PRIu64, head->number);
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
    if (err == PK_CLOSED && rt->duty != PK_DUTY_NONE)
        return PK_OK;
    if (err)
        return pk_pass(err, "batch %" PRIu64, batch->number);
    return report_slice(rt, batch, rows, start, end);
}

/* The next batch that has come, if there is one; PK_AGAIN otherwise. */
static pk_err take_batch(runtime *rt)
{
    pk_batch batch;
    pk_buffer *payload = NULL;
    pk_duty duty;
    pk_err err = pk_link_recv(rt->in, &batch, &payload);
    if (err)
        return err;
    err = pk_stage_protocol_batch(&rt->protocol, &batch, &duty);
    publish(rt);
    if (!err && duty == PK_DUTY_STEP)
        return work(rt, &batch, payload); /* takes the payload */
    if (!err)
        pk_log_warn("batch dropped epoch=%" PRIu32 " expected=%" PRIu32, batch.epoch, rt->protocol.in.epoch);
    pk_buffer_close(&payload);
    return err;
}

static pk_err answer_reset(runtime *rt)
{
    pk_control done = {.kind = PK_CONTROL_RESET_DONE, .assignment.epoch = rt->protocol.in.epoch};
    return pk_channel_send(rt->control, NULL, &done);
}

static pk_err reset(runtime *rt)
{
    pk_assignment *mine = &rt->stage.assignment;
    const pk_assignment *told = &rt->message.assignment;
    drop_links(rt);
    if (rt->ops->reset)
        rt->ops->reset(rt->self);
    mine->epoch = told->epoch;
    memcpy(mine->listen, told->listen, sizeof mine->listen);
    memcpy(mine->next, told->next, sizeof mine->next);
    memcpy(mine->trace, told->trace, sizeof mine->trace);
    pk_err err = open_links(rt);
    publish(rt);
    pk_log_info("reset epoch=%" PRIu64, mine->epoch);
    return err ? err : answer_reset(rt);
}

/* Does what control demands; drained: there is nothing more to do, but for what has come already. */
static pk_err obey(runtime *rt, bool *drained)
{
    pk_duty duty = rt->duty;
    pk_err err = PK_OK;
    rt->duty = PK_DUTY_NONE;
    if (duty == PK_DUTY_RESET)
        err = reset(rt);
    else if (duty == PK_DUTY_ANSWER)
        err = answer_reset(rt);
    else if (duty == PK_DUTY_LEAVE) {
        *drained = true;
        while (!(err = take_batch(rt)))
            ;
    }
    return err == PK_AGAIN ? PK_OK : err;
}

/* One event: a batch, a control message, or both. */
static pk_err attend(runtime *rt)
{
    pk_poll_item items[] = {{.socket = pk_channel_socket(rt->control)}, {.socket = pk_link_socket(rt->in)}};
    uint64_t start = pk_clock_ns();
    atomic_store(&rt->waiting_on, PK_WAIT_BATCH);
    pk_err err = pk_poll(items, 2, -1);
    atomic_store(&rt->waiting_on, PK_WAIT_NONE);
    atomic_fetch_add(&rt->wait_ns, pk_clock_ns() - start);
    if (!err && items[0].ready)
        err = take_control(rt);
    if (!err && items[1].ready && rt->duty == PK_DUTY_NONE)
        err = take_batch(rt);
    return err == PK_AGAIN ? PK_OK : err;
}

static pk_err serve(runtime *rt)
{
    bool drained = false;
    pk_err err = PK_OK;
    while (!err && !drained) {
        err = attend(rt);
        if (!err)
            err = obey(rt, &drained);
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
    if (!(err = greet(rt)) && rt->duty == PK_DUTY_OPEN) {
        rt->duty = PK_DUTY_NONE;
        if (!(err = prepare(rt)))
            err = serve(rt);
    }
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
