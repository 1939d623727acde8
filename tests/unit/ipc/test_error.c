#include "tests/unit/cmocka_all.h"
#include "ipc/error.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

static void before_the_first_failure_there_are_no_words(void **state)
{
    (void)state;
    assert_string_equal(pk_error_text(), "");
}

static void a_failure_says_its_words_and_returns_its_code(void **state)
{
    (void)state;
    assert_int_equal(pk_fail(PK_CORRUPT, "header length %d exceeds %s", 9, "the file"), PK_CORRUPT);
    assert_string_equal(pk_error_text(), "header length 9 exceeds the file");
}

static void passing_on_puts_the_place_in_front(void **state)
{
    (void)state;
    pk_err err = pk_pass(pk_pass(pk_fail(PK_IO, "disk full"), "shard %d", 42), "stage low");
    assert_int_equal(err, PK_IO);
    assert_string_equal(pk_error_text(), "stage low: shard 42: disk full");
}

static void passing_on_success_leaves_the_trail_alone(void **state)
{
    (void)state;
    pk_fail(PK_IO, "earlier");
    assert_int_equal(pk_pass(PK_OK, "somewhere"), PK_OK);
    assert_string_equal(pk_error_text(), "earlier");
}

static void a_failure_starts_a_new_trail(void **state)
{
    (void)state;
    pk_pass(pk_fail(PK_IO, "one"), "place");
    pk_fail(PK_NOMEM, "two");
    assert_string_equal(pk_error_text(), "two");
}

static void the_cause_of_a_system_call_stands_behind(void **state)
{
    (void)state;
    errno = ENOENT;
    assert_int_equal(pk_fail_errno(PK_IO, "open %s", "weights"), PK_IO);
    assert_string_equal(pk_error_text(), "open weights: No such file or directory");
}

static void a_quoted_file_does_not_speak_to_the_terminal(void **state)
{
    (void)state;
    pk_pass(pk_fail(PK_CORRUPT, "key \"%s\"", "\x1b[2J\xc2\x9b\x7f\n\xc3\xa9"), "%s", "a\rb");
    assert_string_equal(pk_error_text(), "a?b: key \"?[2J????\xc3\xa9\"");
}

static void the_trail_may_be_its_own_argument(void **state)
{
    (void)state;
    pk_fail(PK_IO, "inner");
    pk_fail(PK_PEER, "outer (%s)", pk_error_text());
    assert_string_equal(pk_error_text(), "outer (inner)");
}

static void a_message_of_any_length_is_cut_at_its_end_and_never_overruns(void **state)
{
    char words[3 * PK_ERROR_TEXT_BYTES];
    (void)state;
    for (size_t bytes = PK_ERROR_TEXT_BYTES - 3; bytes < PK_ERROR_TEXT_BYTES + 3; bytes++) {
        size_t kept = bytes < PK_ERROR_TEXT_BYTES - 1 ? bytes : PK_ERROR_TEXT_BYTES - 1;
        memset(words, 'x', bytes);
        words[bytes] = 0;
        pk_fail(PK_IO, "%s", words);
        assert_int_equal(strlen(pk_error_text()), kept);
    }
    memset(words, 'y', sizeof words - 1);
    words[sizeof words - 1] = 0;
    errno = EIO;
    pk_fail_errno(PK_IO, "%s", words);
    assert_int_equal(strlen(pk_error_text()), PK_ERROR_TEXT_BYTES - 1);
}

static void a_deep_trail_keeps_its_outer_end(void **state)
{
    (void)state;
    pk_fail(PK_IO, "the cause");
    for (int depth = 0; depth < 1000; depth++)
        pk_pass(PK_IO, "place %d", depth);
    assert_memory_equal(pk_error_text(), "place 999: place 998: ", 22);
    assert_int_equal(strlen(pk_error_text()), PK_ERROR_TEXT_BYTES - 1);
}

static void *fail_elsewhere(void *seen)
{
    snprintf(seen, 16, "<%s>", pk_error_text());
    pk_fail(PK_NOMEM, "of the other thread");
    return NULL;
}

static void each_thread_has_a_trail_of_its_own(void **state)
{
    pthread_t thread;
    char seen[16] = "";
    (void)state;
    pk_fail(PK_IO, "mine");
    assert_int_equal(pthread_create(&thread, NULL, fail_elsewhere, seen), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_string_equal(seen, "<>");
    assert_string_equal(pk_error_text(), "mine");
}

static void codes_have_names(void **state)
{
    (void)state;
    assert_string_equal(pk_err_name(PK_OK), "OK");
    assert_string_equal(pk_err_name(PK_PEER), "PEER");
    assert_string_equal(pk_err_name((pk_err)9), "?");
    assert_string_equal(pk_err_name((pk_err)-1), "?");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(before_the_first_failure_there_are_no_words),
        cmocka_unit_test(a_failure_says_its_words_and_returns_its_code),
        cmocka_unit_test(passing_on_puts_the_place_in_front),
        cmocka_unit_test(passing_on_success_leaves_the_trail_alone),
        cmocka_unit_test(a_failure_starts_a_new_trail),
        cmocka_unit_test(the_cause_of_a_system_call_stands_behind),
        cmocka_unit_test(a_quoted_file_does_not_speak_to_the_terminal),
        cmocka_unit_test(the_trail_may_be_its_own_argument),
        cmocka_unit_test(a_message_of_any_length_is_cut_at_its_end_and_never_overruns),
        cmocka_unit_test(a_deep_trail_keeps_its_outer_end),
        cmocka_unit_test(each_thread_has_a_trail_of_its_own),
        cmocka_unit_test(codes_have_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
