/* The coordinator's protocol core by hand: two layers stages and a head, a clock that only moves when told. */
#include "pipeline/protocol.h"
#include "tests/unit/cmocka_all.h"

#include <stdlib.h>
#include <string.h>

enum { LOW, HIGH, HEAD, TEXT, MEMBERS };
#define SECOND UINT64_C(1000000000)

static const int nexts[MEMBERS] = {
    [LOW] = HIGH, [HIGH] = HEAD, [HEAD] = PK_COORDINATOR, [TEXT] = PK_COORDINATOR};

typedef struct {
    pk_protocol *p;
    uint64_t now;
    pk_stage_counters counters[MEMBERS];
    pk_action actions[32]; /* of the last event */
    size_t count;
} bench;

static void take_actions(bench *b)
{
    b->count = 0;
    while (pk_protocol_next(b->p, &b->actions[b->count]))
        b->count++;
}

static void say(bench *b, size_t member, pk_control_kind kind)
{
    pk_control *message = calloc(1, sizeof *message);
    assert_non_null(message);
    message->kind = kind;
    message->counters = b->counters[member];
    message->assignment.epoch = pk_protocol_epoch(b->p);
    pk_protocol_message(b->p, member, message, b->now);
    free(message);
    take_actions(b);
}

static const pk_action *find(const bench *b, pk_action_kind kind, size_t member)
{
    for (size_t i = 0; i < b->count; i++)
        if (b->actions[i].kind == kind && b->actions[i].member == member)
            return &b->actions[i];
    return NULL;
}

/* Time passes, with a beat of everybody each second but for `silent`; true when something followed. */
static bool pass(bench *b, unsigned seconds, int silent)
{
    for (unsigned i = 0; i < seconds; i++) {
        b->now += SECOND;
        for (size_t member = 0; member < MEMBERS; member++)
            if ((int)member != silent) {
                say(b, member, PK_CONTROL_BEAT);
                if (b->count)
                    return true;
            }
        pk_protocol_tick(b->p, b->now);
        take_actions(b);
        if (b->count)
            return true;
    }
    return false;
}

static void assert_fails(const bench *b, size_t member, pk_fault fault)
{
    const pk_action *fail = find(b, PK_ACT_FAIL, member);
    assert_non_null(fail);
    assert_int_equal(fail->fault, fault);
    assert_int_equal(fail->seconds, fault == PK_FAULT_SILENT  ? 10
                                    : fault == PK_FAULT_HUNG  ? 30
                                    : fault == PK_FAULT_STUCK ? 300
                                                              : 0);
}

static bench *open_bench(uint32_t recoveries)
{
    bench *b = calloc(1, sizeof *b);
    assert_non_null(b);
    b->now = 100 * SECOND;
    assert_int_equal(pk_protocol_open(&b->p, (pk_protocol_options){.next = nexts,
                                                                   .count = MEMBERS,
                                                                   .epoch = 7,
                                                                   .recoveries = recoveries,
                                                                   .silent_ns = 10 * SECOND,
                                                                   .hung_ns = 30 * SECOND,
                                                                   .now = b->now}),
                     PK_OK);
    take_actions(b);
    return b;
}

static void stand(bench *b, size_t member)
{
    b->counters[member] = (pk_stage_counters){.waiting_on = PK_WAIT_BATCH, .epoch = pk_protocol_epoch(b->p)};
}

static bench *open_ready(uint32_t recoveries)
{
    bench *b = open_bench(recoveries);
    for (size_t member = 0; member < MEMBERS; member++) {
        say(b, member, PK_CONTROL_HELLO);
        say(b, member, PK_CONTROL_READY);
        stand(b, member);
    }
    assert_true(pk_protocol_flowing(b->p));
    return b;
}

static void close_bench(bench *b)
{
    pk_protocol_close(&b->p);
    assert_null(b->p);
    free(b);
}

static void batches_flow_when_the_last_one_is_ready(void **state)
{
    bench *b = open_bench(0);
    (void)state;
    assert_int_equal(b->count, MEMBERS);
    for (size_t member = 0; member < MEMBERS; member++) {
        say(b, member, PK_CONTROL_HELLO);
        assert_int_equal(find(b, PK_ACT_ASSIGN, member)->epoch, 7);
        assert_false(pk_protocol_flowing(b->p));
        say(b, member, PK_CONTROL_READY);
    }
    assert_int_equal(b->actions[0].kind, PK_ACT_FLOW);
    assert_true(pk_protocol_flowing(b->p));
    close_bench(b);
}

