#include "tests/simulate/world.h"
#include "pipeline/protocol.h"
#include "pipeline/scheduler.h"
#include "tests/simulate/model.h"
#include "tests/simulate/stage.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MS     UINT64_C(1000000)
#define SECOND (1000 * MS)
/* After the last fault: every detection, several times over, loading included. */
#define PATIENCE_NS (4000 * SECOND)
#define DRAIN_NS    (10 * SECOND)

enum { STAGES_MOST = 5, REQUESTS_MOST = 10, TOKENS_MOST = 64, FAULTS_MOST = 20, HISTORY = 48, RECOVERIES = 200 };

typedef enum {
    FAULT_NONE,
    FAULT_RESET,
    FAULT_STALE,      /* batches of closed links arrive nevertheless, for a while */
    FAULT_NAP,        /* a stage stops for less than it takes to be missed */
    FAULT_SLEEP,      /* the coordinator does */
    FAULT_KILL,       /* from here on it is a fault in earnest */
    FAULT_LOSE,       /* the next batch on a link */
    FAULT_DOUBLE,     /* the same, twice */
    FAULT_STOP,       /* for up to 40 s */
    FAULT_HANG,       /* the next work takes up to 200 s longer */
    FAULT_CUT,        /* a data link, for a while */
    FAULT_CUT_CONTROL /* both ways */
} fault_kind;

typedef struct {
    fault_kind kind;
    uint64_t at, length;
    int stage; /* of a link: its receiver */
} fault;

typedef struct {
    int32_t ids[TOKENS_MOST]; /* prompt, then what the model says */
    pk_request request;
    uint32_t expected; /* tokens */
    pk_finish finish;
    unsigned outcomes;
} sim_request;

typedef struct {
    uint64_t at;
    event_kind kind;
    int stage;
    uint64_t argument;
} past;

typedef struct {
    queue q;
    uint64_t seed, now, number; /* of the event */
    bool trace, ended;
    world_report *report;
    pk_protocol *protocol;
    pk_scheduler *scheduler;
    pk_scheduler_options limits;
    sim_stage stages[STAGES_MOST];
    int stage_count;
    sim_request requests[REQUESTS_MOST];
    uint32_t request_count, submitted, told;
    fault faults[FAULTS_MOST];
    size_t fault_count;
    bool earnest, recovers, draining; /* earnest: a fault has happened that may end a run */
    bool died;                        /* the event is the end of a stage that nobody had condemned */
    uint64_t quiet_ns;                /* when the last fault is over */
    uint64_t asleep_until;            /* the coordinator */
    uint64_t link_free[STAGES_MOST + 1], control_free[STAGES_MOST], hear_free[STAGES_MOST]; /* first in, first out */
    uint64_t link_cut[STAGES_MOST + 1], control_cut[STAGES_MOST];                           /* until */
    unsigned lose[STAGES_MOST + 1], doubles[STAGES_MOST + 1];
    uint64_t stale_until;
    uint32_t persisted;
    uint32_t bound;     /* the epoch of the coordinator's receiving links */
    uint32_t in_flight; /* a ghost's count */
    past history[HISTORY];
} world;

static void violate(world *w, const char *what)
{
    if (!w->report->violation[0])
        snprintf(w->report->violation, sizeof w->report->violation, "%s", what);
}

/* Index of what belongs to the link that `stage`, or the coordinator, receives on. */
static int link_to(int stage)
{
    return stage == PK_COORDINATOR ? STAGES_MOST : stage;
}

static int next_of(const world *w, int stage)
{
    return stage + 1 < w->stage_count ? stage + 1 : PK_COORDINATOR;
}

/* Puts an event behind all earlier ones of the same link. */
static void put_in_order(world *w, event e, uint64_t *link_free, uint64_t most_ns)
{
    uint64_t at = w->now + 10000 + dice_to(&w->q, most_ns);
    if (at < *link_free)
        at = *link_free;
    *link_free = at;
    e.at = at;
    queue_put(&w->q, e);
}

