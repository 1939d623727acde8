#include "check.h"
#include "place.h"

#include "ipc/clock.h"
#include "loader/json.h"
#include "pipeline/timeline.h"
#include "pipeline/timeline_read.h"

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
    assert_error(pk_timeline_open(&timeline, "no/such/t.json"), PK_INVALID,
                 "no/such/t.json: make the timeline: No such file or directory");
    assert_null(timeline);
}

#define IN_PLACE(test) cmocka_unit_test_setup_teardown(test, place_open, place_close)

/* What a picture of t.json is made of. */
static pk_timeline_view read_back(uint64_t marks_max, uint32_t bins)
{
    pk_timeline_view view;
    if (pk_timeline_read(&view, "t.json", marks_max, bins))
        fail_msg("refused: %s", pk_error_text());
    return view;
}

static void write_ten_slices(void)
{
    pk_timeline *timeline = open_timeline();
    assert_int_equal(pk_timeline_process(timeline, 7, "low"), PK_OK);
    assert_int_equal(pk_timeline_process(timeline, 8, "idle"), PK_OK);
    for (uint64_t i = 0; i < 10; ++i)
        assert_int_equal(pk_timeline_slice(timeline, slice(1000 + 10000 * i, 6000 + 10000 * i)), PK_OK);
    assert_int_equal(pk_timeline_counter(timeline, "in flight", 50000, 3), PK_OK);
    assert_int_equal(pk_timeline_close(&timeline), PK_OK);
}

static void few_slices_are_read_back_one_by_one(void **state)
{
    (void)state;
    write_ten_slices();
    pk_timeline_view view = read_back(10, 4);
    assert_int_equal(view.row_count, 2);
    assert_string_equal(view.rows[0].name, "low");
    assert_string_equal(view.rows[0].category, "decode");
    assert_int_equal(view.rows[0].busy_ns, 50000);
    assert_null(view.rows[1].category);
    assert_null(view.bins);
    assert_int_equal(view.mark_count, 10);
    assert_int_equal(view.marks[9].start_ns, 90000);
    assert_int_equal(view.marks[9].end_ns, 95000);
    assert_int_equal(view.marks[9].batch, 3);
    assert_int_equal(view.marks[9].rows, 12);
    assert_int_equal(view.end_ns, 95000);
    pk_timeline_view_fini(&view);
}

static void many_slices_are_read_back_as_sums_that_lose_nothing(void **state)
{
    (void)state;
    write_ten_slices();
    for (uint32_t bins = 1; bins < 200; bins += 7) {
        uint64_t sum = 0;
        pk_timeline_view view = read_back(9, bins);
        assert_null(view.marks);
        assert_int_equal(view.slice_count, 10);
        for (uint32_t bin = 0; bin < view.bin_count; ++bin) {
            assert_true(view.bins[bin] <= view.bin_ns);
            assert_int_equal(view.bins[view.bin_count + bin], 0);
            sum += view.bins[bin];
        }
        assert_int_equal(sum, 50000);
        pk_timeline_view_fini(&view);
    }
}

static void a_timeline_cut_anywhere_is_read_or_refused(void **state)
{
    (void)state;
    write_ten_slices();
    char *text = place_read("t.json");
    for (size_t bytes = strlen(text); bytes-- > 0;) {
        pk_timeline_view view;
        place_write_mode("t.json", "w", text, bytes);
        assert_int_equal(pk_timeline_read(&view, "t.json", 5, 3), PK_OK);
        assert_true(view.slice_count <= 10);
        pk_timeline_view_fini(&view);
    }
    free(text);
}

static void a_file_that_is_no_timeline_is_refused_by_line(void **state)
{
    pk_timeline_view view;
    (void)state;
    place_write("t.json", "[\n{\"ph\": \"X\"},\nrubbish,\n]\n");
    assert_int_equal(pk_timeline_read(&view, "t.json", 5, 3), PK_CORRUPT);
    assert_int_equal(strncmp(pk_error_text(), "t.json: line 3: ", 16), 0);
    pk_timeline_view_fini(&view);
    assert_error(pk_timeline_read(&view, "none.json", 5, 3), PK_IO, "none.json: No such file or directory");
    pk_timeline_view_fini(&view);
}

static void numbers_that_no_clock_says_are_bounded(void **state)
{
    pk_timeline_view view;
    (void)state;
    place_write("t.json",
                "[\n{\"ph\": \"X\", \"ts\": 1e300, \"dur\": 1e300, \"pid\": -9},\n"
                "{\"ph\": \"X\", \"ts\": -5, \"dur\": \"x\", \"pid\": null},\n"
                "{\"ph\": \"X\", \"args\": [{}]},\n7,\n[],\n{\"ph\": \"M\", \"name\": \"process_name\"}\n]\n");
    for (uint64_t marks = 0; marks < 4; ++marks) {
        assert_int_equal(pk_timeline_read(&view, "t.json", marks, 100), PK_OK);
        assert_int_equal(view.slice_count, 3);
        pk_timeline_view_fini(&view);
    }
}

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
        IN_PLACE(few_slices_are_read_back_one_by_one),
        IN_PLACE(many_slices_are_read_back_as_sums_that_lose_nothing),
        IN_PLACE(a_timeline_cut_anywhere_is_read_or_refused),
        IN_PLACE(a_file_that_is_no_timeline_is_refused_by_line),
        IN_PLACE(numbers_that_no_clock_says_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
