#include "pipeline/fleet.h"
#include "ipc/clock.h"
#include "ipc/link.h"
#include "pipeline/libexec.h"
#include "pipeline/process.h"
#include "pipeline/socket_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define SECOND_NS UINT64_C(1000000000)
/* Longer between two polls than any of them sleeps. */
#define ABSENT_NS UINT64_C(5000000000)
enum { DRAIN_MS = 10000, LAST_WORDS_MS = 200, EPOCH = 1, EVENTS = 64 };

typedef enum { STARTING, LOADING, READY, LEFT } stage_state;

typedef struct {
    const pk_stage_spec *spec;
    pk_process process;
    pid_t pid; /* kept after the reaping, for messages and the timeline */
    stage_state state;
    pk_control ready;
    uint64_t bytes_done, bytes_total;
    pk_stage_counters counters;
    uint64_t beat_ns, progress_ns; /* when it last beat, and last made progress */
    pk_err reason_code;
    char reason[PK_REASON_BYTES]; /* its own last words */
    pk_link *trace;
} member;

typedef struct {
    pk_link *to, *from;
    uint64_t sent, received;
} port;

struct pk_fleet {
    pk_fleet_options options;
    pk_socket_dir sockets;
    pk_net *net;
    pk_channel *control;
    pk_console *console;
    member *members;
    size_t count, ready_count;
    port ports[PK_PORT_KINDS];
    int epoll, signals, lifeline[2];
    unsigned interrupts;
    int last_signal;
    uint64_t polled_ns; /* when the last poll ended; 0: none yet */
    bool draining;
    sigset_t mask_before;
    pk_poll_item *items; /* what pk_poll sleeps on: control, epoll, and every receiving link */
    size_t item_count;
};

static void endpoint(const pk_fleet *fleet, char out[PK_ENDPOINT_BYTES], const char *name, const char *suffix)
{
    snprintf(out, PK_ENDPOINT_BYTES, "ipc://%s/%s%s", fleet->sockets.path, name, suffix);
}

/* What a stage is called in messages: `low (layers 0-3, pid 123)`. */
static const char *describe(const member *m)
{
    static char text[160];
    if (m->spec->kind == PK_STAGE_LAYERS)
        snprintf(text, sizeof text, "stage %s (layers %" PRIu32 "-%" PRIu32 ", pid %d)", m->spec->name,
                 m->spec->first_layer, m->spec->last_layer, (int)m->pid);
    else
        snprintf(text, sizeof text, "stage %s (%s, pid %d)", m->spec->name, pk_stage_kind_word(m->spec->kind),
                 (int)m->pid);
    return text;
}

static pk_err watch(pk_fleet *fleet, int fd)
{
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    return epoll_ctl(fleet->epoll, EPOLL_CTL_ADD, fd, &event) ? pk_fail_errno(PK_IO, "epoll") : PK_OK;
}

static pk_err start_member(pk_fleet *fleet, member *m)
{
    char path[PATH_MAX], title[64], control[PK_ENDPOINT_BYTES], log[PATH_MAX] = "", lifeline[16];
    snprintf(title, sizeof title, "penstock-%s", pk_stage_kind_word(m->spec->kind));
    if (snprintf(path, sizeof path, "%s/%s", pk_libexec_dir(), title) >= (int)sizeof path)
        return pk_fail(PK_INVALID, "the folder of the stage programs has too long a name");
    snprintf(lifeline, sizeof lifeline, "%d", PK_PROCESS_LIFELINE_FD);
    endpoint(fleet, control, "control", "");
    if (fleet->options.log_dir)
        snprintf(log, sizeof log, "%s/%s.log", fleet->options.log_dir, m->spec->name);
    const char *argv[] = {title, "--name", m->spec->name, "--connect", control, "--lifeline", lifeline, NULL};
    pk_err err = pk_process_start(
        &m->process, (pk_process_options){
                         .path = path, .argv = argv, .lifeline = fleet->lifeline[0], .log_path = log[0] ? log : NULL});
    m->pid = m->process.pid;
    m->beat_ns = m->progress_ns = pk_clock_ns();
    if (!err)
        err = watch(fleet, m->process.pidfd);
    if (!err)
        err = watch(fleet, m->process.stderr_fd);
    if (err) /* whatever the system says: a stage that cannot be started is a stage that is not there */
        pk_fail(PK_PEER, "stage %s: %s", m->spec->name, pk_error_text());
    return err ? PK_PEER : PK_OK;
}