static void send_post(world *w, int to, post *mail)
{
    int link = link_to(to);
    uint64_t latency = dice_permille(&w->q, 20) ? 400 * MS : 2 * MS;
    bool lost = w->now < w->link_cut[link];
    if (!lost && w->lose[link]) {
        w->lose[link]--;
        lost = true;
    }
    if (lost) {
        free(mail);
        return;
    }
    if (w->doubles[link]) {
        w->doubles[link]--;
        put_in_order(w, (event){.kind = EVENT_DATA, .stage = to, .mail = post_copy(mail)}, &w->link_free[link],
                     latency);
    }
    put_in_order(w, (event){.kind = EVENT_DATA, .stage = to, .mail = mail}, &w->link_free[link], latency);
}

static void tell(world *w, size_t stage, pk_control_kind kind, uint32_t epoch)
{
    if ((kind == PK_CONTROL_ASSIGN || kind == PK_CONTROL_RESET) && epoch > w->persisted)
        violate(w, "a stage is told of an epoch that is not persisted");
    if (w->now >= w->control_cut[stage])
        put_in_order(w,
                     (event){.kind = EVENT_TELL,
                             .stage = (int)stage,
                             .incarnation = w->stages[stage].incarnation,
                             .said = kind,
                             .epoch = epoch},
                     &w->control_free[stage], 3 * MS);
}

static void say(world *w, const sim_stage *s, pk_control_kind kind)
{
    if (w->now >= w->control_cut[s->index])
        put_in_order(w,
                     (event){.kind = EVENT_HEAR,
                             .stage = s->index,
                             .incarnation = s->incarnation,
                             .said = kind,
                             .epoch = s->protocol.in.epoch,
                             .counters = stage_counters(s)},
                     &w->hear_free[s->index], 3 * MS);
}

static void put_for(world *w, const sim_stage *s, event_kind kind, uint64_t after_ns)
{
    queue_put(&w->q, (event){.kind = kind, .stage = s->index, .incarnation = s->incarnation, .at = w->now + after_ns});
}

static void die(world *w, sim_stage *s)
{
    if (!s->running)
        return;
    w->report->deaths++;
    stage_kill(s);
    put_for(w, s, EVENT_EXIT, dice_to(&w->q, 50 * MS));
}

/* The stage. */

static uint64_t work_ns(world *w, sim_stage *s, uint64_t most_ns)
{
    uint64_t hang = s->hang_next;
    s->hang_next = 0;
    return MS / 2 + dice_to(&w->q, most_ns) + hang;
}

static void fail(world *w, sim_stage *s)
{
    say(w, s, PK_CONTROL_ERROR);
    die(w, s);
}

static void obey(world *w, sim_stage *s, pk_duty duty)
{
    switch (duty) {
    case PK_DUTY_OPEN:
        s->loading = true;
        put_for(w, s, EVENT_LOADED, work_ns(w, s, 800 * MS));
        break;
    case PK_DUTY_RESET:
        stage_reset(s);
        say(w, s, PK_CONTROL_RESET_DONE);
        break;
    case PK_DUTY_ANSWER:
        say(w, s, PK_CONTROL_RESET_DONE);
        break;
    case PK_DUTY_LEAVE:
        say(w, s, PK_CONTROL_BYE);
        stage_kill(s);
        put_for(w, s, EVENT_EXIT, dice_to(&w->q, 50 * MS));
        break;
    case PK_DUTY_NONE:
    case PK_DUTY_STEP:
    case PK_DUTY_DROP:
        break;
    }
}

static void take_control(world *w, sim_stage *s)
{
    event e = s->controls[0];
    pk_control message = {.kind = e.said, .assignment.epoch = e.epoch};
    pk_duty duty;
    memmove(s->controls, s->controls + 1, --s->control_count * sizeof *s->controls);
    if (pk_stage_protocol_control(&s->protocol, &message, &duty))
        fail(w, s);
    else
        obey(w, s, duty);
}

