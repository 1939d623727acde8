#include "pipeline/protocol.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define SECOND UINT64_C(1000000000)
/* Beyond how long a stage may be silent: one that was stopped for a while and wakes up has what was sent to it. */
#define LOST_MARGIN_NS (5 * SECOND)
/* What reads or packs one tensor takes longer than a step of a batch. */
#define LOADING_TIMES 10
/* Longer between two ticks than any caller sleeps. */
#define ABSENT_NS (5 * SECOND)

typedef struct {
    int next, sender; /* whom it sends to, and who sends to it; PK_COORDINATOR */
    pk_member_state state;
    uint32_t epoch; /* that it was told of last */
    pk_stage_counters counters;
    uint64_t beat_ns, progress_ns; /* when it last beat, and last made progress */
    uint64_t told_ns;              /* of its epoch */
    uint64_t sent;                 /* number of the last batch that went to it from here */
    pk_stream from;                /* what comes from it to here */
    uint64_t waits_at, waits_ns;   /* it waits for the batch behind this number, since */
    uint64_t owes_at, owes_ns;     /* the coordinator waits for the one behind this number, since */
    pk_fault fault;                /* DIED, or why it is condemned */
} member;

struct pk_protocol {
    member *members;
    size_t count;
    uint32_t epoch, recoveries;
    uint64_t silent_ns, hung_ns, ticked_ns;
    bool flowing, draining, failed;
    pk_action *actions; /* a ring would be too much: it is empty after every event */
    size_t action_count, action_next, action_room;
};

const char *pk_fault_text(pk_fault fault)
{
    static const char *const texts[] = {
#define X(name, text) text,
        PK_FAULTS(X)
#undef X
    };
    return texts[fault];
}

static void push(pk_protocol *p, pk_action action)
{
    if (p->failed)
        return;
    assert(p->action_count < p->action_room);
    p->failed = action.kind == PK_ACT_FAIL;
    p->actions[p->action_count++] = action;
}

bool pk_protocol_next(pk_protocol *p, pk_action *out)
{
    if (p->action_next == p->action_count) {
        p->action_next = p->action_count = 0;
        return false;
    }
    *out = p->actions[p->action_next++];
    return true;
}

static size_t index_of(const pk_protocol *p, const member *m)
{
    return (size_t)(m - p->members);
}

/* How long it takes to be sure of a stall; 0: no time. */
static uint64_t patience_ns(const pk_protocol *p, pk_fault fault)
{
    switch (fault) {
    case PK_FAULT_SILENT:
        return p->silent_ns;
    case PK_FAULT_HUNG:
    case PK_FAULT_MUTE:
        return p->hung_ns;
    case PK_FAULT_STUCK:
        return LOADING_TIMES * p->hung_ns;
    default:
        return 0;
    }
}

static void act(pk_protocol *p, const member *m, pk_action_kind kind)
{
    push(p, (pk_action){.kind = kind, .member = index_of(p, m), .epoch = p->epoch});
}

static void act_on_fault(pk_protocol *p, const member *m, pk_action_kind kind, pk_fault fault)
{
    push(p, (pk_action){.kind = kind,
                        .member = index_of(p, m),
                        .epoch = p->epoch,
                        .fault = fault,
                        .seconds = (uint32_t)(patience_ns(p, fault) / SECOND)});
}

static void apply(pk_protocol *p, member *m, pk_member_event event, uint64_t now);

/* A member that comes up is told the epoch of that moment, and everybody else the new one. */
static void raise_epoch(pk_protocol *p, uint64_t now)
{
    p->epoch++;
    p->flowing = false;
    push(p, (pk_action){.kind = PK_ACT_RAISE, .epoch = p->epoch});
    for (member *m = p->members; m < p->members + p->count; m++) {
        m->sent = 0;
        pk_stream_begin(&m->from, p->epoch);
        apply(p, m, PK_EVENT_RESET, now);
    }
}

/* Whether the run goes on after a fault; if not, it fails here. */
static bool spend_recovery(pk_protocol *p, const member *m, pk_fault fault)
{
    if (p->recoveries == 0 || p->draining) {
        act_on_fault(p, m, PK_ACT_FAIL, fault);
        return false;
    }
    p->recoveries--;
    return true;
}

static void condemn(pk_protocol *p, member *m)
{
    bool last = p->recoveries == 0 || p->draining;
    act_on_fault(p, m, last ? PK_ACT_FAIL : PK_ACT_KILL, m->fault); /* a recovery begins with its end */
}