/* Whom it sends to, or NULL for the coordinator. A resolved pipeline has its stages in order: behind the last layers
 * stands the head. */
static const member *successor(const member *m)
{
    return m->spec->kind == PK_STAGE_LAYERS ? m + 1 : NULL;
}

static const char *answers_name(pk_stage_kind kind)
{
    return kind == PK_STAGE_TOKENIZE ? "ids" : kind == PK_STAGE_DETOKENIZE ? "text" : "answers";
}

static pk_control assignment_of(const pk_fleet *fleet, const member *m)
{
    const pk_pipeline *p = fleet->options.pipeline;
    const member *next = successor(m);
    pk_control message = {.kind = PK_CONTROL_ASSIGN};
    pk_assignment *a = &message.assignment;
    snprintf(a->model, sizeof a->model, "%s", p->model);
    snprintf(a->device, sizeof a->device, "%s", m->spec->device[0] ? m->spec->device : "cpu");
    snprintf(a->io, sizeof a->io, "%s", pk_stage_io_word(m->spec->io));
    a->first_layer = m->spec->first_layer;
    a->last_layer = m->spec->last_layer;
    a->threads = m->spec->threads ? m->spec->threads : 1;
    a->batch_rows = p->limits.batch_rows;
    a->sequences = p->limits.sequences;
    a->context = p->limits.context;
    a->window = p->limits.window;
    a->epoch = EPOCH;
    a->slices = fleet->options.timeline != NULL;
    endpoint(fleet, a->listen, m->spec->name, ".in");
    if (next)
        endpoint(fleet, a->next, next->spec->name, ".in");
    else
        endpoint(fleet, a->next, answers_name(m->spec->kind), "");
    if (m->trace)
        endpoint(fleet, a->trace, m->spec->name, ".trace");
    return message;
}

static uint64_t saturated(uint64_t bytes)
{
    return bytes > UINT32_MAX ? UINT32_MAX : bytes; /* a msgpack bin holds no more */
}

static pk_batch_limits limits_of(const pk_fleet *fleet, uint64_t payload_bytes)
{
    const pk_limits *limits = &fleet->options.pipeline->limits;
    return (pk_batch_limits){.spans = limits->batch_rows + 2 * limits->sequences,
                             .payload_bytes = saturated(payload_bytes)};
}

static pk_err open_receiver(pk_fleet *fleet, pk_link **link, const char *name, const char *suffix, uint64_t bytes)
{
    char address[PK_ENDPOINT_BYTES];
    endpoint(fleet, address, name, suffix);
    return pk_link_open(link, fleet->net,
                        (pk_link_options){.endpoint = address,
                                          .receive = true,
                                          .limits = limits_of(fleet, bytes),
                                          .window = fleet->options.pipeline->limits.window});
}

/* The largest of what a layer's internals may be: hidden rows, router choices, one state. */
static uint64_t trace_bytes(const pk_fleet *fleet)
{
    const pk_model_config *c = fleet->options.model;
    uint64_t rows = fleet->options.pipeline->limits.batch_rows;
    uint64_t width = c->hidden > c->experts_per_token ? c->hidden : c->experts_per_token;
    uint64_t state = (uint64_t)c->heads * c->head_dim * c->head_dim;
    return (rows * width > state ? rows * width : state) * 4;
}

