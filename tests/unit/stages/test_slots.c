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
    assert_int_equal(pk_slots_take(*state, 7, &a), PK_OK);
    assert_int_equal(pk_slots_take(*state, 0, &b), PK_OK);
    assert_int_not_equal(a, b);
    assert_int_equal(pk_slots_find(*state, 7, &found), PK_OK);
    assert_int_equal(found, a);
    pk_slots_give(*state, a);
    assert_int_equal(pk_slots_find(*state, 7, &found), PK_PEER);
    assert_int_equal(pk_slots_find(*state, 0, &found), PK_OK);
    assert_int_equal(pk_slots_take(*state, 9, &found), PK_OK);
    assert_int_equal(found, a);
}

static void a_sequence_starts_only_once(void **state)
{
    size_t slot;
    assert_int_equal(pk_slots_take(*state, 7, &slot), PK_OK);
    assert_int_equal(pk_slots_take(*state, 7, &slot), PK_PEER);
    assert_non_null(strstr(pk_error_text(), "sequence 7 starts, but it is here already"));
}

static void more_sequences_than_slots_are_refused(void **state)
{
    size_t slot;
    assert_int_equal(pk_slots_take(*state, 1, &slot), PK_OK);
    assert_int_equal(pk_slots_take(*state, 2, &slot), PK_OK);
    assert_int_equal(pk_slots_take(*state, 3, &slot), PK_PEER);
    assert_non_null(strstr(pk_error_text(), "all 2 slots are taken"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_sequence_keeps_its_slot_until_it_gives_it_back, open_slots, close_slots),
        cmocka_unit_test_setup_teardown(a_sequence_starts_only_once, open_slots, close_slots),
        cmocka_unit_test_setup_teardown(more_sequences_than_slots_are_refused, open_slots, close_slots),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