static void mourn(pk_protocol *p, member *m, uint64_t now)
{
    if (!spend_recovery(p, m, m->fault))
        return;
    raise_epoch(p, now);
    apply(p, m, PK_EVENT_START, now);
}

static void begin_flow(pk_protocol *p, uint64_t now)
{
    for (const member *m = p->members; m < p->members + p->count; m++)
        if (m->state != PK_MEMBER_READY)
            return;
    p->flowing = true;
    push(p, (pk_action){.kind = PK_ACT_FLOW, .epoch = p->epoch});
    for (member *m = p->members; m < p->members + p->count; m++) {
        m->waits_at = m->owes_at = 0;
        m->waits_ns = m->owes_ns = now;
    }
}

static void join(pk_protocol *p, member *m, uint64_t now)
{
    m->progress_ns = now;
    if (m->epoch != p->epoch)
        apply(p, m, PK_EVENT_RESET, now);
    else if (!p->flowing)
        begin_flow(p, now);
}

static void start(pk_protocol *p, member *m, uint64_t now)
{
    m->beat_ns = m->progress_ns = now;
    m->counters = (pk_stage_counters){0};
    m->fault = PK_FAULT_DIED;
    act(p, m, PK_ACT_START);
}

/* Told the epoch of now. */
static void tell_epoch(pk_protocol *p, member *m, pk_action_kind how, uint64_t now)
{
    m->epoch = p->epoch;
    m->progress_ns = m->told_ns = now;
    act(p, m, how);
}

static void apply(pk_protocol *p, member *m, pk_member_event event, uint64_t now)
{
    pk_transition t = pk_supervisor_decide(m->state, event);
    m->state = t.next;
    switch (t.reaction) {
    case PK_REACT_START:
        start(p, m, now);
        break;
    case PK_REACT_ASSIGN:
        tell_epoch(p, m, PK_ACT_ASSIGN, now);
        break;
    case PK_REACT_RESET:
        tell_epoch(p, m, PK_ACT_RESET, now);
        break;
    case PK_REACT_JOIN:
        join(p, m, now);
        break;
    case PK_REACT_DRAIN:
        act(p, m, PK_ACT_DRAIN);
        break;
    case PK_REACT_CONDEMN:
        condemn(p, m);
        break;
    case PK_REACT_MOURN:
        mourn(p, m, now);
        break;
    case PK_REACT_BURY:
    case PK_REACT_NOTE:
    case PK_REACT_NOT:
        break;
    }
}

static size_t action_room(size_t members)
{
    return 64 + 8 * members; /* one event: a KILL for each member, or a RAISE and a RESET for each, and some */
}

pk_err pk_protocol_open(pk_protocol **out, pk_protocol_options options)
{
    pk_protocol *p = calloc(1, sizeof *p);
    if (!p)
        return pk_fail(PK_NOMEM, "protocol");
    *out = p;
    *p = (pk_protocol){.count = options.count,
                       .epoch = options.epoch,
                       .recoveries = options.recoveries,
                       .silent_ns = options.silent_ns,
                       .hung_ns = options.hung_ns,
                       .ticked_ns = options.now,
                       .action_room = action_room(options.count)};
    p->members = calloc(p->count, sizeof *p->members);
    p->actions = calloc(p->action_room, sizeof *p->actions);
    if (!p->members || !p->actions) {
        pk_protocol_close(out);
        return pk_fail(PK_NOMEM, "protocol of %zu stages", options.count);
    }
    for (size_t i = 0; i < p->count; i++)
        p->members[i] = (member){.next = options.next[i], .sender = PK_COORDINATOR, .from.epoch = options.epoch};
    for (size_t i = 0; i < p->count; i++)
        if (options.next[i] != PK_COORDINATOR)
            p->members[options.next[i]].sender = (int)i;
    for (size_t i = 0; i < p->count; i++)
        apply(p, &p->members[i], PK_EVENT_START, options.now);
    return PK_OK;
}

void pk_protocol_close(pk_protocol **protocol)
{
    if (!*protocol)
        return;
    free((*protocol)->members);
    free((*protocol)->actions);
    free(*protocol);
    *protocol = NULL;
}