/* Receiving ends are bound before anybody is told where they are. */
static pk_err open_receivers(pk_fleet *fleet)
{
    pk_err err = PK_OK;
    for (member *m = fleet->members; !err && m < fleet->members + fleet->count; m++) {
        if (m->spec->kind == PK_STAGE_LAYERS && fleet->options.internals)
            err = open_receiver(fleet, &m->trace, m->spec->name, ".trace", trace_bytes(fleet));
        else if (m->spec->kind == PK_STAGE_TOKENIZE)
            err = open_receiver(fleet, &fleet->ports[PK_PORT_TOKENIZE].from, "ids", "", PK_TEXT_PIECE_BYTES);
        else if (m->spec->kind == PK_STAGE_DETOKENIZE)
            err = open_receiver(fleet, &fleet->ports[PK_PORT_DETOKENIZE].from, "text", "", PK_TEXT_PIECE_BYTES);
        else if (m->spec->kind == PK_STAGE_HEAD)
            err = open_receiver(fleet, &fleet->ports[PK_PORT_MODEL].from, "answers", "",
                                4 * (uint64_t)fleet->options.pipeline->limits.batch_rows * fleet->options.model->vocab);
    }
    return err;
}

static pk_err open_sender(pk_fleet *fleet, const member *m, pk_fleet_port kind, uint64_t bytes)
{
    char address[PK_ENDPOINT_BYTES];
    endpoint(fleet, address, m->spec->name, ".in");
    return pk_link_open(&fleet->ports[kind].to, fleet->net,
                        (pk_link_options){.endpoint = address,
                                          .limits = limits_of(fleet, bytes),
                                          .window = fleet->options.pipeline->limits.window});
}

static pk_err open_senders(pk_fleet *fleet)
{
    pk_err err = PK_OK;
    for (member *m = fleet->members; !err && m < fleet->members + fleet->count; m++) {
        if (m->spec->kind == PK_STAGE_LAYERS && m->spec->first_layer == 0)
            err = open_sender(fleet, m, PK_PORT_MODEL, 4 * (uint64_t)fleet->options.pipeline->limits.batch_rows);
        else if (m->spec->kind == PK_STAGE_TOKENIZE)
            err = open_sender(fleet, m, PK_PORT_TOKENIZE, PK_TEXT_PIECE_BYTES);
        else if (m->spec->kind == PK_STAGE_DETOKENIZE)
            err = open_sender(fleet, m, PK_PORT_DETOKENIZE, PK_TEXT_PIECE_BYTES);
    }
    return err;
}

static pk_err open_signals(pk_fleet *fleet)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, &fleet->mask_before);
    fleet->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    fleet->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (fleet->signals < 0 || fleet->epoll < 0)
        return pk_fail_errno(PK_IO, "signal descriptor");
    return watch(fleet, fleet->signals);
}

static pk_err choose_members(pk_fleet *fleet)
{
    const pk_pipeline *p = fleet->options.pipeline;
    if (!(fleet->members = calloc(p->stage_count, sizeof *fleet->members)))
        return pk_fail(PK_NOMEM, "%" PRIu32 " stages", p->stage_count);
    for (uint32_t i = 0; i < p->stage_count; i++)
        if (!fleet->options.kinds || (fleet->options.kinds >> p->stages[i].kind & 1))
            fleet->members[fleet->count++].spec = &p->stages[i];
    fleet->items = calloc(3 + PK_PORT_KINDS + fleet->count, sizeof *fleet->items);
    return fleet->items ? PK_OK : pk_fail(PK_NOMEM, "poll items");
}

static void sleep_on(pk_fleet *fleet, pk_link *link)
{
    if (link)
        fleet->items[fleet->item_count++] = (pk_poll_item){.socket = pk_link_socket(link)};
}

static void list_items(pk_fleet *fleet)
{
    fleet->items[fleet->item_count++] = (pk_poll_item){.socket = pk_channel_socket(fleet->control)};
    fleet->items[fleet->item_count++] = (pk_poll_item){.fd = fleet->epoll};
    for (int kind = 0; kind < PK_PORT_KINDS; kind++)
        sleep_on(fleet, fleet->ports[kind].from);
    for (size_t i = 0; i < fleet->count; i++)
        sleep_on(fleet, fleet->members[i].trace);
    if (fleet->console)
        fleet->items[fleet->item_count++] = (pk_poll_item){.socket = pk_console_socket(fleet->console)};
}

static void announce(void *context, const char *line)
{
    const member *m = context;
    if (strncmp(line, "info ", 5) != 0)
        fprintf(stderr, "%s: %s\n", m->spec->name, line);
}

