#include "pipeline/fleet.h"
#include "ipc/clock.h"
#include "ipc/link.h"
#include "pipeline/libexec.h"
#include "ipc/log.h"
#include "pipeline/process.h"
#include "pipeline/protocol.h"
#include "pipeline/socket_dir.h"

#include <assert.h>
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
enum { DRAIN_MS = 10000, LAST_WORDS_MS = 200, FIRST_EPOCH = 1, EVENTS = 64, NOBODY = -1 };

typedef struct {
    const pk_stage_spec *spec;
    pk_process process;
    pid_t pid; /* kept after the reaping, for messages and the timeline */
    pk_control ready;
    uint64_t bytes_done, bytes_total;
    pk_err reason_code;
    char reason[PK_REASON_BYTES]; /* its own last words */
    pk_link *trace;
} member;

typedef struct {
    int entry, exit; /* members: who gets its batches, whose answers come; NOBODY */
    pk_link *to, *from;
    bool full; /* somebody waits for room in `to` */
} port;

struct pk_fleet {
    pk_fleet_options options;
    pk_socket_dir sockets;
    pk_net *net;
    pk_channel *control;
    pk_console *console;
    member *members;
    size_t count;
    pk_protocol *protocol; /* decides everything about them; here are its hands */
    bool stood;            /* all of them were ready once */
    port ports[PK_PORT_KINDS];
    int epoll, signals, lifeline[2];
    unsigned interrupts;
    int last_signal;
    bool draining;
    sigset_t mask_before;
    pk_poll_item *items; /* what pk_poll sleeps on: control, epoll, and every receiving link */
    size_t item_count;
};

static void control_endpoint(const pk_fleet *fleet, char out[PK_ENDPOINT_BYTES])
{
    snprintf(out, PK_ENDPOINT_BYTES, "ipc://%s/control", fleet->sockets.path);
}

/* Of a data link: in another epoch it is another place, so that whoever missed a reset talks to nobody. */
static void endpoint(const pk_fleet *fleet, char out[PK_ENDPOINT_BYTES], const char *name, const char *suffix,
                     uint32_t epoch)
{
    snprintf(out, PK_ENDPOINT_BYTES, "ipc://%s/%s%s.%" PRIu32, fleet->sockets.path, name, suffix, epoch);
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
    control_endpoint(fleet, control);
    if (fleet->options.log_dir)
        snprintf(log, sizeof log, "%s/%s.log", fleet->options.log_dir, m->spec->name);
    const char *argv[] = {title, "--name", m->spec->name, "--connect", control, "--lifeline", lifeline, NULL};
    pk_err err = pk_process_start(
        &m->process, (pk_process_options){
                         .path = path, .argv = argv, .lifeline = fleet->lifeline[0], .log_path = log[0] ? log : NULL});
    m->pid = m->process.pid;
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

/* Where its links are in an epoch. */
static void name_links(const pk_fleet *fleet, const member *m, uint32_t epoch, pk_assignment *a)
{
    const member *next = successor(m);
    a->epoch = epoch;
    endpoint(fleet, a->listen, m->spec->name, ".in", epoch);
    if (next)
        endpoint(fleet, a->next, next->spec->name, ".in", epoch);
    else
        endpoint(fleet, a->next, answers_name(m->spec->kind), "", epoch);
    if (m->trace)
        endpoint(fleet, a->trace, m->spec->name, ".trace", epoch);
}

static pk_control assignment_of(const pk_fleet *fleet, const member *m, uint32_t epoch)
{
    const pk_pipeline *p = fleet->options.pipeline;
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
    a->slices = fleet->options.timeline != NULL;
    name_links(fleet, m, epoch, a);
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
    endpoint(fleet, address, name, suffix, pk_protocol_epoch(fleet->protocol));
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

static pk_err open_senders(pk_fleet *fleet)
{
    const pk_limits *limits = &fleet->options.pipeline->limits;
    pk_err err = PK_OK;
    for (int kind = 0; !err && kind < PK_PORT_KINDS; kind++) {
        port *p = &fleet->ports[kind];
        uint64_t bytes = kind == PK_PORT_MODEL ? 4 * (uint64_t)limits->batch_rows : PK_TEXT_PIECE_BYTES;
        char address[PK_ENDPOINT_BYTES];
        if (p->entry == NOBODY)
            continue;
        endpoint(fleet, address, fleet->members[p->entry].spec->name, ".in", pk_protocol_epoch(fleet->protocol));
        err = pk_link_open(
            &p->to, fleet->net,
            (pk_link_options){.endpoint = address, .limits = limits_of(fleet, bytes), .window = limits->window});
    }
    return err;
}

/* All data links of an epoch that is over; what is in them is thrown away. */
static void drop_links(pk_fleet *fleet)
{
    for (member *m = fleet->members; fleet->members && m < fleet->members + fleet->count; m++)
        pk_link_drop(&m->trace);
    for (int kind = 0; kind < PK_PORT_KINDS; kind++) {
        pk_link_drop(&fleet->ports[kind].to);
        pk_link_drop(&fleet->ports[kind].from);
    }
}

static pk_err open_signals(pk_fleet *fleet)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGUSR1);
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
    fleet->items = calloc(3 + 2 * PK_PORT_KINDS + fleet->count, sizeof *fleet->items);
    return fleet->items ? PK_OK : pk_fail(PK_NOMEM, "poll items");
}