static void a_reset_is_a_barrier_that_begins_with_the_epoch(void **state)
{
    bench *b = open_ready(0);
    (void)state;
    pk_protocol_reset(b->p, b->now);
    take_actions(b);
    assert_int_equal(b->count, 1 + MEMBERS);
    assert_int_equal(b->actions[0].kind, PK_ACT_RAISE);
    assert_int_equal(b->actions[0].epoch, 8);
    assert_false(pk_protocol_flowing(b->p));
    for (size_t member = 0; member < MEMBERS; member++) {
        assert_int_equal(b->actions[1 + member].kind, PK_ACT_RESET);
        assert_int_equal(b->actions[1 + member].epoch, 8);
    }
    for (size_t member = MEMBERS; member-- > 0;) {
        assert_false(pk_protocol_flowing(b->p));
        say(b, member, PK_CONTROL_RESET_DONE);
    }
    assert_true(pk_protocol_flowing(b->p));
    close_bench(b);
}

static void the_answer_to_an_overtaken_reset_does_not_count(void **state)
{
    bench *b = open_ready(0);
    pk_control *old = calloc(1, sizeof *old);
    (void)state;
    assert_non_null(old);
    pk_protocol_reset(b->p, b->now);
    pk_protocol_reset(b->p, b->now);
    take_actions(b);
    assert_int_equal(pk_protocol_epoch(b->p), 9);
    *old = (pk_control){.kind = PK_CONTROL_RESET_DONE, .assignment.epoch = 8};
    for (size_t member = 0; member < MEMBERS; member++)
        pk_protocol_message(b->p, member, old, b->now);
    free(old);
    assert_false(pk_protocol_flowing(b->p));
    for (size_t member = 0; member < MEMBERS; member++)
        say(b, member, PK_CONTROL_RESET_DONE);
    assert_true(pk_protocol_flowing(b->p));
    close_bench(b);
}

static void who_loads_during_a_reset_is_reset_when_it_is_ready(void **state)
{
    bench *b = open_bench(0);
    (void)state;
    say(b, LOW, PK_CONTROL_HELLO);
    pk_protocol_reset(b->p, b->now);
    take_actions(b);
    assert_null(find(b, PK_ACT_RESET, LOW));
    say(b, LOW, PK_CONTROL_READY);
    assert_int_equal(find(b, PK_ACT_RESET, LOW)->epoch, 8);
    say(b, HIGH, PK_CONTROL_HELLO);
    assert_int_equal(find(b, PK_ACT_ASSIGN, HIGH)->epoch, 8);
    close_bench(b);
}

static void silence_is_found_after_ten_seconds(void **state)
{
    bench *b = open_ready(0);
    (void)state;
    say(b, HIGH, PK_CONTROL_BEAT);
    assert_false(pass(b, 10, HIGH));
    assert_true(pass(b, 1, HIGH));
    assert_fails(b, HIGH, PK_FAULT_SILENT);
    close_bench(b);
}

static void a_stage_that_stands_still_hangs(void **state)
{
    bench *b = open_ready(0);
    (void)state;
    b->counters[HIGH].waiting_on = PK_WAIT_NONE;
    b->counters[HIGH].progress = 5;
    assert_false(pass(b, 31, PK_COORDINATOR));
    assert_true(pass(b, 1, PK_COORDINATOR));
    assert_fails(b, HIGH, PK_FAULT_HUNG);
    close_bench(b);
}

static void the_blame_follows_to_the_end_of_the_waiting(void **state)
{
    bench *b = open_ready(0);
    (void)state;
    b->counters[LOW].waiting_on = b->counters[HIGH].waiting_on = PK_WAIT_NEXT;
    b->counters[HEAD].waiting_on = PK_WAIT_NONE;
    assert_true(pass(b, 32, PK_COORDINATOR));
    assert_null(find(b, PK_ACT_FAIL, LOW));
    assert_fails(b, HEAD, PK_FAULT_HUNG);
    close_bench(b);
}

static void who_waits_for_one_that_works_is_not_blamed(void **state)
{
    bench *b = open_ready(0);
    (void)state;
    b->counters[LOW].waiting_on = PK_WAIT_NEXT;
    b->counters[HIGH].waiting_on = PK_WAIT_NONE;
    for (int i = 0; i < 100; i++) {
        b->counters[HIGH].progress++;
        assert_false(pass(b, 1, PK_COORDINATOR));
    }
    close_bench(b);
}

static void who_waits_for_the_coordinator_is_not_blamed(void **state)
{
    bench *b = open_ready(0);
    (void)state;
    b->counters[HEAD].waiting_on = PK_WAIT_NEXT;
    b->counters[LOW].waiting_on = PK_WAIT_TRACE;
    assert_false(pass(b, 100, PK_COORDINATOR));
    close_bench(b);
}

