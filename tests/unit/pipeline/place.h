/* place.h - a directory for one test's files. */
#ifndef PK_TESTS_PIPELINE_PLACE_H
#define PK_TESTS_PIPELINE_PLACE_H

#include "tests/unit/cmocka_all.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char place[256];

/* A fresh directory under TMPDIR or /tmp, and into it. */
static inline int place_open(void **state)
{
    const char *base = getenv("TMPDIR");
    (void)state;
    snprintf(place, sizeof place, "%s/pk-pipeline-XXXXXX", base ? base : "/tmp");
    assert_non_null(mkdtemp(place));
    assert_int_equal(chdir(place), 0);
    return 0;
}

static inline int place_remove_one(const char *path, const struct stat *status, int type, struct FTW *walk)
{
    (void)status, (void)type, (void)walk;
    return remove(path);
}

static inline int place_close(void **state)
{
    (void)state;
    assert_int_equal(chdir("/"), 0);
    return nftw(place, place_remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static inline void place_write_mode(const char *path, const char *mode, const void *data, size_t bytes)
{
    FILE *file = fopen(path, mode);
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, bytes, file), bytes);
    assert_int_equal(fclose(file), 0);
}

static inline void place_write(const char *path, const char *text)
{
    place_write_mode(path, "w", text, strlen(text));
}

/* The whole file with a NUL behind it; the caller frees it. */
static inline char *place_read(const char *path)
{
    struct stat status;
    FILE *file = fopen(path, "r");
    if (!file || fstat(fileno(file), &status))
        fail_msg("cannot open %s", path);
    char *text = calloc(1, (size_t)status.st_size + 1);
    assert_non_null(text);
    assert_int_equal(fread(text, 1, (size_t)status.st_size, file), status.st_size);
    fclose(file);
    return text;
}

static inline void assert_place_holds(const char *path, const char *expected)
{
    char *text = place_read(path);
    assert_string_equal(text, expected);
    free(text);
}

#endif