static pk_member_event event_of(pk_control_kind kind)
{
    switch (kind) {
    case PK_CONTROL_HELLO:
        return PK_EVENT_HELLO;
    case PK_CONTROL_LOADING:
        return PK_EVENT_PROGRESS;
    case PK_CONTROL_READY:
        return PK_EVENT_READY;
    case PK_CONTROL_RESET_DONE:
        return PK_EVENT_RESET_DONE;
    case PK_CONTROL_BEAT:
    case PK_CONTROL_SLICE:
        return PK_EVENT_BEAT;
    case PK_CONTROL_BYE:
        return PK_EVENT_BYE;
    case PK_CONTROL_ERROR:
        return PK_EVENT_ERROR;
    default:
        return PK_EVENT_OTHER;
    }
}

static bool serves(const member *m)
{
    return m->state == PK_MEMBER_READY || m->state == PK_MEMBER_RESETTING;
}

/* To wait for a batch is no excuse for one that has not said ready: then its ready is lost. */
static void take_figures(member *m, const pk_stage_counters *counters, uint64_t now)
{
    m->beat_ns = now;
    if (counters->progress != m->counters.progress || (serves(m) && counters->waiting_on == PK_WAIT_BATCH))
        m->progress_ns = now;
    m->counters = *counters;
}

void pk_protocol_message(pk_protocol *p, size_t index, const pk_control *message, uint64_t now)
{
    member *m = &p->members[index];
    pk_member_event event = event_of(message->kind);
    pk_member_state before = m->state;
    if (message->kind == PK_CONTROL_BEAT || message->kind == PK_CONTROL_BYE)
        take_figures(m, &message->counters, now);
    if (event == PK_EVENT_PROGRESS)
        m->progress_ns = now;
    if (event == PK_EVENT_RESET_DONE && message->assignment.epoch != m->epoch)
        return; /* the answer to a reset that another one has overtaken */
    m->fault = before == PK_MEMBER_CONDEMNED ? m->fault : PK_FAULT_BREACH;
    size_t first = p->action_count;
    apply(p, m, event, now);
    for (size_t i = first; i < p->action_count; i++)
        if (p->actions[i].kind == PK_ACT_FAIL || p->actions[i].kind == PK_ACT_KILL) {
            p->actions[i].state = before;
            p->actions[i].event = event;
        }
    if (m->state != PK_MEMBER_CONDEMNED)
        m->fault = PK_FAULT_DIED;
}

void pk_protocol_exited(pk_protocol *p, size_t index, uint64_t now)
{
    apply(p, &p->members[index], PK_EVENT_EXIT, now);
}

void pk_protocol_reset(pk_protocol *p, uint64_t now)
{
    if (!p->draining && !p->failed)
        raise_epoch(p, now);
}

void pk_protocol_drain(pk_protocol *p)
{
    p->draining = true;
    for (member *m = p->members; m < p->members + p->count; m++)
        apply(p, m, PK_EVENT_DRAIN, p->ticked_ns);
}

void pk_protocol_sent(pk_protocol *p, size_t index, const pk_batch *head)
{
    assert(p->members[index].sender == PK_COORDINATOR);
    p->members[index].sent = head->number;
}

/* A stall, with its name. What is condemned already keeps its own. */
static void stall(pk_protocol *p, member *m, pk_fault fault, uint64_t now)
{
    if (m->state == PK_MEMBER_CONDEMNED || m->state == PK_MEMBER_GONE || m->state == PK_MEMBER_LEFT)
        return;
    m->fault = fault;
    apply(p, m, PK_EVENT_STALL, now);
}

/* Whom a member waits for in the end; NULL: the coordinator, which is not to blame for anything here. */
static member *end_of_wait(pk_protocol *p, member *m)
{
    while (m->counters.waiting_on == PK_WAIT_NEXT && m->next != PK_COORDINATOR)
        m = &p->members[m->next];
    return m->counters.waiting_on == PK_WAIT_NEXT || m->counters.waiting_on == PK_WAIT_TRACE ? NULL : m;
}

static bool stands_still(const pk_protocol *p, const member *m, pk_fault how, uint64_t now)
{
    return now > m->progress_ns + patience_ns(p, how);
}

static void check_hung(pk_protocol *p, member *m, uint64_t now)
{
    if (m->counters.waiting_on == PK_WAIT_BATCH || !stands_still(p, m, PK_FAULT_HUNG, now))
        return;
    member *blamed = end_of_wait(p, m);
    if (!blamed)
        return;
    /* It takes nothing though somebody wants to give: whatever holds the link up is on its side. */
    bool deaf = blamed != m && blamed->counters.waiting_on == PK_WAIT_BATCH;
    if (deaf || stands_still(p, blamed, PK_FAULT_HUNG, now))
        stall(p, blamed, deaf ? PK_FAULT_LOST : PK_FAULT_HUNG, now);
}

