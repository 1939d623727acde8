#include "check.h"
#include "place.h"

#include "pipeline/documents.h"

static void collect(pk_documents *out, size_t count, const char *const *inputs)
{
    assert_int_equal(pk_documents_collect(out, inputs, count), PK_OK);
}

#define COLLECT(out, ...)                                                                                              \
    collect(out, sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *), (const char *[]){__VA_ARGS__})

static void assert_names(const pk_documents *documents, size_t count, const char *const *names)
{
    for (size_t i = 0; i < documents->count && i < count; i++)
        assert_string_equal(documents->items[i].name, names[i]);
    assert_int_equal(documents->count, count);
}

#define ASSERT_NAMES(documents, ...)                                                                                   \
    assert_names(documents, sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *), (const char *[]){__VA_ARGS__})

static void assert_unreadable(pk_document *document, const char *expected_code, const char *message)
{
    char *text;
    const char *code;
    size_t bytes;
    assert_int_not_equal(pk_document_read(document, &text, &bytes, &code), PK_OK);
    assert_null(text);
    assert_string_equal(code, expected_code);
    assert_string_equal(pk_error_text(), message);
}

static void assert_text(pk_document *document, const char *expected)
{
    char *text;
    const char *code;
    size_t bytes;
    if (pk_document_read(document, &text, &bytes, &code))
        fail_msg("refused: %s", pk_error_text());
    assert_null(code);
    assert_int_equal(bytes, strlen(expected));
    assert_memory_equal(text, expected, bytes + 1);
    free(text);
}

static void a_folder_is_walked_in_the_order_of_paths(void **state)
{
    pk_documents documents;
    (void)state;
    assert_int_equal(mkdir("in", 0777) | mkdir("in/b", 0777) | mkdir("in/b/c", 0777) | mkdir("in/.git", 0777), 0);
    place_write("in/z.txt", "z");
    place_write("in/a.md", "a");
    place_write("in/b/c/deep.TXT", "deep");
    place_write("in/b.txt", "b");
    place_write("in/picture.png", "png");
    place_write("in/.hidden.txt", "h");
    place_write("in/.git/x.txt", "h");
    COLLECT(&documents, "in/");
    ASSERT_NAMES(&documents, "in/a.md", "in/b.txt", "in/b/c/deep.TXT", "in/z.txt");
    assert_int_equal(documents.skipped, 1);
    assert_text(&documents.items[2], "deep");
    pk_documents_fini(&documents);
    assert_int_equal(chdir("in"), 0);
    COLLECT(&documents, ".");
    ASSERT_NAMES(&documents, "a.md", "b.txt", "b/c/deep.TXT", "z.txt");
    pk_documents_fini(&documents);
}

static void linked_files_are_read_and_linked_folders_are_not_entered(void **state)
{
    pk_documents documents;
    (void)state;
    assert_int_equal(mkdir("in", 0777), 0);
    place_write("in/a.txt", "a");
    assert_int_equal(symlink("a.txt", "in/b.txt") | symlink("..", "in/up") | symlink("nowhere", "in/c.txt"), 0);
    assert_int_equal(symlink("..", "in/up.txt") | mkfifo("in/pipe.txt", 0666), 0);
    COLLECT(&documents, "in");
    ASSERT_NAMES(&documents, "in/a.txt", "in/b.txt", "in/c.txt");
    assert_int_equal(documents.skipped, 3);
    assert_text(&documents.items[1], "a");
    assert_unreadable(&documents.items[2], "not_found", "in/c.txt: No such file or directory");
    pk_documents_fini(&documents);
}

static void the_same_path_twice_is_one_document(void **state)
{
    pk_documents documents;
    (void)state;
    assert_int_equal(mkdir("in", 0777), 0);
    place_write("in/a.txt", "a");
    place_write("in/b.txt", "b");
    COLLECT(&documents, "in/b.txt", "-", "in", "./in//./a.txt", "-", "in/b.txt");
    ASSERT_NAMES(&documents, "in/b.txt", "stdin", "in/a.txt");
    pk_documents_fini(&documents);
}

