#include "stages/slots.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static int open_slots(void **state)
{
    return pk_slots_open((pk_slots **)state, 2);
}

static int close_slots(void **state)
{
    pk_slots_close((pk_slots **)state);
    return 0;
}

static void a_sequence_keeps_its_slot_until_it_gives_it_back(void **state)
{
    size_t a, b, found;
    assert_int_equal(pk_slots_take(*state, 7, 10, &a), PK_OK);
    assert_int_equal(pk_slots_take(*state, 0, 10, &b), PK_OK);
    assert_int_not_equal(a, b);
    assert_int_equal(pk_slots_find(*state, 7, &found), PK_OK);
    assert_int_equal(found, a);
    pk_slots_give(*state, a);
    assert_int_equal(pk_slots_find(*state, 7, &found), PK_PEER);
    assert_int_equal(pk_slots_find(*state, 0, &found), PK_OK);
    assert_int_equal(pk_slots_take(*state, 9, 10, &found), PK_OK);
    assert_int_equal(found, a);
}

static void a_sequence_starts_only_once(void **state)
{
    size_t slot;
    assert_int_equal(pk_slots_take(*state, 7, 10, &slot), PK_OK);
    assert_int_equal(pk_slots_take(*state, 7, 10, &slot), PK_PEER);
    assert_non_null(strstr(pk_error_text(), "sequence 7 starts, but it is here already"));
}

static void more_sequences_than_slots_are_refused(void **state)
{
    size_t slot;
    assert_int_equal(pk_slots_take(*state, 1, 10, &slot), PK_OK);
    assert_int_equal(pk_slots_take(*state, 2, 10, &slot), PK_OK);
    assert_int_equal(pk_slots_take(*state, 3, 10, &slot), PK_PEER);
    assert_non_null(strstr(pk_error_text(), "all 2 slots are taken"));
}

static void rows_go_in_only_where_they_follow_and_have_room(void **state)
{
    size_t slot, found;
    assert_int_equal(pk_slots_take(*state, 7, 10, &slot), PK_OK);
    assert_int_equal(pk_slots_follow(*state, &(pk_span){.sequence = 7, .count = 6}, &found), PK_OK);
    pk_slots_advance(*state, slot, 6);
    assert_int_equal(pk_slots_at(*state, 7, 6, &found), PK_OK);
    assert_int_equal(found, slot);
    assert_int_equal(pk_slots_follow(*state, &(pk_span){.sequence = 7, .count = 1}, &found), PK_PEER);
    assert_string_equal(pk_error_text(), "sequence 7: position 0 came where 6 was expected");
    assert_int_equal(pk_slots_follow(*state, &(pk_span){.sequence = 7, .position = 6, .count = 5}, &found), PK_PEER);
    assert_non_null(strstr(pk_error_text(), "5 tokens came at position 6, there is room for 10 positions"));
}

static void a_slot_begins_anew_with_its_next_sequence(void **state)
{
    size_t slot = 0, found;
    assert_int_equal(pk_slots_take(*state, 7, 10, &found), PK_OK);
    pk_slots_advance(*state, found, 6);
    assert_true(pk_slots_give_next(*state, &slot));
    assert_int_equal(slot, found);
    assert_false(pk_slots_give_next(*state, &slot));
    assert_int_equal(pk_slots_at(*state, 7, 6, &found), PK_PEER);
    assert_int_equal(pk_slots_take(*state, 7, 10, &found), PK_OK);
    assert_int_equal(pk_slots_at(*state, 7, 0, &found), PK_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_sequence_keeps_its_slot_until_it_gives_it_back, open_slots, close_slots),
        cmocka_unit_test_setup_teardown(a_sequence_starts_only_once, open_slots, close_slots),
        cmocka_unit_test_setup_teardown(rows_go_in_only_where_they_follow_and_have_room, open_slots, close_slots),
        cmocka_unit_test_setup_teardown(a_slot_begins_anew_with_its_next_sequence, open_slots, close_slots),
        cmocka_unit_test_setup_teardown(more_sequences_than_slots_are_refused, open_slots, close_slots),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
