#include "cli/live.h"
#include "loader/file.h"
#include "pipeline/console.h"
#include "pipeline/run_dir.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { STATUS_BYTES = PK_CONSOLE_ANSWER_BYTES, STATUS_VALUES = 1 << 16 };

/* What an ended run left. */
static pk_err read_left(pk_look *look)
{
    char path[PATH_MAX + 16];
    snprintf(path, sizeof path, "%s/" PK_RUN_DIR_STATUS, look->dir);
    if (access(path, F_OK))
        return pk_fail(PK_CLOSED, "no run is live in %s, and none has left a status there", look->dir);
    return pk_file_read_all(&look->text, &look->bytes, path, STATUS_BYTES);
}

pk_err pk_look_open(pk_look *out, const char *run)
{
    *out = (pk_look){0};
    pk_err err = pk_run_dir_find(out->dir, run);
    if (err)
        return err;
    err = pk_console_ask(out->dir, "status", 0, PK_CONSOLE_PATIENCE_MS, &out->text, &out->bytes);
    out->live = !err;
    if (err == PK_CLOSED)
        err = read_left(out);
    if (!err)
        err = pk_pass(pk_json_open(&out->status, out->text, out->bytes, STATUS_VALUES), "status of %s", out->dir);
    if (err)
        pk_look_fini(out);
    return err;
}

void pk_look_fini(pk_look *look)
{
    pk_json_close(&look->status);
    free(look->text);
    look->text = NULL;
}

double pk_look_number(const pk_json *object, const char *name)
{
    const pk_json *value = pk_json_member(object, name);
    double number = 0;
    return value && pk_json_number(value, &number) ? number : 0;
}

const char *pk_look_word(const pk_json *object, const char *name)
{
    const pk_json *value = pk_json_member(object, name);
    const char *word = value ? pk_json_string(value) : NULL;
    return word ? word : "";
}

pk_exit pk_live_tell(const char *run, const char *verb, bool json, const char *said)
{
    char dir[PATH_MAX], *text = NULL;
    size_t bytes = 0;
    pk_err err = pk_run_dir_find(dir, run);
    if (!err)
        err = pk_console_ask(dir, verb, 0, PK_CONSOLE_PATIENCE_MS, &text, &bytes);
    if (err)
        return pk_exit_report(PK_DOING_USAGE, err);
    if (json)
        fwrite(text, 1, bytes, stdout);
    else
        fprintf(stderr, "penstock: %s\n", said);
    free(text);
    return PK_EXIT_OK;
}
