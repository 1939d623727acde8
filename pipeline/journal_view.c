#include "pipeline/journal_view.h"

#include <ctype.h>
#include <limits.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static pk_err fail_sqlite(sqlite3 *database, const char *path)
{
    int code = sqlite3_errcode(database);
    pk_err err = code == SQLITE_BUSY || code == SQLITE_LOCKED                              ? PK_AGAIN
                 : code == SQLITE_CORRUPT || code == SQLITE_NOTADB || code == SQLITE_ERROR ? PK_CORRUPT
                                                                                           : PK_IO;
    return pk_fail(err, "%s: %s", path, sqlite3_errmsg(database));
}

/* A path as a URI has it: what is no letter, digit, or one of "/._-" becomes %XX. */
static char *escape(const char *path)
{
    char *out = malloc(3 * strlen(path) + 1), *at = out;
    for (; out && *path; path++)
        if (isalnum((unsigned char)*path) || strchr("/._-", *path))
            *at++ = *path;
        else
            at += sprintf(at, "%%%02X", (unsigned char)*path);
    if (out)
        *at = 0;
    return out;
}

static pk_err take_rows(sqlite3 *database, const char *path,
                        pk_err (*take)(void *context, const char *custom_id, const char *state), void *context)
{
    sqlite3_stmt *rows = NULL;
    pk_err err = PK_OK;
    int step = SQLITE_DONE;
    if (sqlite3_prepare_v2(database, "SELECT custom_id, state FROM requests ORDER BY custom_id", -1, &rows, NULL))
        return fail_sqlite(database, path);
    while (!err && (step = sqlite3_step(rows)) == SQLITE_ROW) {
        const char *id = (const char *)sqlite3_column_text(rows, 0);
        const char *state = (const char *)sqlite3_column_text(rows, 1);
        err = id && state ? take(context, id, state) : pk_fail(PK_NOMEM, "%s: no memory for a row", path);
    }
    if (!err && step != SQLITE_DONE)
        err = fail_sqlite(database, path);
    sqlite3_finalize(rows);
    return err;
}

/* A journal that was closed is one file, which is read as it stands; a killed run leaves its log beside it, and both
 * are read as SQLite does. */
static pk_err open_database(sqlite3 **database, const char *path, bool closed)
{
    char *uri = NULL, *escaped = escape(path);
    int flags = SQLITE_OPEN_READONLY | SQLITE_OPEN_NOFOLLOW | SQLITE_OPEN_URI;
    pk_err err = PK_OK;
    if (!escaped || asprintf(&uri, "file:%s%s", escaped, closed ? "?immutable=1" : "") < 0) {
        err = pk_fail(PK_NOMEM, "no memory for a path");
        uri = NULL;
    } else if (sqlite3_open_v2(uri, database, flags, NULL) ||
               sqlite3_exec(*database, "PRAGMA trusted_schema = OFF", NULL, NULL, NULL))
        err = *database ? fail_sqlite(*database, path) : pk_fail(PK_NOMEM, "journal");
    free(escaped);
    free(uri);
    return err;
}

pk_err pk_journal_view(const char *path, pk_err (*take)(void *context, const char *custom_id, const char *state),
                       void *context)
{
    sqlite3 *database = NULL;
    char log[PATH_MAX], index[PATH_MAX];
    if (access(path, F_OK))
        return pk_fail(PK_CLOSED, "%s: there is no journal", path);
    if (snprintf(log, sizeof log, "%s-wal", path) >= PATH_MAX ||
        snprintf(index, sizeof index, "%s-shm", path) >= PATH_MAX)
        return pk_fail(PK_INVALID, "%s: the name is too long", path);
    bool had_index = access(index, F_OK) == 0;
    pk_err err = open_database(&database, path, access(log, F_OK) != 0);
    if (!err)
        err = take_rows(database, path, take, context);
    sqlite3_close(database);
    if (!had_index) /* SQLite's index of the log: made for this reading */
        unlink(index);
    return err;
}