static void what_cannot_be_read_is_a_named_failure_and_no_stop(void **state)
{
    pk_documents documents;
    (void)state;
    place_write("a.pdf", "a");
    place_write("r.jsonl", "{}");
    place_write("README", "r");
    place_write("ok.txt", "fine");
    assert_int_equal(mkfifo("pipe.txt", 0666), 0);
    COLLECT(&documents, "a.pdf", "r.jsonl", "README", "gone.txt", "ok.txt/x.txt", "pipe.txt", "", "ok.txt");
    ASSERT_NAMES(&documents, "a.pdf", "r.jsonl", "README", "gone.txt", "ok.txt/x.txt", "pipe.txt", "", "ok.txt");
    pk_document *items = documents.items;
    assert_unreadable(&items[0], "unsupported_kind", "a.pdf: no filter for .pdf in this version, expected .txt or .md");
    assert_unreadable(&items[1], "unsupported_kind", "r.jsonl: no filter for .jsonl in this version, expected .txt or .md");
    assert_unreadable(&items[2], "unsupported_kind",
                      "README: no filter for a file without an ending in this version, expected .txt or .md");
    assert_unreadable(&items[3], "not_found", "gone.txt: No such file or directory");
    assert_unreadable(&items[4], "not_found", "ok.txt/x.txt: Not a directory");
    assert_unreadable(&items[5], "unreadable", "pipe.txt: is not a regular file");
    assert_unreadable(&items[6], "not_found", ": No such file or directory");
    assert_text(&items[7], "fine");
    pk_documents_fini(&documents);
}

static void a_document_that_vanishes_is_not_found(void **state)
{
    pk_documents documents;
    (void)state;
    place_write("a.txt", "a");
    COLLECT(&documents, "a.txt");
    assert_int_equal(unlink("a.txt"), 0);
    assert_unreadable(&documents.items[0], "not_found", "a.txt: No such file or directory");
    pk_documents_fini(&documents);
}

