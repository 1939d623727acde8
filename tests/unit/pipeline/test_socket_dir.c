/* A run's socket folder: private, gone after use, and removed for those who could not do it themselves. */
#include "pipeline/socket_dir.h"

#include "ipc/error.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char runtime[] = "/tmp/penstock-XXXXXX";

static int make_runtime(void **state)
{
    (void)state;
    memcpy(runtime + sizeof runtime - 7, "XXXXXX", 6);
    return mkdtemp(runtime) && !setenv("XDG_RUNTIME_DIR", runtime, 1) ? 0 : -1;
}

static int remove_runtime(void **state)
{
    char parent[sizeof runtime + sizeof "/penstock"];
    (void)state;
    snprintf(parent, sizeof parent, "%s/penstock", runtime);
    rmdir(parent);
    return rmdir(runtime); /* fails when a test left something */
}

static bool exists(const char *path)
{
    return access(path, F_OK) == 0;
}

static void put_file(const char *folder)
{
    char path[PK_SOCKET_DIR_BYTES + 16];
    snprintf(path, sizeof path, "%s/control", folder);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    close(fd);
}

static void folder_is_private_and_gone_after_close(void **state)
{
    pk_socket_dir dir;
    struct stat info;
    (void)state;
    assert_int_equal(pk_socket_dir_open(&dir), PK_OK);
    assert_int_equal(strncmp(dir.path, runtime, strlen(runtime)), 0);
    assert_int_equal(stat(dir.path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0700);
    char path[PK_SOCKET_DIR_BYTES];
    memcpy(path, dir.path, sizeof path);
    put_file(path);
    pk_socket_dir_close(&dir);
    assert_false(exists(path));
    pk_socket_dir_close(&dir);
}

static void folder_of_a_dead_process_is_removed_by_the_next(void **state)
{
    pk_socket_dir dir;
    char path[PK_SOCKET_DIR_BYTES];
    int ends[2];
    (void)state;
    assert_int_equal(pipe(ends), 0);
    pid_t pid = fork();
    if (pid == 0) {
        bool good = !pk_socket_dir_open(&dir) && write(ends[1], dir.path, sizeof dir.path) == sizeof dir.path;
        if (good)
            put_file(dir.path);
        _exit(good ? 0 : 1); /* without closing it */
    }
    int status = -1;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_int_equal(read(ends[0], path, sizeof path), sizeof path);
    close(ends[0]);
    close(ends[1]);
    assert_true(exists(path));
    assert_int_equal(pk_socket_dir_open(&dir), PK_OK);
    assert_false(exists(path));
    pk_socket_dir_close(&dir);
}

static void folder_in_use_stays(void **state)
{
    pk_socket_dir first, second;
    (void)state;
    assert_int_equal(pk_socket_dir_open(&first), PK_OK);
    put_file(first.path);
    assert_int_equal(pk_socket_dir_open(&second), PK_OK);
    assert_string_not_equal(first.path, second.path);
    assert_true(exists(first.path));
    pk_socket_dir_close(&second);
    assert_true(exists(first.path));
    pk_socket_dir_close(&first);
}

/* Somebody's link in the place of a folder is neither followed nor removed. */
static void what_is_no_folder_of_a_run_stays(void **state)
{
    pk_socket_dir dir;
    char link[64], other[64];
    (void)state;
    assert_int_equal(pk_socket_dir_open(&dir), PK_OK);
    snprintf(link, sizeof link, "%s/penstock/abcdef", runtime);
    snprintf(other, sizeof other, "%s/penstock/another", runtime);
    assert_int_equal(symlink("/tmp", link), 0);
    assert_int_equal(mkdir(other, 0700), 0);
    pk_socket_dir_close(&dir);
    assert_int_equal(pk_socket_dir_open(&dir), PK_OK);
    pk_socket_dir_close(&dir);
    assert_int_equal(unlink(link), 0);
    assert_int_equal(rmdir(other), 0);
}

static void parent_that_others_may_enter_is_refused(void **state)
{
    pk_socket_dir dir;
    char parent[64];
    (void)state;
    snprintf(parent, sizeof parent, "%s/penstock", runtime);
    assert_int_equal(mkdir(parent, 0700), 0);
    assert_int_equal(chmod(parent, 0755), 0);
    assert_int_equal(pk_socket_dir_open(&dir), PK_INVALID);
    assert_non_null(strstr(pk_error_text(), "nobody else may enter (mode 0700)"));
    pk_socket_dir_close(&dir);
}

#define FACT(name) cmocka_unit_test_setup_teardown(name, make_runtime, remove_runtime)

int main(void)
{
    const struct CMUnitTest tests[] = {
        FACT(folder_is_private_and_gone_after_close), FACT(folder_of_a_dead_process_is_removed_by_the_next),
        FACT(folder_in_use_stays),                    FACT(what_is_no_folder_of_a_run_stays),
        FACT(parent_that_others_may_enter_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