static void take_batch(world *w, sim_stage *s)
{
    pk_duty duty;
    post *mail = s->inbox[0];
    memmove(s->inbox, s->inbox + 1, --s->inbox_count * sizeof *s->inbox);
    pk_err err = pk_stage_protocol_batch(&s->protocol, &mail->head, &duty);
    if (!err && duty == PK_DUTY_STEP) {
        s->at_work = mail;
        s->busy = true;
        put_for(w, s, EVENT_STEP_DONE, work_ns(w, s, 60 * MS));
        return;
    }
    free(mail);
    if (err)
        fail(w, s);
}

static bool can_work(const world *w, const sim_stage *s)
{
    return s->running && !s->busy && !s->loading && w->now >= s->stopped_until;
}

/* The main loop, as far as it gets now. */
static void run_stage(world *w, sim_stage *s)
{
    while (can_work(w, s) && (s->control_count || (s->ready && s->inbox_count)))
        if (s->control_count)
            take_control(w, s);
        else
            take_batch(w, s);
}

static void end_step(world *w, sim_stage *s)
{
    char violation[128];
    pk_err err = stage_apply(s, violation, sizeof violation);
    post *mail = s->at_work;
    s->at_work = NULL;
    s->busy = false;
    s->progress++;
    if (violation[0]) {
        char text[192];
        snprintf(text, sizeof text, "stage %d: %s", s->index, violation);
        violate(w, text);
    }
    if (err) {
        free(mail);
        fail(w, s);
        return;
    }
    pk_stage_protocol_sent(&s->protocol, &mail->head);
    mail->link_epoch = s->protocol.in.epoch;
    send_post(w, next_of(w, s->index), mail);
}

static void end_loading(world *w, sim_stage *s)
{
    s->loading = false;
    s->ready = true;
    s->progress++;
    say(w, s, PK_CONTROL_READY);
}

static void beat(world *w, sim_stage *s)
{
    if (s->loading && s->progress < UINT64_MAX)
        s->progress += 1; /* tensors come in */
    say(w, s, PK_CONTROL_BEAT);
    put_for(w, s, EVENT_BEAT, SECOND);
}

/* The coordinator. */

static post *pack_post(const pk_batch *head, const int32_t *ids)
{
    post mail = {.head = *head};
    uint64_t rows = pk_batch_rows(head);
    memcpy(mail.spans, head->spans, head->span_count * sizeof *head->spans);
    memcpy(mail.ops, head->ops, head->op_count * sizeof *head->ops);
    memcpy(mail.samples, head->samples, head->sample_count * sizeof *head->samples);
    for (uint64_t i = 0; i < rows; i++)
        mail.values[i] = (uint64_t)(uint32_t)ids[i];
    return post_copy(&mail);
}

static void fill_window(world *w)
{
    pk_batch head;
    const int32_t *ids;
    while (!w->ended && pk_protocol_flowing(w->protocol) && pk_scheduler_next(w->scheduler, &head, &ids)) {
        head.epoch = pk_protocol_epoch(w->protocol);
        pk_protocol_sent(w->protocol, 0, &head);
        if (++w->in_flight > (uint32_t)w->stage_count + 1)
            violate(w, "the window is exceeded");
        post *mail = pack_post(&head, ids);
        mail->link_epoch = head.epoch;
        send_post(w, 0, mail);
    }
}

static void check_outcome(world *w, const pk_outcome *outcome)
{
    sim_request *r = &w->requests[outcome->sequence];
    if (r->outcomes++)
        violate(w, "a request ends twice");
    if (outcome->finish != r->finish || outcome->token_count != r->expected ||
        memcmp(outcome->tokens, r->ids + r->request.count, r->expected * sizeof *r->ids) != 0)
        violate(w, "an answer is not that of the model");
}

static void start_drain(world *w)
{
    w->draining = true;
    pk_protocol_drain(w->protocol);
    queue_put(&w->q, (event){.kind = EVENT_DEADLINE, .stage = PK_COORDINATOR, .at = w->now + DRAIN_NS});
}

static void take_outcomes(world *w)
{
    pk_outcome outcome;
    while (pk_scheduler_outcome(w->scheduler, &outcome)) {
        check_outcome(w, &outcome);
        w->told++;
    }
    if (w->told == w->request_count && !w->draining)
        start_drain(w);
}

