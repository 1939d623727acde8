#include "pipeline/log_view.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { STAMP_BYTES = 24 }; /* 2026-11-24T03:36:46.782Z */

static const char ending[] = ".log";

/* One stage's log: STAGE.log.1, if there is one, and then STAGE.log. */
typedef struct {
    char *stage;
    FILE *file;    /* NULL: not open yet */
    bool old;      /* file is STAGE.log.1 */
    ino_t inode;   /* of file */
    char *line;    /* getline's */
    size_t room;   /* of line */
    bool has_line; /* line is the next that this stage has to say */
} source;

struct pk_log_view {
    char *folder, *only;
    source *sources;
    size_t count;
    source *told; /* whose line the last call handed out */
};

static pk_err log_path(const pk_log_view *view, const source *s, bool old, char out[PATH_MAX])
{
    if (snprintf(out, PATH_MAX, "%s/%s%s%s", view->folder, s->stage, ending, old ? ".1" : "") >= PATH_MAX)
        return pk_fail(PK_IO, "%s: the name is too long", view->folder);
    return PK_OK;
}

static bool is_known(const pk_log_view *view, const char *stage)
{
    for (size_t i = 0; i < view->count; i++)
        if (strcmp(view->sources[i].stage, stage) == 0)
            return true;
    return false;
}

static pk_err add_source(pk_log_view *view, const char *stage)
{
    source *grown = realloc(view->sources, (view->count + 1) * sizeof *grown);
    char *name = strdup(stage);
    if (grown)
        view->sources = grown;
    if (!grown || !name) {
        free(name);
        return pk_fail(PK_NOMEM, "no memory for the logs of %s", view->folder);
    }
    view->sources[view->count++] = (source){.stage = name, .old = true};
    return PK_OK;
}

/* Cuts ".log" off; false: no log's name. */
static bool stage_of(char *file_name)
{
    size_t bytes = strlen(file_name), tail = sizeof ending - 1;
    if (bytes <= tail || strcmp(file_name + bytes - tail, ending) != 0)
        return false;
    file_name[bytes - tail] = 0;
    return true;
}

static pk_err scan(pk_log_view *view)
{
    DIR *dir = opendir(view->folder);
    struct dirent *entry;
    pk_err err = PK_OK;
    if (!dir)
        return pk_fail_errno(PK_IO, "open %s", view->folder);
    view->told = NULL; /* the sources may move */
    while (!err && (entry = readdir(dir)))
        if (stage_of(entry->d_name) && !is_known(view, entry->d_name) &&
            (!view->only || strcmp(view->only, entry->d_name) == 0))
            err = add_source(view, entry->d_name);
    closedir(dir);
    return err;
}

/* PK_AGAIN: it is not there. */
static pk_err open_source(const pk_log_view *view, source *s, bool old)
{
    char path[PATH_MAX];
    struct stat info;
    pk_err err = log_path(view, s, old, path);
    if (err)
        return err;
    FILE *file = fopen(path, "re");
    if (!file)
        return errno == ENOENT ? PK_AGAIN : pk_fail_errno(PK_IO, "open %s", path);
    if (s->file)
        fclose(s->file);
    s->file = file;
    s->old = old;
    s->inode = fstat(fileno(file), &info) ? 0 : info.st_ino;
    return PK_OK;
}

/* At the end of a file: the one that follows it, if there is one. PK_AGAIN: there is none. */
static pk_err open_following(const pk_log_view *view, source *s)
{
    char path[PATH_MAX];
    struct stat info;
    if (!s->file) {
        pk_err err = open_source(view, s, true);
        return err == PK_AGAIN ? open_source(view, s, false) : err;
    }
    if (s->old)
        return open_source(view, s, false);
    pk_err err = log_path(view, s, false, path);
    if (err)
        return err;
    return stat(path, &info) || info.st_ino == s->inode ? PK_AGAIN : open_source(view, s, false);
}

/* A line is whole when its newline is there: what is still being written is left for the next time. */
static bool read_whole_line(source *s)
{
    long at = ftell(s->file);
    ssize_t got = getline(&s->line, &s->room, s->file);
    if (got > 0 && s->line[got - 1] == '\n') {
        s->line[got - 1] = 0;
        return true;
    }
    clearerr(s->file);
    if (at >= 0)
        fseek(s->file, at, SEEK_SET);
    return false;
}

/* The stage's next line into s->line. PK_AGAIN: it has none. */
static pk_err fill(const pk_log_view *view, source *s)
{
    pk_err err = PK_OK;
    while (!err && !s->has_line)
        if (!(s->file && (s->has_line = read_whole_line(s))))
            err = open_following(view, s);
    return err;
}

static bool has_stamp(const char *line)
{
    return strnlen(line, STAMP_BYTES + 1) > STAMP_BYTES && line[STAMP_BYTES] == ' ' && line[STAMP_BYTES - 1] == 'Z';
}

/* The source whose line is the oldest, all being filled; NULL: nobody has one. */
static pk_err choose(pk_log_view *view, source **out)
{
    *out = NULL;
    for (source *s = view->sources; s < view->sources + view->count; s++) {
        pk_err err = fill(view, s);
        if (err && err != PK_AGAIN)
            return err;
        if (!err && (!*out || strncmp(s->line, (*out)->line, STAMP_BYTES) < 0))
            *out = s;
    }
    return PK_OK;
}

pk_err pk_log_view_next(pk_log_view *view, pk_log_line *out)
{
    source *s = NULL;
    if (view->told)
        view->told->has_line = false;
    view->told = NULL;
    pk_err err = choose(view, &s);
    if (!err && !s && !(err = scan(view)))
        err = choose(view, &s);
    if (err || !s)
        return err ? err : PK_AGAIN;
    view->told = s;
    *out = (pk_log_line){.stage = s->stage, .time = "", .text = s->line};
    if (has_stamp(s->line)) {
        s->line[STAMP_BYTES] = 0;
        out->time = s->line;
        out->text = s->line + STAMP_BYTES + 1;
    }
    return PK_OK;
}

/* "head, layers-0-1" of all logs in the folder. */
static pk_err refuse_stage(pk_log_view *view)
{
    char names[512] = "";
    char *stage = view->only;
    view->only = NULL;
    pk_err err = scan(view);
    for (size_t i = 0, used = 0; !err && i < view->count && used < sizeof names; i++)
        used += (size_t)snprintf(names + used, sizeof names - used, "%s%s", used ? ", " : "", view->sources[i].stage);
    if (!err)
        err = pk_fail(PK_INVALID, "%s: no stage %s has a log there, expected one of: %s", view->folder, stage, names);
    free(stage);
    return err;
}

pk_err pk_log_view_open(pk_log_view **out, const char *folder, const char *stage)
{
    pk_log_view *view = calloc(1, sizeof *view);
    *out = NULL;
    if (!view)
        return pk_fail(PK_NOMEM, "log view");
    view->folder = strdup(folder);
    view->only = stage ? strdup(stage) : NULL;
    pk_err err = view->folder && (!stage || view->only) ? scan(view) : pk_fail(PK_NOMEM, "log view");
    if (!err && stage && view->count == 0)
        err = refuse_stage(view);
    if (err)
        pk_log_view_close(&view);
    *out = view;
    return err;
}

void pk_log_view_close(pk_log_view **out)
{
    pk_log_view *view = *out;
    if (!view)
        return;
    for (source *s = view->sources; s < view->sources + view->count; s++) {
        if (s->file)
            fclose(s->file);
        free(s->stage);
        free(s->line);
    }
    free(view->sources);
    free(view->folder);
    free(view->only);
    free(view);
    *out = NULL;
}