/* A stage has ended though nobody told it to. */
static pk_err died(pk_fleet *fleet, member *m)
{
    char end[96];
    pk_process_read_log(&m->process, announce, m);
    pk_process_describe_end(&m->process, end, sizeof end);
    fprintf(stderr, "penstock: %s died: %s; its last log lines:\n", describe(m), end);
    pk_stage_log_print_tail(&m->process.log, "    ", stderr);
    if (!m->reason[0])
        return pk_fail(PK_PEER, "%s died: %s", describe(m), end);
    /* While it loads, what fails is the model (or the memory for it); after that, the stage. */
    bool loading = fleet->ready_count < fleet->count;
    pk_err err = !loading ? PK_PEER : m->reason_code == PK_NOMEM ? PK_NOMEM : PK_CORRUPT;
    return pk_fail(err, "%s failed: %s", describe(m), m->reason);
}

static member *find_member(pk_fleet *fleet, const char *from)
{
    size_t bytes = strcspn(from, "/"); /* beats come from NAME/beat */
    for (member *m = fleet->members; m < fleet->members + fleet->count; m++)
        if (strlen(m->spec->name) == bytes && memcmp(m->spec->name, from, bytes) == 0)
            return m;
    return NULL;
}

static pk_err take_hello(pk_fleet *fleet, member *m, const pk_control *message)
{
    if (m->state != STARTING)
        return pk_fail(PK_PEER, "%s said hello twice", describe(m));
    if (strcmp(message->version, PK_VERSION) != 0 || message->stage_kind != m->spec->kind)
        return pk_fail(PK_PEER, "%s is version %s, kind %" PRIu64 "; version %s, kind %d were expected", describe(m),
                       message->version, message->stage_kind, PK_VERSION, m->spec->kind);
    m->state = LOADING;
    pk_control answer = assignment_of(fleet, m);
    return pk_channel_send(fleet->control, m->spec->name, &answer);
}

static void tell_loading(pk_fleet *fleet)
{
    uint64_t done = 0, total = 0;
    for (size_t i = 0; i < fleet->count; i++) {
        done += fleet->members[i].bytes_done;
        total += fleet->members[i].bytes_total;
    }
    if (fleet->options.loading)
        fleet->options.loading(fleet->options.loading_context, done, total);
}

static void take_ready(pk_fleet *fleet, member *m, const pk_control *message)
{
    m->state = READY;
    m->ready = *message;
    m->progress_ns = pk_clock_ns();
    fleet->ready_count++;
    if (message->note[0])
        fprintf(stderr, "penstock: %s: warning: %s\n", m->spec->name, message->note);
}

static void take_beat(member *m, const pk_control *message)
{
    m->beat_ns = pk_clock_ns();
    if (message->counters.progress != m->counters.progress || message->counters.waiting)
        m->progress_ns = m->beat_ns;
    m->counters = message->counters;
}

static pk_err take_slice(pk_fleet *fleet, const member *m, const pk_control *message)
{
    if (!fleet->options.timeline)
        return PK_OK;
    return pk_timeline_slice(fleet->options.timeline, (pk_timeline_event){.pid = m->pid,
                                                                          .name = "batch",
                                                                          .category = pk_stage_kind_word(m->spec->kind),
                                                                          .start_ns = message->start_ns,
                                                                          .end_ns = message->end_ns,
                                                                          .batch = message->batch,
                                                                          .rows = message->rows});
}

