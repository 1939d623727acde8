#include "check.h"

#include "pipeline/ids_file.h"

#include <string.h>
#include <unistd.h>

static char path[] = "/tmp/penstock-ids-XXXXXX";

static pk_err read_text(pk_id_lists *lists, const char *text, size_t bytes)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, bytes, file), bytes);
    assert_int_equal(fclose(file), 0);
    return pk_ids_file_read(lists, path, 100);
}

static void refuse(const char *text, const char *words)
{
    pk_id_lists lists;
    assert_int_equal(read_text(&lists, text, strlen(text)), PK_CORRUPT);
    if (!strstr(pk_error_text(), words))
        fail_msg("\"%s\" does not say \"%s\"", pk_error_text(), words);
    assert_null(lists.lists);
}

static void lists_of_ids_are_read(void **state)
{
    (void)state;
    pk_id_lists lists;
    static const char text[] = "[[1, 2, 3], [99]]";
    assert_int_equal(read_text(&lists, text, strlen(text)), PK_OK);
    assert_int_equal(lists.count, 2);
    assert_int_equal(lists.lists[0].count, 3);
    assert_int_equal(lists.lists[1].ids[0], 99);
    pk_id_lists_fini(&lists);
}

static void what_is_no_list_of_ids_is_refused(void **state)
{
    (void)state;
    refuse("", "JSON at line 1");
    refuse("[]", "a list of lists of token ids");
    refuse("[[]]", "sequence 0 is empty");
    refuse("[[1], 2]", "sequence 1 is 2");
    refuse("[[1], [2, 100]]", "sequence 1, token 1 is 100, an id below 100 was expected");
    refuse("[[-1]]", "sequence 0, token 0 is -1");
    refuse("[[1.0]]", "sequence 0, token 0 is 1");
}

/* Each takes some 40 bytes as a tree: they are counted before it is made. */
static void more_ids_than_any_use_has_are_refused_before_they_are_parsed(void **state)
{
    (void)state;
    size_t bytes = 2 * (PK_IDS_FILE_IDS + 2) + 2;
    char *text = malloc(bytes);
    pk_id_lists lists;
    assert_non_null(text);
    memcpy(text, "[[", 2);
    for (size_t at = 2; at < bytes; at += 2)
        memcpy(text + at, "1,", 2);
    assert_int_equal(read_text(&lists, text, bytes), PK_CORRUPT);
    assert_non_null(strstr(pk_error_text(), "JSON has more than 16777216 values"));
    free(text);
}

int main(void)
{
    int fd = mkstemp(path);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists_of_ids_are_read),
        cmocka_unit_test(what_is_no_list_of_ids_is_refused),
        cmocka_unit_test(more_ids_than_any_use_has_are_refused_before_they_are_parsed),
    };
    int failed = fd < 0 || cmocka_run_group_tests(tests, NULL, NULL);
    close(fd);
    unlink(path);
    return failed;
}
