#include "check.h"
#include "place.h"

#include "ipc/clock.h"
#include "loader/json.h"
#include "pipeline/timeline.h"

#include <signal.h>
#include <sys/resource.h>

static pk_timeline *open_timeline(void)
{
    pk_timeline *timeline;
    if (pk_timeline_open(&timeline, "t.json"))
        fail_msg("refused: %s", pk_error_text());
    return timeline;
}

static pk_json *parse_timeline(void)
{
    pk_json *document;
    char *text = place_read("t.json");
    if (pk_json_open(&document, text, strlen(text), 100000))
        fail_msg("%s", pk_error_text());
    free(text);
    return document;
}

static pk_timeline_event slice(uint64_t start_ns, uint64_t end_ns)
{
    return (pk_timeline_event){.pid = 7,
                               .name = "12 rows",
                               .category = "decode",
                               .start_ns = start_ns,
                               .end_ns = end_ns,
                               .batch = 3,
                               .rows = 12};
}

static void a_timeline_without_events_is_an_empty_array(void **state)
{
    pk_timeline *timeline = open_timeline();
    (void)state;
    assert_int_equal(pk_timeline_close(&timeline), PK_OK);
    assert_null(timeline);
    assert_place_holds("t.json", "[]\n");
    assert_int_equal(pk_timeline_close(&timeline), PK_OK);
}

static void events_are_written_with_times_from_the_first(void **state)
{
    pk_timeline *timeline = open_timeline();
    (void)state;
    assert_int_equal(pk_timeline_process(timeline, 7, "layers 0-7 \"low\""), PK_OK);
    assert_int_equal(pk_timeline_slice(timeline, slice(1000, 3500)), PK_OK);
    assert_int_equal(pk_timeline_counter(timeline, "in flight", 5001, -2), PK_OK);
    assert_int_equal(pk_timeline_close(&timeline), PK_OK);
    char expected[1024];
    snprintf(expected, sizeof expected,
             "[\n{\"name\": \"process_name\", \"ph\": \"M\", \"pid\": 7, \"args\": {\"name\": \"layers 0-7 "
             "\\\"low\\\"\"}},\n"
             "{\"name\": \"process_sort_index\", \"ph\": \"M\", \"pid\": 7, \"args\": {\"sort_index\": 0}},\n"
             "{\"name\": \"12 rows\", \"cat\": \"decode\", \"ph\": \"X\", \"ts\": 0.000, \"dur\": 2.500, \"pid\": 7, "
             "\"tid\": 7, \"args\": {\"batch\": 3, \"rows\": 12}},\n"
             "{\"name\": \"in flight\", \"ph\": \"C\", \"ts\": 4.001, \"pid\": %d, \"args\": {\"value\": -2}}\n]\n",
             (int)getpid());
    assert_place_holds("t.json", expected);
    pk_json *document = parse_timeline();
    assert_int_equal(pk_json_count(document), 4);
    pk_json_close(&document);
}

static void slices_since_opening_may_come_in_any_order(void **state)
{
    pk_timeline *timeline = open_timeline();
    uint64_t now = pk_clock_ns();
    (void)state;
    assert_int_equal(pk_timeline_slice(timeline, slice(now + 900, now + 1000)), PK_OK);
    assert_int_equal(pk_timeline_slice(timeline, slice(now, now + 500)), PK_OK);
    assert_int_equal(pk_timeline_close(&timeline), PK_OK);
    pk_json *document = parse_timeline();
    for (size_t i = 0; i < 2; i++) {
        double at;
        assert_true(pk_json_number(pk_json_member(pk_json_item(document, i), "ts"), &at) && at >= 0);
    }
    pk_json_close(&document);
}

static void impossible_times_are_refused_and_left_out(void **state)
{
    pk_timeline *timeline = open_timeline();
    (void)state;
    assert_error(pk_timeline_slice(timeline, slice(2000, 1999)), PK_INVALID,
                 "t.json: \"12 rows\" of process 7 ends before it starts");
    assert_int_equal(pk_timeline_slice(timeline, slice(2000, 2001)), PK_OK);
    assert_error(pk_timeline_slice(timeline, slice(1999, 2001)), PK_INVALID,
                 "t.json: an event at 1999 ns, expected none before 2000");
    assert_int_equal(pk_timeline_close(&timeline), PK_OK);
    pk_json *document = parse_timeline();
    assert_int_equal(pk_json_count(document), 1);
    pk_json_close(&document);
}

static void a_killed_run_leaves_whole_events(void **state)
{
    pk_timeline *timeline = open_timeline();
    (void)state;
    assert_int_equal(pk_timeline_slice(timeline, slice(1000, 3500)), PK_OK);
    assert_int_equal(pk_timeline_slice(timeline, slice(4000, 4500)), PK_OK);
    char *text = place_read("t.json"), closed[1024];
    snprintf(closed, sizeof closed, "%s]", text); /* what a reader of the array format supplies */
    free(text);
    pk_json *document;
    assert_int_equal(pk_json_open(&document, closed, strlen(closed), 1000), PK_OK);
    assert_int_equal(pk_json_count(document), 2);
    pk_json_close(&document);
    assert_int_equal(pk_timeline_close(&timeline), PK_OK);
}

static void an_event_that_does_not_fit_is_left_out_and_the_file_stays_json(void **state)
{
    struct rlimit old, tight;
    pk_timeline *timeline = open_timeline();
    (void)state;
    assert_int_equal(pk_timeline_slice(timeline, slice(1000, 3500)), PK_OK);
    struct stat status;
    assert_int_equal(stat("t.json", &status) | getrlimit(RLIMIT_FSIZE, &old), 0);
    signal(SIGXFSZ, SIG_IGN);
    tight = (struct rlimit){(rlim_t)status.st_size + 40, old.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &tight), 0);
    pk_err err = pk_timeline_slice(timeline, slice(4000, 4500));
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_int_equal(err, PK_IO);
    assert_non_null(strstr(pk_error_text(), "t.json: write"));
    assert_int_equal(pk_timeline_close(&timeline), PK_OK);
    pk_json *document = parse_timeline();
    assert_int_equal(pk_json_count(document), 1);
    pk_json_close(&document);
}

static void a_path_that_cannot_be_made_is_refused(void **state)
{
    pk_timeline *timeline;
    (void)state;
    assert_error(pk_timeline_open(&timeline, "no/such/t.json"), PK_IO, "no/such/t.json: No such file or directory");
    assert_null(timeline);
}

#define IN_PLACE(test) cmocka_unit_test_setup_teardown(test, place_open, place_close)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_PLACE(a_timeline_without_events_is_an_empty_array),
        IN_PLACE(events_are_written_with_times_from_the_first),
        IN_PLACE(slices_since_opening_may_come_in_any_order),
        IN_PLACE(impossible_times_are_refused_and_left_out),
        IN_PLACE(a_killed_run_leaves_whole_events),
        IN_PLACE(an_event_that_does_not_fit_is_left_out_and_the_file_stays_json),
        IN_PLACE(a_path_that_cannot_be_made_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