/* Which members a port leads to and from. */
static void join_ports(pk_fleet *fleet)
{
    for (int kind = 0; kind < PK_PORT_KINDS; kind++)
        fleet->ports[kind].entry = fleet->ports[kind].exit = NOBODY;
    for (int i = 0; i < (int)fleet->count; i++) {
        const pk_stage_spec *spec = fleet->members[i].spec;
        pk_fleet_port kind = spec->kind == PK_STAGE_TOKENIZE     ? PK_PORT_TOKENIZE
                             : spec->kind == PK_STAGE_DETOKENIZE ? PK_PORT_DETOKENIZE
                                                                 : PK_PORT_MODEL;
        if (kind != PK_PORT_MODEL || (spec->kind == PK_STAGE_LAYERS && spec->first_layer == 0))
            fleet->ports[kind].entry = i;
        if (!successor(&fleet->members[i]))
            fleet->ports[kind].exit = i;
    }
}

static pk_err open_protocol(pk_fleet *fleet)
{
    const pk_limits *limits = &fleet->options.pipeline->limits;
    int *nexts = calloc(fleet->count, sizeof *nexts);
    if (!nexts)
        return pk_fail(PK_NOMEM, "%zu stages", fleet->count);
    for (size_t i = 0; i < fleet->count; i++) {
        const member *next = successor(&fleet->members[i]);
        nexts[i] = next ? (int)(next - fleet->members) : PK_COORDINATOR;
    }
    uint32_t first = fleet->options.first_epoch ? fleet->options.first_epoch : FIRST_EPOCH;
    pk_err err =
        pk_protocol_open(&fleet->protocol, (pk_protocol_options){.next = nexts,
                                                                 .count = fleet->count,
                                                                 .epoch = first,
                                                                 .silent_ns = SECOND_NS * limits->silent_seconds,
                                                                 .hung_ns = SECOND_NS * limits->hung_seconds,
                                                                 .now = pk_clock_ns()});
    free(nexts);
    return err;
}

static void sleep_on(pk_fleet *fleet, pk_link *link)
{
    if (link)
        fleet->items[fleet->item_count++] = (pk_poll_item){.socket = pk_link_socket(link)};
}

