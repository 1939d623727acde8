#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "scratch.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char directory[256];

const char *scratch_open(void)
{
    const char *base = getenv("TMPDIR");
    snprintf(directory, sizeof directory, "%s/pk-loader-XXXXXX", base ? base : "/tmp");
    assert_non_null(mkdtemp(directory));
    return directory;
}

static int remove_one(const char *path, const struct stat *status, int type, struct FTW *walk)
{
    (void)status, (void)type, (void)walk;
    return remove(path);
}

void scratch_close(void)
{
    nftw(directory, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

const char *scratch_path(const char *name)
{
    static char paths[4][512];
    static unsigned next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", directory, name);
    return path;
}

static void write_file(const char *name, const char *mode, const void *data, size_t bytes)
{
    FILE *file = fopen(scratch_path(name), mode);
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, bytes, file), bytes);
    assert_int_equal(fclose(file), 0);
}

void scratch_write(const char *name, const void *data, size_t bytes)
{
    write_file(name, "w", data, bytes);
}

void scratch_append(const char *name, const void *data, size_t bytes)
{
    write_file(name, "a", data, bytes);
}

char *scratch_read(const char *path, size_t *bytes)
{
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    *bytes = (size_t)ftell(file);
    rewind(file);
    char *data = malloc(*bytes + 1);
    assert_non_null(data);
    assert_int_equal(fread(data, 1, *bytes, file), *bytes);
    data[*bytes] = '\0';
    fclose(file);
    return data;
}

void scratch_safetensors(const char *name, const char *header, size_t data_bytes)
{
    uint64_t length = strlen(header);
    char *zeros = calloc(1, data_bytes + 1);
    assert_non_null(zeros);
    scratch_write(name, &length, sizeof length);
    scratch_append(name, header, strlen(header));
    scratch_append(name, zeros, data_bytes);
    free(zeros);
}

void assert_refused(pk_err err, pk_err expected, const char *words)
{
    if (err == expected && strstr(pk_error_text(), words))
        return;
    fail_msg("%s: %s; expected %s: …%s…", pk_err_name(err), err ? pk_error_text() : "", pk_err_name(expected), words);
}

void assert_ok(pk_err err)
{
    if (err)
        fail_msg("%s: %s", pk_err_name(err), pk_error_text());
}