static void end_by_fault(world *w, pk_fault named)
{
    if (w->died && named != PK_FAULT_DIED)
        violate(w, "a death is called something else");
    w->ended = true;
    w->report->failed_clean = true;
    if (!w->earnest)
        violate(w, "the run fails though nothing was wrong");
    else if (w->recovers && !w->draining)
        violate(w, "the run fails though it could have gone on");
}

static void raise_epoch(world *w, uint32_t epoch)
{
    if (epoch != w->persisted + 1)
        violate(w, "an epoch is left out, or comes twice");
    w->persisted = w->bound = epoch;
    w->in_flight = 0;
    w->report->epochs++;
    pk_scheduler_reset(w->scheduler);
}

static void spawn(world *w, size_t index)
{
    sim_stage *s = &w->stages[index];
    if (s->running) {
        violate(w, "a process is started beside its predecessor");
        return;
    }
    stage_start(s, w->limits.sequences);
    if (s->incarnation > 1)
        w->report->recoveries++;
    put_for(w, s, EVENT_BEAT, dice_to(&w->q, SECOND));
    say(w, s, PK_CONTROL_HELLO);
}

static void perform(world *w, const pk_action *action)
{
    switch (action->kind) {
    case PK_ACT_START:
        spawn(w, action->member);
        break;
    case PK_ACT_ASSIGN:
        tell(w, action->member, PK_CONTROL_ASSIGN, action->epoch);
        break;
    case PK_ACT_RAISE:
        raise_epoch(w, action->epoch);
        break;
    case PK_ACT_RESET:
        tell(w, action->member, PK_CONTROL_RESET, action->epoch);
        break;
    case PK_ACT_FLOW:
        break;
    case PK_ACT_DRAIN:
        tell(w, action->member, PK_CONTROL_DRAIN, 0);
        break;
    case PK_ACT_KILL:
        if (!w->earnest)
            violate(w, "a stage is killed though nothing was wrong");
        w->stages[action->member].stopped_until = 0;
        die(w, &w->stages[action->member]);
        break;
    case PK_ACT_FAIL:
        end_by_fault(w, action->fault);
        break;
    }
}

/* What follows from the event, and what can be sent then. */
static void follow(world *w)
{
    pk_action action;
    while (pk_protocol_next(w->protocol, &action))
        perform(w, &action);
    if (w->ended)
        return;
    take_outcomes(w);
    while (pk_protocol_next(w->protocol, &action))
        perform(w, &action);
    fill_window(w);
}

static void take_answers(world *w, post *mail)
{
    if (mail->link_epoch != w->bound && w->now >= w->stale_until)
        return;
    pk_err err = pk_protocol_arrived(w->protocol, (size_t)w->stage_count - 1, &mail->head, w->now);
    if (err == PK_AGAIN)
        return;
    if (err) {
        end_by_fault(w, PK_FAULT_UNHEARD);
        return;
    }
    w->in_flight--;
    if (pk_scheduler_answer(w->scheduler, &mail->head, mail->answers))
        violate(w, pk_error_text());
}

static void hear(world *w, const event *e)
{
    pk_control message = {.kind = e->said, .assignment.epoch = e->epoch, .counters = e->counters};
    if (e->incarnation == w->stages[e->stage].incarnation)
        pk_protocol_message(w->protocol, (size_t)e->stage, &message, w->now);
}

static bool all_gone(const world *w)
{
    for (int i = 0; i < w->stage_count; i++)
        if (pk_protocol_state(w->protocol, (size_t)i) != PK_MEMBER_GONE)
            return false;
    return true;
}

static void end_of_drain(world *w)
{
    w->ended = true;
    if (!all_gone(w) && !w->earnest)
        violate(w, "a stage did not leave");
}

/* Faults. */

static uint64_t longest(fault_kind kind)
{
    switch (kind) {
    case FAULT_STALE:
        return 30 * SECOND;
    case FAULT_NAP:
        return 7 * SECOND;
    case FAULT_SLEEP:
        return 25 * SECOND;
    case FAULT_STOP:
        return 40 * SECOND;
    case FAULT_HANG:
        return 200 * SECOND;
    case FAULT_CUT:
    case FAULT_CUT_CONTROL:
        return 20 * SECOND;
    default:
        return 0;
    }
}

