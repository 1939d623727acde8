/* The table: every cell has an answer, and the lives that matter. No process is forked. */
#include "pipeline/supervisor.h"
#include "tests/unit/cmocka_all.h"

#include <stddef.h>

static void every_cell_has_an_answer(void **state)
{
    (void)state;
    for (int event = 0; event < PK_MEMBER_EVENT_COUNT; event++)
        for (int from = 0; from < PK_MEMBER_STATE_COUNT; from++) {
            pk_transition t = pk_supervisor_decide((pk_member_state)from, (pk_member_event)event);
            assert_in_range(t.next, 0, PK_MEMBER_STATE_COUNT - 1);
            assert_in_range(t.reaction, 0, PK_REACT_BURY);
            /* A cell that was left out would read as "gone, nothing": only a gone one may answer so. */
            if (from != PK_MEMBER_GONE && t.next == PK_MEMBER_GONE)
                assert_int_equal(event, PK_EVENT_EXIT);
            if (t.next == PK_MEMBER_GONE)
                assert_int_not_equal(from == PK_MEMBER_GONE, t.reaction != PK_REACT_NOT);
        }
}

typedef struct {
    pk_member_event event;
    pk_member_state next;
    pk_reaction reaction;
} step;

static void live_through(const step *steps, size_t count)
{
    pk_member_state at = PK_MEMBER_GONE;
    for (size_t i = 0; i < count; i++) {
        pk_transition t = pk_supervisor_decide(at, steps[i].event);
        assert_int_equal(t.next, steps[i].next);
        assert_int_equal(t.reaction, steps[i].reaction);
        at = t.next;
    }
}

#define LIFE(...) live_through((const step[]){__VA_ARGS__}, sizeof((const step[]){__VA_ARGS__}) / sizeof(step))

static void a_stage_is_started_assigned_reset_drained_and_buried(void **state)
{
    (void)state;
    LIFE({PK_EVENT_START, PK_MEMBER_STARTING, PK_REACT_START}, {PK_EVENT_BEAT, PK_MEMBER_STARTING, PK_REACT_NOTE},
         {PK_EVENT_HELLO, PK_MEMBER_LOADING, PK_REACT_ASSIGN}, {PK_EVENT_PROGRESS, PK_MEMBER_LOADING, PK_REACT_NOTE},
         {PK_EVENT_READY, PK_MEMBER_READY, PK_REACT_JOIN}, {PK_EVENT_RESET, PK_MEMBER_RESETTING, PK_REACT_RESET},
         {PK_EVENT_RESET, PK_MEMBER_RESETTING, PK_REACT_RESET},
         {PK_EVENT_RESET_DONE, PK_MEMBER_READY, PK_REACT_JOIN}, {PK_EVENT_DRAIN, PK_MEMBER_DRAINING, PK_REACT_DRAIN},
         {PK_EVENT_BYE, PK_MEMBER_LEFT, PK_REACT_NOTE}, {PK_EVENT_BEAT, PK_MEMBER_LEFT, PK_REACT_NOTE},
         {PK_EVENT_EXIT, PK_MEMBER_GONE, PK_REACT_BURY});
}

static void a_death_is_mourned_in_every_state_but_the_last(void **state)
{
    static const pk_member_state alive[] = {PK_MEMBER_STARTING, PK_MEMBER_LOADING, PK_MEMBER_READY,
                                            PK_MEMBER_RESETTING, PK_MEMBER_CONDEMNED};
    (void)state;
    for (size_t i = 0; i < sizeof alive / sizeof *alive; i++)
        assert_int_equal(pk_supervisor_decide(alive[i], PK_EVENT_EXIT).reaction, PK_REACT_MOURN);
    assert_int_equal(pk_supervisor_decide(PK_MEMBER_DRAINING, PK_EVENT_EXIT).reaction, PK_REACT_BURY);
    assert_int_equal(pk_supervisor_decide(PK_MEMBER_LEFT, PK_EVENT_EXIT).reaction, PK_REACT_BURY);
}

static void from_condemned_only_the_exit_leads_on(void **state)
{
    (void)state;
    for (int event = 0; event < PK_MEMBER_EVENT_COUNT; event++)
        if (event != PK_EVENT_EXIT) {
            pk_transition t = pk_supervisor_decide(PK_MEMBER_CONDEMNED, (pk_member_event)event);
            assert_int_equal(t.next, PK_MEMBER_CONDEMNED);
            assert_int_equal(t.reaction, PK_REACT_NOT);
        }
}

static void who_says_what_does_not_belong_is_condemned(void **state)
{
    static const struct {
        pk_member_state state;
        pk_member_event event;
    } breaches[] = {
        {PK_MEMBER_LOADING, PK_EVENT_HELLO},   {PK_MEMBER_STARTING, PK_EVENT_READY},
        {PK_MEMBER_READY, PK_EVENT_READY},     {PK_MEMBER_READY, PK_EVENT_BYE},
        {PK_MEMBER_LOADING, PK_EVENT_RESET_DONE}, {PK_MEMBER_READY, PK_EVENT_OTHER},
        {PK_MEMBER_LEFT, PK_EVENT_HELLO},
    };
    (void)state;
    for (size_t i = 0; i < sizeof breaches / sizeof *breaches; i++)
        assert_int_equal(pk_supervisor_decide(breaches[i].state, breaches[i].event).reaction, PK_REACT_CONDEMN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_cell_has_an_answer),
        cmocka_unit_test(a_stage_is_started_assigned_reset_drained_and_buried),
        cmocka_unit_test(a_death_is_mourned_in_every_state_but_the_last),
        cmocka_unit_test(from_condemned_only_the_exit_leads_on),
        cmocka_unit_test(who_says_what_does_not_belong_is_condemned),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