static void text_is_utf8_with_its_line_ends_and_without_its_mark(void **state)
{
    static const struct {
        const char *bytes;
        const char *text; /* NULL: refused */
        const char *code, *message;
    } cases[] = {
        {"one\r\ntwo\n", "one\r\ntwo\n", NULL, NULL},
        {"\xEF\xBB\xBFgr\xC3\xBC\xC3\x9F", "gr\xC3\xBC\xC3\x9F", NULL, NULL},
        {" \n", " \n", NULL, NULL},
        {"x", "x", NULL, NULL},
        {"", NULL, "empty", "d.txt: is empty"},
        {"\xEF\xBB\xBF", NULL, "empty", "d.txt: is empty"},
        {"ab\xFF", NULL, "invalid_utf8", "d.txt: byte 2 (0xFF) is not UTF-8"},
        {"\xEF\xBB\xBF\xC3", NULL, "invalid_utf8", "d.txt: byte 3 (0xC3) is not UTF-8"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        pk_documents documents;
        place_write("d.txt", cases[i].bytes);
        COLLECT(&documents, "d.txt");
        if (cases[i].text)
            assert_text(&documents.items[0], cases[i].text);
        else
            assert_unreadable(&documents.items[0], cases[i].code, cases[i].message);
        pk_documents_fini(&documents);
    }
}

static void nuls_are_text(void **state)
{
    pk_documents documents;
    char *text;
    const char *code;
    size_t bytes;
    (void)state;
    place_write_mode("n.txt", "w", "a\0b", 3);
    COLLECT(&documents, "n.txt");
    assert_int_equal(pk_document_read(&documents.items[0], &text, &bytes, &code), PK_OK);
    assert_int_equal(bytes, 3);
    assert_memory_equal(text, "a\0b", 4);
    free(text);
    pk_documents_fini(&documents);
}

static void a_document_over_the_limit_is_refused_unread(void **state)
{
    pk_documents documents;
    (void)state;
    place_write("big.txt", "x");
    assert_int_equal(truncate("big.txt", (off_t)PK_DOCUMENT_BYTES_MAX + 1), 0); /* sparse */
    COLLECT(&documents, "big.txt");
    assert_unreadable(&documents.items[0], "too_large", "big.txt: has more than 1073741824 bytes");
    pk_documents_fini(&documents);
}

static void standard_input_is_a_document(void **state)
{
    static const char line[] = "piece by piece\n";
    pk_documents documents;
    int ends[2], kept = dup(0);
    char *text;
    const char *code;
    size_t bytes;
    (void)state;
    assert_int_equal(pipe(ends), 0);
    pid_t writer = fork();
    if (writer == 0) {
        for (int i = 0; i < 20000; i++)
            if (write(ends[1], line, sizeof line - 1) < 0)
                _exit(1);
        _exit(0);
    }
    close(ends[1]);
    dup2(ends[0], 0);
    close(ends[0]);
    COLLECT(&documents, "-");
    ASSERT_NAMES(&documents, "stdin");
    assert_int_equal(pk_document_read(&documents.items[0], &text, &bytes, &code), PK_OK);
    assert_int_equal(bytes, 20000 * (sizeof line - 1));
    assert_memory_equal(text + bytes - sizeof line + 1, line, sizeof line);
    free(text);
    dup2(kept, 0);
    close(kept);
    pk_documents_fini(&documents);
}

static void standard_input_that_was_refused_is_refused_again_in_the_same_words(void **state)
{
    pk_documents documents;
    int ends[2], kept = dup(0);
    (void)state;
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(write(ends[1], "a\xFF", 2), 2);
    close(ends[1]);
    dup2(ends[0], 0);
    close(ends[0]);
    COLLECT(&documents, "-");
    assert_unreadable(&documents.items[0], "invalid_utf8", "stdin: byte 1 (0xFF) is not UTF-8");
    assert_unreadable(&documents.items[0], "invalid_utf8", "stdin: byte 1 (0xFF) is not UTF-8");
    dup2(kept, 0);
    close(kept);
    pk_documents_fini(&documents);
}

static void names_are_utf8_and_tell_paths_apart(void **state)
{
    pk_documents documents;
    (void)state;
    COLLECT(&documents, "a\xE9.txt",
            "a\xEF\xBF\xBD"
            "E9.txt",
            "stdin", "-", "\xC3\xBC.txt", "x.p\xFF");
    ASSERT_NAMES(&documents,
                 "a\xEF\xBF\xBD"
                 "E9.txt",
                 "a\xEF\xBF\xBD"
                 "EF\xEF\xBF\xBD"
                 "BF\xEF\xBF\xBD"
                 "BDE9.txt",
                 "./stdin", "stdin", "\xC3\xBC.txt",
                 "x.p\xEF\xBF\xBD"
                 "FF");
    pk_documents_fini(&documents);
}

static void a_folder_that_may_not_be_read_is_one_failure(void **state)
{
    pk_documents documents;
    (void)state;
    if (geteuid() == 0 && (setegid(65534) || seteuid(65534)))
        skip();
    assert_int_equal(chdir("/"), 0);
    COLLECT(&documents, place);
    assert_int_equal(seteuid(getuid()) | setegid(getgid()), 0);
    ASSERT_NAMES(&documents, place);
    assert_string_equal(documents.items[0].code, "unreadable");
    assert_string_equal(documents.items[0].message, "Permission denied");
    pk_documents_fini(&documents);
}

static int place_open_forbidden(void **state)
{
    int result = place_open(state);
    assert_int_equal(chmod(place, geteuid() ? 0 : 0700), 0);
    return result;
}

static int place_close_forbidden(void **state)
{
    assert_int_equal(chmod(place, 0700), 0);
    return place_close(state);
}

#define IN_PLACE(test) cmocka_unit_test_setup_teardown(test, place_open, place_close)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_PLACE(a_folder_is_walked_in_the_order_of_paths),
        IN_PLACE(linked_files_are_read_and_linked_folders_are_not_entered),
        IN_PLACE(the_same_path_twice_is_one_document),
        IN_PLACE(what_cannot_be_read_is_a_named_failure_and_no_stop),
        IN_PLACE(a_document_that_vanishes_is_not_found),
        IN_PLACE(text_is_utf8_with_its_line_ends_and_without_its_mark),
        IN_PLACE(nuls_are_text),
        IN_PLACE(a_document_over_the_limit_is_refused_unread),
        IN_PLACE(standard_input_is_a_document),
        IN_PLACE(standard_input_that_was_refused_is_refused_again_in_the_same_words),
        IN_PLACE(names_are_utf8_and_tell_paths_apart),
        cmocka_unit_test_setup_teardown(a_folder_that_may_not_be_read_is_one_failure, place_open_forbidden,
                                        place_close_forbidden),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