static void stop(world *w, sim_stage *s, uint64_t length_ns)
{
    if (!s->running || s->stopped_until >= w->now + length_ns)
        return;
    s->stopped_until = w->now + length_ns;
    put_for(w, s, EVENT_WAKE, length_ns);
}

static void strike(world *w, const fault *f)
{
    sim_stage *s = &w->stages[f->stage < 0 ? 0 : f->stage];
    int link = link_to(f->stage);
    uint64_t until = w->now + f->length;
    w->earnest |= f->kind >= FAULT_KILL;
    switch (f->kind) {
    case FAULT_NONE:
        break;
    case FAULT_RESET:
        pk_protocol_reset(w->protocol, w->now);
        break;
    case FAULT_STALE:
        w->stale_until = until;
        break;
    case FAULT_NAP:
        if (w->now > s->stopped_until + longest(FAULT_NAP)) /* two naps in a row are one stop */
            stop(w, s, f->length);
        break;
    case FAULT_STOP:
        stop(w, s, f->length);
        break;
    case FAULT_SLEEP:
        if (w->now >= w->asleep_until) /* else what waits for its end would lose its order */
            w->asleep_until = until;
        break;
    case FAULT_KILL:
        die(w, s);
        break;
    case FAULT_LOSE:
        w->lose[link]++;
        break;
    case FAULT_DOUBLE:
        w->doubles[link]++;
        break;
    case FAULT_HANG:
        s->hang_next = f->length;
        break;
    case FAULT_CUT:
        w->link_cut[link] = until;
        break;
    case FAULT_CUT_CONTROL:
        w->control_cut[s->index] = until;
        break;
    }
}

static void plan_faults(world *w)
{
    static const uint64_t spreads[] = {2 * SECOND, 8 * SECOND, 60 * SECOND};
    uint64_t spread = spreads[dice_to(&w->q, 2)];
    bool gentle = dice_permille(&w->q, 250);
    w->fault_count = dice_to(&w->q, FAULTS_MOST);
    for (size_t i = 0; i < w->fault_count; i++) {
        fault *f = &w->faults[i];
        f->kind = (fault_kind)(1 + dice_to(&w->q, gentle ? FAULT_SLEEP - 1 : FAULT_CUT_CONTROL - 1));
        f->at = dice_to(&w->q, spread);
        f->length = dice_to(&w->q, longest(f->kind));
        f->stage = (int)dice_to(&w->q, (uint64_t)w->stage_count) - 1;
        if (f->at + f->length > w->quiet_ns)
            w->quiet_ns = f->at + f->length;
        queue_put(&w->q, (event){.kind = EVENT_FAULT, .stage = f->stage, .at = f->at, .argument = i});
    }
}

/* The set-up. */

/* What the model answers, without stages, batches or accidents. */
static void foresee(world *w, sim_request *r)
{
    uint64_t states[STAGES_MOST] = {0};
    uint32_t total = r->request.count;
    r->finish = r->request.max_tokens ? PK_FINISH_LENGTH : PK_FINISH_NONE;
    for (uint32_t i = 0; i < total; i++) {
        uint64_t row = (uint64_t)(uint32_t)r->ids[i];
        for (int stage = 0; stage < w->stage_count - 1; stage++)
            row = states[stage] = model_row(states[stage], row, stage);
        if (i + 1 < total || r->expected == r->request.max_tokens)
            continue;
        r->ids[total++] = model_token(row);
        r->expected++;
        if (r->ids[total - 1] == MODEL_END) {
            r->finish = PK_FINISH_STOP;
            break;
        }
    }
}

static void make_requests(world *w)
{
    w->request_count = 1 + (uint32_t)dice_to(&w->q, REQUESTS_MOST - 1);
    for (uint32_t i = 0; i < w->request_count; i++) {
        sim_request *r = &w->requests[i];
        uint32_t id;
        r->request = (pk_request){.count = 1 + (uint32_t)dice_to(&w->q, 39),
                                  .max_tokens = (uint32_t)dice_to(&w->q, 12),
                                  .decode_from = dice_permille(&w->q, 100) ? 5 : UINT32_MAX};
        for (uint32_t k = 0; k < r->request.count; k++)
            r->ids[k] = (int32_t)dice_to(&w->q, MODEL_VOCABULARY - 1);
        foresee(w, r);
        r->request.ids = r->ids;
        if (pk_scheduler_submit(w->scheduler, &r->request, &id) || id != i)
            violate(w, "a request is refused");
    }
}