static void check_progress(pk_protocol *p, member *m, uint64_t now)
{
    bool loading = m->state == PK_MEMBER_STARTING || m->state == PK_MEMBER_LOADING;
    if (now > m->beat_ns + patience_ns(p, PK_FAULT_SILENT))
        stall(p, m, PK_FAULT_SILENT, now);
    else if (loading && stands_still(p, m, PK_FAULT_STUCK, now))
        stall(p, m, PK_FAULT_STUCK, now);
    else if (serves(m))
        check_hung(p, m, now);
}

/* Keeps since when a receiver waits behind `at`; true when its sender has sent more for too long. */
static bool waits_in_vain(const pk_protocol *p, uint64_t *at, uint64_t *since, uint64_t taken, uint64_t sent,
                          uint64_t now)
{
    if (*at != taken || sent <= taken) {
        *at = taken;
        *since = now;
    }
    return now > *since + p->silent_ns + LOST_MARGIN_NS;
}

static uint64_t sent_to(const pk_protocol *p, const member *m)
{
    if (m->sender == PK_COORDINATOR)
        return m->sent;
    const pk_stage_counters *sender = &p->members[m->sender].counters;
    return sender->epoch == p->epoch ? sender->last_out : 0;
}

/* Idle, in this epoch, behind its sender: true with the fault's name. */
static bool misses_batches(const pk_protocol *p, member *m, uint64_t now, pk_fault *fault)
{
    const pk_stage_counters *c = &m->counters;
    if (c->epoch != p->epoch)
        return false;
    uint64_t taken = c->waiting_on == PK_WAIT_BATCH ? c->last_in : UINT64_MAX;
    *fault = PK_FAULT_LOST;
    if (waits_in_vain(p, &m->waits_at, &m->waits_ns, taken, sent_to(p, m), now))
        return true;
    *fault = PK_FAULT_UNHEARD;
    return m->next == PK_COORDINATOR && waits_in_vain(p, &m->owes_at, &m->owes_ns, m->from.last, c->last_out, now);
}

/* Nobody has died: new links are enough. */
static void check_losses(pk_protocol *p, uint64_t now)
{
    pk_fault fault;
    for (member *m = p->members; p->flowing && !p->draining && m < p->members + p->count; m++)
        if (misses_batches(p, m, now, &fault)) {
            if (spend_recovery(p, m, fault))
                raise_epoch(p, now);
            return;
        }
}

/* A gap is a loss that needs no patience. */
pk_err pk_protocol_arrived(pk_protocol *p, size_t index, const pk_batch *head, uint64_t now)
{
    pk_err err = pk_stream_take(&p->members[index].from, head);
    if (err != PK_PEER || p->recoveries == 0 || p->draining)
        return err;
    p->recoveries--;
    raise_epoch(p, now);
    return PK_AGAIN;
}

/* A reset that is not answered by somebody who has nothing to do: the message is lost. */
static void check_answers(pk_protocol *p, uint64_t now)
{
    for (member *m = p->members; m < p->members + p->count; m++)
        if (m->state == PK_MEMBER_RESETTING && m->counters.waiting_on == PK_WAIT_BATCH && now > m->told_ns + p->hung_ns)
            stall(p, m, PK_FAULT_MUTE, now);
}

static void excuse_absence(pk_protocol *p, uint64_t now)
{
    if (now > p->ticked_ns + ABSENT_NS)
        for (member *m = p->members; m < p->members + p->count; m++)
            m->beat_ns = m->progress_ns = m->told_ns = m->waits_ns = m->owes_ns = now;
    p->ticked_ns = now;
}

void pk_protocol_tick(pk_protocol *p, uint64_t now)
{
    excuse_absence(p, now);
    for (member *m = p->members; m < p->members + p->count; m++)
        check_progress(p, m, now);
    check_answers(p, now);
    check_losses(p, now);
}

uint32_t pk_protocol_epoch(const pk_protocol *p)
{
    return p->epoch;
}

bool pk_protocol_flowing(const pk_protocol *p)
{
    return p->flowing;
}

pk_member_state pk_protocol_state(const pk_protocol *p, size_t index)
{
    return p->members[index].state;
}

const pk_stage_counters *pk_protocol_counters(const pk_protocol *p, size_t index)
{
    return &p->members[index].counters;
}

uint64_t pk_protocol_dropped(const pk_protocol *p)
{
    uint64_t dropped = 0;
    for (size_t i = 0; i < p->count; i++)
        dropped += p->members[i].from.dropped;
    return dropped;
}