static pk_err take_message(pk_fleet *fleet, const char *from, const pk_control *message)
{
    member *m = find_member(fleet, from);
    if (!m)
        return pk_fail(PK_PEER, "a control message from \"%s\", which is no stage of this run", from);
    switch (message->kind) {
    case PK_CONTROL_HELLO:
        return take_hello(fleet, m, message);
    case PK_CONTROL_READY:
        if (m->state != LOADING)
            return pk_fail(PK_PEER, "%s said ready twice, or before it was assigned", describe(m));
        m->bytes_done = m->bytes_total = message->bytes_total;
        take_ready(fleet, m, message);
        tell_loading(fleet);
        return PK_OK;
    case PK_CONTROL_LOADING:
        m->bytes_done = message->bytes_done;
        m->bytes_total = message->bytes_total;
        tell_loading(fleet);
        return PK_OK;
    case PK_CONTROL_BEAT:
        take_beat(m, message);
        return PK_OK;
    case PK_CONTROL_BYE:
        take_beat(m, message);
        m->state = LEFT;
        return PK_OK;
    case PK_CONTROL_SLICE:
        return take_slice(fleet, m, message);
    case PK_CONTROL_ERROR:
        m->reason_code = (pk_err)message->code;
        memcpy(m->reason, message->reason, sizeof m->reason);
        return PK_OK;
    default:
        return pk_fail(PK_PEER, "%s sent control message %d, which a stage does not send", describe(m), message->kind);
    }
}

static pk_err take_messages(pk_fleet *fleet)
{
    char from[PK_NAME_BYTES];
    pk_control message;
    pk_err err;
    while (!(err = pk_channel_recv(fleet->control, from, &message)))
        if ((err = take_message(fleet, from, &message)))
            return err;
    return err == PK_AGAIN ? PK_OK : err;
}

static void take_signals(pk_fleet *fleet)
{
    struct signalfd_siginfo info;
    while (read(fleet->signals, &info, sizeof info) == (ssize_t)sizeof info) {
        fleet->interrupts++;
        fleet->last_signal = (int)info.ssi_signo;
    }
}

/* Its last words travel on another socket than its death, and may come a little later: a stage that failed by itself
 * has said why before it exited. */
static pk_err take_last_words(pk_fleet *fleet, const member *m)
{
    pk_err err = take_messages(fleet);
    if (!err && !m->reason[0] && pk_process_failed(&m->process) && !(err = pk_poll(fleet->items, 1, LAST_WORDS_MS)))
        err = take_messages(fleet);
    return err;
}

static pk_err take_deaths(pk_fleet *fleet)
{
    pk_err err = PK_OK;
    for (member *m = fleet->members; !err && m < fleet->members + fleet->count; m++) {
        bool ended = m->process.pid && pk_process_reap(&m->process, false);
        pk_process_read_log(&m->process, announce, m); /* after the reaping: then it is the whole log */
        if (ended && !fleet->draining && !(err = take_last_words(fleet, m)))
            err = died(fleet, m);
    }
    return err;
}

static pk_err take_events(pk_fleet *fleet)
{
    struct epoll_event events[EVENTS];
    int count = epoll_wait(fleet->epoll, events, EVENTS, 0);
    if (count > 0)
        take_signals(fleet);
    return count > 0 ? take_deaths(fleet) : PK_OK;
}

/* A coordinator that did not run itself (stopped, swapped out, waiting for a disk) has heard nobody: their beats may
 * still be on their way to us, and none of them is to blame. */
static void excuse_absence(pk_fleet *fleet, uint64_t now)
{
    if (fleet->polled_ns && now > fleet->polled_ns + ABSENT_NS)
        for (member *m = fleet->members; m < fleet->members + fleet->count; m++)
            m->beat_ns = m->progress_ns = now;
    fleet->polled_ns = now;
}

static pk_err check_beats(pk_fleet *fleet)
{
    const pk_limits *limits = &fleet->options.pipeline->limits;
    uint64_t now = pk_clock_ns();
    excuse_absence(fleet, now);
    for (member *m = fleet->members; m < fleet->members + fleet->count; m++) {
        if (m->state == LEFT || !m->process.pid)
            continue;
        if (now > m->beat_ns + SECOND_NS * limits->silent_seconds)
            return pk_fail(PK_PEER, "%s is silent: no beat for %" PRIu32 " s", describe(m), limits->silent_seconds);
        if (m->state == READY && now > m->progress_ns + SECOND_NS * limits->hung_seconds)
            return pk_fail(PK_PEER, "%s hangs: no progress for %" PRIu32 " s", describe(m), limits->hung_seconds);
    }
    return PK_OK;
}