static void open_world(world *w)
{
    static const int32_t end = MODEL_END;
    int nexts[STAGES_MOST];
    w->stage_count = 2 + (int)dice_to(&w->q, STAGES_MOST - 2);
    w->recovers = dice_permille(&w->q, 600);
    for (int i = 0; i < w->stage_count; i++) {
        w->stages[i].index = i;
        w->stages[i].head = i + 1 == w->stage_count;
        nexts[i] = next_of(w, i);
    }
    w->limits = (pk_scheduler_options){.batch_rows = 1 + (uint32_t)dice_to(&w->q, ROWS_MOST - 1),
                                       .sequences = 1 + (uint32_t)dice_to(&w->q, 3),
                                       .context = TOKENS_MOST,
                                       .window = (uint32_t)w->stage_count + 1,
                                       .stages = (uint32_t)w->stage_count - 1,
                                       .kv_tokens = TOKENS_MOST + dice_to(&w->q, 2 * TOKENS_MOST),
                                       .end_tokens = &end,
                                       .end_token_count = 1};
    w->persisted = w->bound = 1;
    if (pk_protocol_open(&w->protocol, (pk_protocol_options){.next = nexts,
                                                             .count = (size_t)w->stage_count,
                                                             .epoch = 1,
                                                             .silent_ns = 10 * SECOND,
                                                             .hung_ns = 30 * SECOND,
                                                             .recoveries = w->recovers ? RECOVERIES : 0}) ||
        pk_scheduler_open(&w->scheduler, w->limits))
        abort();
    make_requests(w);
    plan_faults(w);
    queue_put(&w->q, (event){.kind = EVENT_TICK, .stage = PK_COORDINATOR, .at = SECOND / 2});
    follow(w);
}

static void close_world(world *w)
{
    for (int i = 0; i < w->stage_count; i++)
        stage_kill(&w->stages[i]);
    pk_protocol_close(&w->protocol);
    pk_scheduler_close(&w->scheduler);
    queue_fini(&w->q);
}

/* The events. */

static void print_past(const past *p, uint64_t number)
{
    char who[16] = "coordinator";
    if (p->stage != PK_COORDINATOR)
        snprintf(who, sizeof who, "stage %d", p->stage);
    fprintf(stderr, "  %8" PRIu64 "  %12.6f s  %-8s %-11s %" PRIu64 "\n", number, (double)p->at / 1e9,
            event_word(p->kind), who, p->argument);
}

static void remember(world *w, const event *e)
{
    past *p = &w->history[w->number % HISTORY];
    *p = (past){.at = e->at, .kind = e->kind, .stage = e->stage, .argument = e->argument};
    if (e->kind == EVENT_DATA)
        p->argument = e->mail->head.number;
    else if (e->kind == EVENT_TELL || e->kind == EVENT_HEAR)
        p->argument = (uint64_t)e->said;
    else if (e->kind == EVENT_FAULT)
        p->argument = (uint64_t)w->faults[e->argument].kind;
    if (w->trace)
        print_past(p, w->number);
}

static bool for_coordinator(const event *e)
{
    return e->kind == EVENT_HEAR || e->kind == EVENT_EXIT || e->kind == EVENT_TICK || e->kind == EVENT_DEADLINE ||
           (e->kind == EVENT_DATA && e->stage == PK_COORDINATOR);
}

/* A process that is stopped does nothing: what comes waits for it. */
static bool postponed(world *w, event *e)
{
    const sim_stage *s = e->stage == PK_COORDINATOR ? NULL : &w->stages[e->stage];
    bool own = e->kind == EVENT_STEP_DONE || e->kind == EVENT_LOADED || e->kind == EVENT_BEAT;
    uint64_t until = for_coordinator(e) ? w->asleep_until : own && s ? s->stopped_until : 0;
    if (until <= w->now)
        return false;
    e->at = until;
    queue_put(&w->q, *e);
    return true;
}