static void list_items(pk_fleet *fleet)
{
    fleet->item_count = 0;
    fleet->items[fleet->item_count++] = (pk_poll_item){.socket = pk_channel_socket(fleet->control)};
    fleet->items[fleet->item_count++] = (pk_poll_item){.fd = fleet->epoll};
    for (port *p = fleet->ports; p < fleet->ports + PK_PORT_KINDS; p++) {
        sleep_on(fleet, p->from);
        if (p->to && p->full)
            fleet->items[fleet->item_count++] = (pk_poll_item){.socket = pk_link_socket(p->to), .room = true};
        p->full = false;
    }
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
    pk_err err = fleet->stood ? PK_PEER : m->reason_code == PK_NOMEM ? PK_NOMEM : PK_CORRUPT;
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

static pk_err check_hello(const member *m, const pk_control *message)
{
    if (strcmp(message->version, PK_VERSION) != 0 || message->stage_kind != m->spec->kind)
        return pk_fail(PK_PEER, "%s is version %s, kind %" PRIu64 "; version %s, kind %d were expected", describe(m),
                       message->version, message->stage_kind, PK_VERSION, m->spec->kind);
    return PK_OK;
}

/* Whoever is not there to be told has died: its pidfd says so, in better words than the socket's. */
static pk_err send_to(pk_fleet *fleet, const member *m, const pk_control *message)
{
    pk_err err = pk_channel_send(fleet->control, m->spec->name, message);
    return err == PK_PEER ? PK_OK : err;
}

static pk_err send_reset(pk_fleet *fleet, const member *m, uint32_t epoch)
{
    pk_control message = {.kind = PK_CONTROL_RESET};
    name_links(fleet, m, epoch, &message.assignment);
    return send_to(fleet, m, &message);
}

static pk_err persist(const pk_fleet *fleet, uint32_t epoch)
{
    return fleet->options.persist ? fleet->options.persist(fleet->options.persist_context, epoch) : PK_OK;
}

static pk_err raise_epoch(pk_fleet *fleet, uint32_t epoch)
{
    pk_err err = persist(fleet, epoch);
    drop_links(fleet);
    return err ? err : open_receivers(fleet);
}

static pk_err fail(pk_fleet *fleet, member *m, const pk_action *action)
{
    if (action->fault == PK_FAULT_DIED)
        return died(fleet, m);
    if (action->fault == PK_FAULT_BREACH)
        return pk_fail(PK_PEER, "%s %s: it said %s while it was %s", describe(m), pk_fault_text(action->fault),
                       pk_member_event_word(action->event), pk_member_state_word(action->state));
    if (action->seconds)
        return pk_fail(PK_PEER, "%s %s %" PRIu32 " s", describe(m), pk_fault_text(action->fault), action->seconds);
    return pk_fail(PK_PEER, "%s %s", describe(m), pk_fault_text(action->fault));
}

static pk_err perform(pk_fleet *fleet, const pk_action *action)
{
    member *m = &fleet->members[action->member];
    switch (action->kind) {
    case PK_ACT_START:
        return start_member(fleet, m);
    case PK_ACT_ASSIGN: {
        pk_control message = assignment_of(fleet, m, action->epoch);
        return send_to(fleet, m, &message);
    }
    case PK_ACT_RAISE:
        return raise_epoch(fleet, action->epoch);
    case PK_ACT_RESET:
        return send_reset(fleet, m, action->epoch);
    case PK_ACT_FLOW:
        fleet->stood = true;
        return open_senders(fleet);
    case PK_ACT_DRAIN:
        return send_to(fleet, m, &(pk_control){.kind = PK_CONTROL_DRAIN});
    case PK_ACT_KILL:
        assert(m->process.pid > 0); /* and never our own group */
        return kill(-m->process.pid, SIGKILL) ? pk_fail_errno(PK_IO, "kill %s", describe(m)) : PK_OK;
    case PK_ACT_FAIL:
        return fail(fleet, m, action);
    }
    return PK_OK;
}

/* What follows from an event, to be called after each. */
static pk_err obey(pk_fleet *fleet)
{
    pk_action action;
    pk_err err = PK_OK;
    while (!err && pk_protocol_next(fleet->protocol, &action))
        err = perform(fleet, &action);
    return err;
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
    m->ready = *message;
    m->bytes_done = m->bytes_total = message->bytes_total;
    if (message->note[0])
        fprintf(stderr, "penstock: %s: warning: %s\n", m->spec->name, message->note);
    tell_loading(fleet);
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

/* What a message carries beside being an event: words and figures that nothing is decided by. */
static pk_err take_contents(pk_fleet *fleet, member *m, const pk_control *message)
{
    switch (message->kind) {
    case PK_CONTROL_HELLO:
        return check_hello(m, message);
    case PK_CONTROL_READY:
        take_ready(fleet, m, message);
        return PK_OK;
    case PK_CONTROL_LOADING:
        m->bytes_done = message->bytes_done;
        m->bytes_total = message->bytes_total;
        tell_loading(fleet);
        return PK_OK;
    case PK_CONTROL_SLICE:
        return take_slice(fleet, m, message);
    case PK_CONTROL_ERROR:
        m->reason_code = (pk_err)message->code;
        memcpy(m->reason, message->reason, sizeof m->reason);
        return PK_OK;
    default:
        return PK_OK;
    }
}

static pk_err take_message(pk_fleet *fleet, const char *from, const pk_control *message)
{
    member *m = find_member(fleet, from);
    if (!m)
        return pk_fail(PK_PEER, "a control message from \"%s\", which is no stage of this run", from);
    pk_err err = take_contents(fleet, m, message);
    if (err)
        return err;
    pk_protocol_message(fleet->protocol, (size_t)(m - fleet->members), message, pk_clock_ns());
    return obey(fleet);
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

void pk_fleet_reset(pk_fleet *fleet)
{
    pk_protocol_reset(fleet->protocol, pk_clock_ns());
}

/* An interrupt, or the wish for a reset. */
static void take_signals(pk_fleet *fleet)
{
    struct signalfd_siginfo info;
    while (read(fleet->signals, &info, sizeof info) == (ssize_t)sizeof info) {
        if (info.ssi_signo == SIGUSR1) {
            pk_fleet_reset(fleet);
            continue;
        }
        fleet->interrupts++;
        fleet->last_signal = (int)info.ssi_signo;
    }
}

/* Its last words travel on another socket than its death, and may come a little later, behind those of others: a stage
 * that failed by itself has said why before it exited. */
static pk_err take_last_words(pk_fleet *fleet, const member *m)
{
    uint64_t now = pk_clock_ns(), end = now + LAST_WORDS_MS * UINT64_C(1000000);
    pk_err err = take_messages(fleet);
    for (; !err && !m->reason[0] && pk_process_failed(&m->process) && now < end; now = pk_clock_ns())
        if (!(err = pk_poll(fleet->items, 1, (int)((end - now) / 1000000) + 1)))
            err = take_messages(fleet);
    return err;
}

static pk_err take_deaths(pk_fleet *fleet)
{
    pk_err err = PK_OK;
    for (member *m = fleet->members; !err && m < fleet->members + fleet->count; m++) {
        bool ended = m->process.pid && pk_process_reap(&m->process, false);
        pk_process_read_log(&m->process, announce, m); /* after the reaping: then it is the whole log */
        if (!ended)
            continue;
        if (!fleet->draining)
            err = take_last_words(fleet, m);
        pk_protocol_exited(fleet->protocol, (size_t)(m - fleet->members), pk_clock_ns());
        if (!err)
            err = obey(fleet);
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

pk_err pk_fleet_poll(pk_fleet *fleet, int timeout_ms)
{
    list_items(fleet);
    pk_err err = pk_poll(fleet->items, fleet->item_count, timeout_ms);
    if (!err && fleet->items[0].ready)
        err = take_messages(fleet);
    if (!err && fleet->items[1].ready)
        err = take_events(fleet);
    if (!err && fleet->console)
        pk_console_serve(fleet->console);
    pk_protocol_tick(fleet->protocol, pk_clock_ns());
    return err ? err : obey(fleet);
}

static pk_err await_ready(pk_fleet *fleet)
{
    pk_err err = PK_OK;
    while (!err && !fleet->stood) {
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
        join_ports(fleet);
    if (!err)
        err = open_signals(fleet);
    if (!err)
        err = pk_socket_dir_open(&fleet->sockets);
    if (!err && pipe2(fleet->lifeline, O_CLOEXEC))
        err = pk_fail_errno(PK_IO, "lifeline");
    control_endpoint(fleet, control);
    if (!err)
        err = pk_net_open(&fleet->net);
    if (!err)
        err = pk_channel_open(&fleet->control, fleet->net, control, NULL);
    if (!err && options.console)
        err = pk_console_open(&fleet->console, fleet->net, fleet->sockets.path, *options.console);
    if (!err)
        err = open_protocol(fleet);
    if (!err)
        err = persist(fleet, pk_protocol_epoch(fleet->protocol));
    if (!err)
        err = open_receivers(fleet);
    if (!err)
        err = obey(fleet);
    if (!err)
        err = await_ready(fleet);
    if (!err)
        err = name_rows(fleet);
    if (err)
        pk_fleet_close(out);
    return err;
}

uint32_t pk_fleet_epoch(const pk_fleet *fleet)
{
    return pk_protocol_epoch(fleet->protocol);
}

uint64_t pk_fleet_dropped(const pk_fleet *fleet)
{
    return pk_protocol_dropped(fleet->protocol);
}

bool pk_fleet_flowing(const pk_fleet *fleet)
{
    return pk_protocol_flowing(fleet->protocol);
}

bool pk_fleet_room(pk_fleet *fleet, pk_fleet_port kind)
{
    port *p = &fleet->ports[kind];
    pk_poll_item item = {.room = true};
    if (!pk_fleet_flowing(fleet))
        return false;
    item.socket = pk_link_socket(p->to);
    p->full = pk_poll(&item, 1, 0) || !item.ready;
    return !p->full;
}

pk_err pk_fleet_send(pk_fleet *fleet, pk_fleet_port kind, pk_batch *head, pk_buffer *payload)
{
    port *p = &fleet->ports[kind];
    head->epoch = pk_fleet_epoch(fleet);
    pk_protocol_sent(fleet->protocol, (size_t)p->entry, head);
    return pk_link_send(p->to, head, payload);
}

/* PK_AGAIN when there is none; one of another epoch is none. */
static pk_err drop_stale(pk_batch *head, pk_buffer **payload)
{
    pk_log_warn("batch dropped epoch=%" PRIu32, head->epoch);
    pk_buffer_close(payload);
    return PK_AGAIN;
}

pk_err pk_fleet_recv(pk_fleet *fleet, pk_fleet_port kind, pk_batch *head, pk_buffer **payload)
{
    port *p = &fleet->ports[kind];
    pk_err err = p->from ? pk_link_recv(p->from, head, payload) : PK_AGAIN;
    if (err)
        return err;
    err = pk_protocol_arrived(fleet->protocol, (size_t)p->exit, head, pk_clock_ns());
    if (err == PK_AGAIN)
        return drop_stale(head, payload);
    if (err)
        pk_buffer_close(payload);
    return pk_pass(err, "from %s", describe(&fleet->members[p->exit]));
}

pk_err pk_fleet_recv_trace(pk_fleet *fleet, pk_batch *head, pk_buffer **payload)
{
    pk_err err = PK_AGAIN;
    for (member *m = fleet->members; err == PK_AGAIN && m < fleet->members + fleet->count; m++)
        if (m->trace && !(err = pk_link_recv(m->trace, head, payload)) && head->epoch != pk_fleet_epoch(fleet))
            err = drop_stale(head, payload);
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
    const member *m = &fleet->members[index];
    return (pk_fleet_stage){.spec = m->spec,
                            .pid = m->pid,
                            .ready = m->ready,
                            .counters = *pk_protocol_counters(fleet->protocol, index),
                            .state = pk_member_state_word(pk_protocol_state(fleet->protocol, index)),
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
    uint64_t deadline = pk_clock_ns() + DRAIN_MS * UINT64_C(1000000);
    fleet->draining = true;
    pk_protocol_drain(fleet->protocol);
    pk_err err = obey(fleet);
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
    for (member *m = fleet->members; fleet->members && m < fleet->members + fleet->count; m++)
        pk_process_close(&m->process);
    drop_links(fleet);
    pk_protocol_close(&fleet->protocol);
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