static void a_stage_may_load_as_long_as_it_makes_progress(void **state)
{
    bench *b = open_bench(0);
    (void)state;
    for (size_t member = 0; member < MEMBERS; member++)
        say(b, member, PK_CONTROL_HELLO);
    for (int i = 0; i < 20; i++) {
        assert_false(pass(b, 100, PK_COORDINATOR));
        for (size_t member = 0; member < MEMBERS; member++)
            b->counters[member].progress++;
    }
    assert_true(pass(b, 310, PK_COORDINATOR));
    assert_fails(b, LOW, PK_FAULT_STUCK);
    close_bench(b);
}

static void a_coordinator_that_slept_blames_nobody(void **state)
{
    bench *b = open_ready(0);
    (void)state;
    b->now += 60 * SECOND;
    pk_protocol_tick(b->p, b->now);
    take_actions(b);
    assert_int_equal(b->count, 0);
    assert_false(pass(b, 20, PK_COORDINATOR));
    close_bench(b);
}

static void send(bench *b, uint64_t number)
{
    pk_protocol_sent(b->p, LOW, &(pk_batch){.epoch = pk_protocol_epoch(b->p), .number = number});
}

static void the_last_batch_is_missed_without_another_behind_it(void **state)
{
    bench *b = open_ready(0);
    (void)state;
    send(b, 1);
    assert_true(pass(b, 20, PK_COORDINATOR));
    assert_fails(b, LOW, PK_FAULT_LOST);
    close_bench(b);
}

static void a_batch_lost_between_two_stages_is_missed(void **state)
{
    bench *b = open_ready(0);
    (void)state;
    send(b, 3);
    b->counters[LOW].last_in = b->counters[LOW].last_out = 3;
    b->counters[HIGH].last_in = b->counters[HIGH].last_out = 2;
    b->counters[HEAD].last_in = 2;
    assert_true(pass(b, 20, PK_COORDINATOR));
    assert_fails(b, HIGH, PK_FAULT_LOST);
    close_bench(b);
}

static void an_answer_that_does_not_come_is_missed(void **state)
{
    bench *b = open_ready(0);
    (void)state;
    b->counters[HEAD].last_out = 1;
    assert_true(pass(b, 20, PK_COORDINATOR));
    assert_fails(b, HEAD, PK_FAULT_UNHEARD);
    close_bench(b);
}

static void figures_of_another_epoch_say_nothing_about_losses(void **state)
{
    bench *b = open_ready(0);
    (void)state;
    send(b, 1);
    b->counters[LOW].epoch = b->counters[HEAD].epoch = 6;
    b->counters[HEAD].last_out = 9;
    assert_false(pass(b, 60, PK_COORDINATOR));
    close_bench(b);
}

static void a_batch_that_is_not_the_next_one_is_a_gap(void **state)
{
    bench *b = open_ready(0);
    (void)state;
    assert_int_equal(pk_protocol_arrived(b->p, HEAD, &(pk_batch){.epoch = 6, .number = 1}, b->now), PK_AGAIN);
    assert_int_equal(pk_protocol_arrived(b->p, HEAD, &(pk_batch){.epoch = 7, .number = 1}, b->now), PK_OK);
    assert_int_equal(pk_protocol_arrived(b->p, HEAD, &(pk_batch){.epoch = 7, .number = 3}, b->now), PK_PEER);
    assert_string_equal(pk_error_text(), "batch 3 came after batch 1: batches were lost");
    assert_int_equal(pk_protocol_dropped(b->p), 1);
    close_bench(b);
}

static void logits_go_before_the_answers_of_their_number(void **state)
{
    bench *b = open_ready(0);
    const pk_batch logits = {.kind = PK_KIND_LOGITS, .epoch = 7, .number = 1},
                   answers = {.kind = PK_KIND_ANSWERS, .epoch = 7, .number = 1};
    (void)state;
    assert_int_equal(pk_protocol_arrived(b->p, HEAD, &logits, b->now), PK_OK);
    assert_int_equal(pk_protocol_arrived(b->p, HEAD, &answers, b->now), PK_OK);
    assert_int_equal(pk_protocol_arrived(b->p, HEAD, &logits, b->now), PK_PEER);
    close_bench(b);
}

static void a_death_is_the_end_where_nothing_is_recovered(void **state)
{
    bench *b = open_ready(0);
    (void)state;
    send(b, 1);
    b->counters[HEAD].last_out = 1;
    assert_false(pass(b, 5, PK_COORDINATOR)); /* what is suspected is not said */
    pk_protocol_exited(b->p, HIGH, b->now);
    take_actions(b);
    assert_int_equal(b->count, 1);
    assert_fails(b, HIGH, PK_FAULT_DIED);
    pk_protocol_exited(b->p, LOW, b->now);
    take_actions(b);
    assert_int_equal(b->count, 0); /* the first one is to blame, and it is said once */
    close_bench(b);
}