pk_err pk_fleet_poll(pk_fleet *fleet, int timeout_ms)
{
    pk_err err = pk_poll(fleet->items, fleet->item_count, timeout_ms);
    if (!err && fleet->items[0].ready)
        err = take_messages(fleet);
    if (!err && fleet->items[1].ready)
        err = take_events(fleet);
    if (!err && fleet->console)
        pk_console_serve(fleet->console);
    return err ? err : check_beats(fleet);
}

static pk_err await_ready(pk_fleet *fleet)
{
    pk_err err = PK_OK;
    while (!err && fleet->ready_count < fleet->count) {
        err = pk_fleet_poll(fleet, 1000);
        if (!err && fleet->interrupts) {
            if (fleet->options.interrupted_by)
                *fleet->options.interrupted_by = fleet->last_signal;
            err = pk_fail(PK_CLOSED, "interrupted while the stages were loading");
        }
    }
    return err;
}

static pk_err name_rows(pk_fleet *fleet)
{
    pk_err err = PK_OK;
    for (member *m = fleet->members; !err && fleet->options.timeline && m < fleet->members + fleet->count; m++)
        err = pk_timeline_process(fleet->options.timeline, m->pid, m->spec->name);
    return err;
}

pk_err pk_fleet_open(pk_fleet **out, pk_fleet_options options)
{
    char control[PK_ENDPOINT_BYTES];
    pk_fleet *fleet = calloc(1, sizeof *fleet);
    if (!fleet)
        return pk_fail(PK_NOMEM, "fleet");
    fleet->options = options;
    fleet->sockets = PK_SOCKET_DIR_NONE;
    fleet->epoll = fleet->signals = fleet->lifeline[0] = fleet->lifeline[1] = -1;
    *out = fleet;
    pk_err err = choose_members(fleet);
    if (!err)
        err = open_signals(fleet);
    if (!err)
        err = pk_socket_dir_open(&fleet->sockets);
    if (!err && pipe2(fleet->lifeline, O_CLOEXEC))
        err = pk_fail_errno(PK_IO, "lifeline");
    endpoint(fleet, control, "control", "");
    if (!err)
        err = pk_net_open(&fleet->net);
    if (!err)
        err = pk_channel_open(&fleet->control, fleet->net, control, NULL);
    if (!err && options.console)
        err = pk_console_open(&fleet->console, fleet->net, fleet->sockets.path, *options.console);
    if (!err)
        err = open_receivers(fleet);
    if (!err)
        list_items(fleet);
    for (member *m = fleet->members; !err && m < fleet->members + fleet->count; m++)
        err = start_member(fleet, m);
    if (!err)
        err = await_ready(fleet);
    if (!err)
        err = open_senders(fleet);
    if (!err)
        err = name_rows(fleet);
    if (err)
        pk_fleet_close(out);
    return err;
}

pk_err pk_fleet_send(pk_fleet *fleet, pk_fleet_port kind, pk_batch *head, pk_buffer *payload)
{
    head->epoch = EPOCH;
    head->number = ++fleet->ports[kind].sent;
    return pk_link_send(fleet->ports[kind].to, head, payload);
}

pk_err pk_fleet_recv(pk_fleet *fleet, pk_fleet_port kind, pk_batch *head, pk_buffer **payload)
{
    port *p = &fleet->ports[kind];
    pk_err err = p->from ? pk_link_recv(p->from, head, payload) : PK_AGAIN;
    /* The head's numbers are those of the batches it answers: the scheduler knows them. Text stages count their own. */
    bool counted = kind != PK_PORT_MODEL;
    if (!err && (head->epoch != EPOCH || (counted && head->number != p->received + 1))) {
        pk_buffer_close(payload);
        err = pk_fail(PK_PEER,
                      "batch %" PRIu64 " of epoch %" PRIu32 " came where batch %" PRIu64 " of epoch %d was expected",
                      head->number, head->epoch, p->received + 1, EPOCH);
    }
    p->received += !err;
    return err;
}

pk_err pk_fleet_recv_trace(pk_fleet *fleet, pk_batch *head, pk_buffer **payload)
{
    pk_err err = PK_AGAIN;
    for (member *m = fleet->members; err == PK_AGAIN && m < fleet->members + fleet->count; m++)
        if (m->trace)
            err = pk_link_recv(m->trace, head, payload);
    return err;
}

