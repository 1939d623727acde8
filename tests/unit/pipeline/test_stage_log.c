/* A stage's log keeps what fits its limits, and says what did not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "pipeline/stage_log.h"
#include "place.h"

#include <string.h>
#include <sys/stat.h>

typedef struct {
    unsigned count;
    size_t bytes;
    char last[PK_LOG_LINE_BYTES + PK_LOG_NOTE_BYTES];
} seen;

static void note(void *context, const char *line)
{
    seen *s = context;
    s->count++;
    s->bytes += strlen(line) + 1;
    snprintf(s->last, sizeof s->last, "%s", line);
}

static void lines_may_come_in_any_pieces(void **state)
{
    static const char text[] = "one\n\ntwo\nthree";
    (void)state;
    for (size_t piece = 1; piece <= sizeof text; piece++) {
        pk_stage_log log = {0};
        seen s = {0};
        for (size_t at = 0; at < sizeof text - 1; at += piece)
            pk_stage_log_take(&log, text + at, piece < sizeof text - 1 - at ? piece : sizeof text - 1 - at, note, &s);
        assert_int_equal(s.count, 3);
        assert_string_equal(s.last, "two");
        pk_stage_log_end(&log, note, &s);
        assert_int_equal(s.count, 4);
        assert_string_equal(s.last, "three");
        pk_stage_log_close(&log);
    }
}

static void a_flood_is_cut_at_its_rate_and_the_count_is_said(void **state)
{
    enum { LINES = 3000, BYTES = 1000 };
    char line[BYTES + 1];
    pk_stage_log log = {0};
    seen s = {0};
    (void)state;
    memset(line, 'x', BYTES);
    line[BYTES - 1] = '\n';
    line[BYTES] = 0;
    for (int i = 0; i < LINES; i++)
        pk_stage_log_take(&log, line, BYTES, note, &s);
    /* All within one second, or a second more where the machine is slow. */
    assert_true(s.bytes <= 2 * PK_LOG_RATE_BYTES + PK_LOG_NOTE_BYTES);
    pk_stage_log_end(&log, note, &s);
    unsigned long lines = 0, bytes = 0;
    assert_int_equal(sscanf(s.last, "warn log cut lines=%lu bytes=%lu limit=1048576 bytes/s", &lines, &bytes), 2);
    assert_int_equal(bytes, lines * BYTES);
    assert_true(log.bytes_cut >= bytes && lines > 0);
    pk_stage_log_close(&log);
}

static void a_full_file_makes_room_for_a_new_one(void **state)
{
    struct stat old, now;
    pk_stage_log log = {0};
    (void)state;
    assert_int_equal(pk_stage_log_open(&log, "low.log"), PK_OK);
    pk_stage_log_take(&log, "first\n", 6, NULL, NULL);
    log.file_bytes = PK_LOG_FILE_BYTES; /* as if it were full */
    pk_stage_log_take(&log, "second\n", 7, NULL, NULL);
    pk_stage_log_take(&log, "third\n", 6, NULL, NULL);
    pk_stage_log_close(&log);
    assert_int_equal(stat("low.log.1", &old), 0);
    assert_int_equal(stat("low.log", &now), 0);
    assert_int_equal(old.st_size, 2 * 25 + 6 + 7);
    assert_int_equal(now.st_size, 25 + 6);
}

static void an_old_log_is_appended_to(void **state)
{
    struct stat info;
    (void)state;
    for (int i = 0; i < 2; i++) {
        pk_stage_log log = {0};
        assert_int_equal(pk_stage_log_open(&log, "low.log"), PK_OK);
        assert_int_equal(log.file_bytes, i * 30);
        pk_stage_log_take(&log, "1234", 4, NULL, NULL);
        pk_stage_log_end(&log, NULL, NULL);
        pk_stage_log_close(&log);
    }
    assert_int_equal(stat("low.log", &info), 0);
    assert_int_equal(info.st_size, 60);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, place_open, place_close)
    const struct CMUnitTest tests[] = {
        TEST(lines_may_come_in_any_pieces),
        TEST(a_flood_is_cut_at_its_rate_and_the_count_is_said),
        TEST(a_full_file_makes_room_for_a_new_one),
        TEST(an_old_log_is_appended_to),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