static void deliver(world *w, event *e)
{
    sim_stage *s = &w->stages[e->stage];
    bool bound = s->ready && (e->mail->link_epoch == s->protocol.in.epoch || w->now < w->stale_until);
    if (!s->running || !bound || s->inbox_count == INBOX_MOST)
        return;
    s->inbox[s->inbox_count++] = e->mail;
    e->mail = NULL;
}

static void stage_event(world *w, event *e)
{
    sim_stage *s = &w->stages[e->stage];
    bool own = e->kind != EVENT_DATA;
    if (own && (e->incarnation != s->incarnation || !s->running))
        return;
    if (e->kind == EVENT_DATA)
        deliver(w, e);
    else if (e->kind == EVENT_TELL && s->control_count < sizeof s->controls / sizeof *s->controls)
        s->controls[s->control_count++] = *e;
    else if (e->kind == EVENT_LOADED)
        end_loading(w, s);
    else if (e->kind == EVENT_STEP_DONE)
        end_step(w, s);
    else if (e->kind == EVENT_BEAT)
        beat(w, s);
    run_stage(w, s);
}

static void coordinator_event(world *w, event *e)
{
    if (e->kind == EVENT_DATA)
        take_answers(w, e->mail);
    else if (e->kind == EVENT_HEAR)
        hear(w, e);
    else if (e->kind == EVENT_EXIT) {
        w->died = pk_protocol_state(w->protocol, (size_t)e->stage) != PK_MEMBER_CONDEMNED;
        pk_protocol_exited(w->protocol, (size_t)e->stage, w->now);
    }
    else if (e->kind == EVENT_DEADLINE)
        end_of_drain(w);
    else if (e->kind == EVENT_TICK) {
        pk_protocol_tick(w->protocol, w->now);
        queue_put(&w->q, (event){.kind = EVENT_TICK, .stage = PK_COORDINATOR, .at = w->now + SECOND / 2});
    }
}

static void happen(world *w, event *e)
{
    w->now = e->at;
    if (postponed(w, e)) {
        e->mail = NULL;
        return;
    }
    w->number++;
    w->died = false;
    remember(w, e);
    if (e->kind == EVENT_FAULT)
        strike(w, &w->faults[e->argument]);
    else if (for_coordinator(e))
        coordinator_event(w, e);
    else
        stage_event(w, e);
    if (!w->ended)
        follow(w);
    if (w->draining && all_gone(w))
        w->ended = true;
    if (w->now > w->quiet_ns + PATIENCE_NS)
        violate(w, "the run hangs");
}

static void print_failure(const world *w)
{
    fprintf(stderr, "seed %" PRIu64 ": %s\n  at %.6f s, event %" PRIu64 "; %d stages, %s; the last events:\n", w->seed,
            w->report->violation, (double)w->now / 1e9, w->number, w->stage_count,
            w->recovers ? "faults are recovered from" : "a fault is the end");
    for (uint64_t i = w->number >= HISTORY ? w->number - HISTORY + 1 : 1; i <= w->number; i++)
        print_past(&w->history[i % HISTORY], i);
}

void world_run(uint64_t seed, bool trace, world_report *report)
{
    world *w = calloc(1, sizeof *w);
    if (!w)
        abort();
    *report = (world_report){.epochs = 1};
    w->seed = seed;
    w->trace = trace;
    w->report = report;
    queue_init(&w->q, seed);
    open_world(w);
    while (!w->ended && !report->violation[0] && w->q.count) {
        event e = queue_take(&w->q);
        happen(w, &e);
        free(e.mail);
    }
    if (!w->ended)
        violate(w, "nothing happens any more");
    if (!report->failed_clean && w->told != w->request_count)
        violate(w, "a request has no end");
    report->events = w->number;
    report->virtual_ns = w->now;
    if (report->violation[0])
        print_failure(w);
    close_world(w);
    free(w);
}