unsigned pk_fleet_interrupts(const pk_fleet *fleet, int *last_signal)
{
    *last_signal = fleet->last_signal;
    return fleet->interrupts;
}

void pk_fleet_interrupt(pk_fleet *fleet, unsigned interrupts)
{
    if (fleet->interrupts >= interrupts)
        return;
    fleet->interrupts = interrupts;
    fleet->last_signal = SIGTERM;
}

pk_console_counters pk_fleet_console_count(const pk_fleet *fleet)
{
    return fleet->console ? pk_console_count(fleet->console) : (pk_console_counters){0};
}

size_t pk_fleet_count(const pk_fleet *fleet)
{
    return fleet->count;
}

pk_fleet_stage pk_fleet_at(const pk_fleet *fleet, size_t index)
{
    static const char *const states[] = {
        [STARTING] = "starting", [LOADING] = "loading", [READY] = "ready", [LEFT] = "left"};
    const member *m = &fleet->members[index];
    return (pk_fleet_stage){.spec = m->spec,
                            .pid = m->pid,
                            .ready = m->ready,
                            .counters = m->counters,
                            .state = m->process.pid ? states[m->state] : "ended",
                            .bytes_done = m->bytes_done,
                            .bytes_total = m->bytes_total,
                            .log_bytes_cut = m->process.log.bytes_cut};
}

/* A stage that was drained ends with exit 0: anything else (a sanitizer's report among them) is a fault of ours. */
static pk_err check_end(const member *m)
{
    char end[96];
    pk_process_describe_end(&m->process, end, sizeof end);
    if (m->process.pid)
        return pk_fail(PK_PEER, "%s did not end within %d s of being drained", describe(m), DRAIN_MS / 1000);
    return m->process.status ? pk_fail(PK_PEER, "%s ended with %s", describe(m), end) : PK_OK;
}

static size_t running(const pk_fleet *fleet)
{
    size_t count = 0;
    for (size_t i = 0; i < fleet->count; i++)
        count += fleet->members[i].process.pid != 0;
    return count;
}

pk_err pk_fleet_drain(pk_fleet *fleet)
{
    pk_control drain = {.kind = PK_CONTROL_DRAIN};
    uint64_t deadline = pk_clock_ns() + DRAIN_MS * UINT64_C(1000000);
    pk_err err = PK_OK;
    fleet->draining = true;
    for (member *m = fleet->members; !err && m < fleet->members + fleet->count; m++)
        err = pk_channel_send(fleet->control, m->spec->name, &drain);
    while (!err && running(fleet) && pk_clock_ns() < deadline)
        err = pk_fleet_poll(fleet, 100);
    for (member *m = fleet->members; !err && m < fleet->members + fleet->count; m++)
        err = check_end(m);
    return err ? err : take_messages(fleet);
}

void pk_fleet_close(pk_fleet **out)
{
    pk_fleet *fleet = *out;
    if (!fleet)
        return;
    for (member *m = fleet->members; fleet->members && m < fleet->members + fleet->count; m++) {
        pk_process_close(&m->process);
        pk_link_close(&m->trace);
    }
    for (int kind = 0; kind < PK_PORT_KINDS; kind++) {
        pk_link_close(&fleet->ports[kind].to);
        pk_link_close(&fleet->ports[kind].from);
    }
    pk_channel_close(&fleet->control);
    pk_console_close(&fleet->console);
    pk_net_close(&fleet->net);
    pk_socket_dir_close(&fleet->sockets);
    int fds[] = {fleet->epoll, fleet->signals, fleet->lifeline[0], fleet->lifeline[1]};
    for (size_t i = 0; i < sizeof fds / sizeof *fds; i++)
        if (fds[i] >= 0)
            close(fds[i]);
    if (fleet->signals >= 0)
        sigprocmask(SIG_SETMASK, &fleet->mask_before, NULL);
    free(fleet->members);
    free(fleet->items);
    free(fleet);
    *out = NULL;
}