static void a_recovery_raises_the_epoch_and_starts_the_dead_again(void **state)
{
    bench *b = open_ready(1);
    (void)state;
    pk_protocol_exited(b->p, HIGH, b->now);
    take_actions(b);
    assert_int_equal(b->actions[0].kind, PK_ACT_RAISE);
    assert_non_null(find(b, PK_ACT_START, HIGH));
    assert_non_null(find(b, PK_ACT_RESET, LOW));
    assert_null(find(b, PK_ACT_RESET, HIGH));
    say(b, HIGH, PK_CONTROL_HELLO);
    assert_int_equal(find(b, PK_ACT_ASSIGN, HIGH)->epoch, 8);
    for (size_t member = 0; member < MEMBERS; member++)
        if (member != HIGH)
            say(b, member, PK_CONTROL_RESET_DONE);
    assert_false(pk_protocol_flowing(b->p));
    say(b, HIGH, PK_CONTROL_READY);
    assert_true(pk_protocol_flowing(b->p));
    pk_protocol_exited(b->p, LOW, b->now); /* once was all */
    take_actions(b);
    assert_fails(b, LOW, PK_FAULT_DIED);
    close_bench(b);
}

static void a_stalled_stage_is_killed_before_it_is_started_again(void **state)
{
    bench *b = open_ready(1);
    (void)state;
    assert_true(pass(b, 12, HIGH));
    assert_int_equal(b->count, 1);
    assert_non_null(find(b, PK_ACT_KILL, HIGH));
    say(b, HIGH, PK_CONTROL_BEAT); /* too late */
    assert_int_equal(pk_protocol_state(b->p, HIGH), PK_MEMBER_CONDEMNED);
    pk_protocol_exited(b->p, HIGH, b->now);
    take_actions(b);
    assert_non_null(find(b, PK_ACT_START, HIGH));
    close_bench(b);
}

static void a_breach_is_named_with_word_and_state(void **state)
{
    bench *b = open_ready(0);
    (void)state;
    say(b, LOW, PK_CONTROL_READY);
    assert_fails(b, LOW, PK_FAULT_BREACH);
    assert_int_equal(find(b, PK_ACT_FAIL, LOW)->event, PK_EVENT_READY);
    assert_int_equal(find(b, PK_ACT_FAIL, LOW)->state, PK_MEMBER_READY);
    close_bench(b);
}

static void a_drained_run_buries_its_stages_in_silence(void **state)
{
    bench *b = open_ready(0);
    (void)state;
    pk_protocol_drain(b->p);
    take_actions(b);
    assert_int_equal(b->count, MEMBERS);
    pk_protocol_reset(b->p, b->now);
    take_actions(b);
    assert_int_equal(b->count, 0);
    for (size_t member = 0; member < MEMBERS; member++) {
        say(b, member, PK_CONTROL_BYE);
        pk_protocol_exited(b->p, member, b->now);
        take_actions(b);
        assert_int_equal(b->count, 0);
        assert_int_equal(pk_protocol_state(b->p, member), PK_MEMBER_GONE);
    }
    close_bench(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(batches_flow_when_the_last_one_is_ready),
        cmocka_unit_test(a_reset_is_a_barrier_that_begins_with_the_epoch),
        cmocka_unit_test(the_answer_to_an_overtaken_reset_does_not_count),
        cmocka_unit_test(who_loads_during_a_reset_is_reset_when_it_is_ready),
        cmocka_unit_test(silence_is_found_after_ten_seconds),
        cmocka_unit_test(a_stage_that_stands_still_hangs),
        cmocka_unit_test(the_blame_follows_to_the_end_of_the_waiting),
        cmocka_unit_test(who_waits_for_one_that_works_is_not_blamed),
        cmocka_unit_test(who_waits_for_the_coordinator_is_not_blamed),
        cmocka_unit_test(a_stage_may_load_as_long_as_it_makes_progress),
        cmocka_unit_test(a_coordinator_that_slept_blames_nobody),
        cmocka_unit_test(the_last_batch_is_missed_without_another_behind_it),
        cmocka_unit_test(a_batch_lost_between_two_stages_is_missed),
        cmocka_unit_test(an_answer_that_does_not_come_is_missed),
        cmocka_unit_test(figures_of_another_epoch_say_nothing_about_losses),
        cmocka_unit_test(a_batch_that_is_not_the_next_one_is_a_gap),
        cmocka_unit_test(logits_go_before_the_answers_of_their_number),
        cmocka_unit_test(a_death_is_the_end_where_nothing_is_recovered),
        cmocka_unit_test(a_recovery_raises_the_epoch_and_starts_the_dead_again),
        cmocka_unit_test(a_stalled_stage_is_killed_before_it_is_started_again),
        cmocka_unit_test(a_breach_is_named_with_word_and_state),
        cmocka_unit_test(a_drained_run_buries_its_stages_in_silence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
