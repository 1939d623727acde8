#include "pipeline/journal.h"

#include "ipc/log.h"

#include <inttypes.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* In the database's header: "PENS" and the version of the tables. */
#define APPLICATION_ID 0x50454e53
#define TABLES_VERSION 3

struct pk_journal {
    sqlite3 *database;
    sqlite3_stmt *queue, *state, *input, *count, *end, *withdraw, *lengths_put, *replacing_put,
        *raise; /* prepared by prepare() */
    char *identity;
    uint32_t epoch;
    pk_journal_lengths lengths;
    bool replacing;
    bool failed; /* a commit did: what is on the disk is not known */
};

static const char tables[] = "CREATE TABLE run (id INTEGER PRIMARY KEY CHECK (id = 1), identity TEXT NOT NULL,"
                             " results_bytes INTEGER NOT NULL CHECK (results_bytes >= 0),"
                             " errors_bytes INTEGER NOT NULL CHECK (errors_bytes >= 0),"
                             " replacing INTEGER NOT NULL CHECK (replacing IN (0, 1)),"
                             " epoch INTEGER NOT NULL CHECK (epoch BETWEEN 0 AND 4294967295)) STRICT;"
                             "CREATE TABLE requests (custom_id TEXT PRIMARY KEY,"
                             " state TEXT NOT NULL CHECK (state IN ('queued', 'done', 'failed')),"
                             " input TEXT NOT NULL) STRICT, WITHOUT ROWID;";

static const char *const state_names[] = {
    [PK_REQUEST_QUEUED] = "queued",
    [PK_REQUEST_DONE] = "done",
    [PK_REQUEST_FAILED] = "failed",
};

/* What a failure of SQLite means to our caller; the trail says what we were doing. */
static pk_err fail_sqlite(sqlite3 *database, const char *doing)
{
    int code = database ? sqlite3_errcode(database) : SQLITE_NOMEM;
    int system = database ? sqlite3_system_errno(database) : 0;
    pk_err err = PK_IO;
    if (code == SQLITE_BUSY || code == SQLITE_LOCKED)
        err = PK_AGAIN;
    if (code == SQLITE_NOMEM)
        err = PK_NOMEM;
    if (code == SQLITE_CORRUPT || code == SQLITE_NOTADB || code == SQLITE_ERROR || code == SQLITE_CONSTRAINT)
        err = PK_CORRUPT; /* our statements are right: it is the tables that are not ours */
    const char *text = database ? sqlite3_errmsg(database) : "no memory";
    if (err == PK_IO && system)
        return pk_fail(err, "%s: %s (%s)", doing, text, strerror(system));
    return pk_fail(err, "%s: %s", doing, text);
}

static pk_err execute(pk_journal *journal, const char *statements, const char *doing)
{
    return sqlite3_exec(journal->database, statements, NULL, NULL, NULL) ? fail_sqlite(journal->database, doing)
                                                                         : PK_OK;
}

/* Runs a statement of one row, one integer. */
static pk_err read_integer(pk_journal *journal, const char *statement, int64_t *out)
{
    pk_err err = PK_OK;
    sqlite3_stmt *prepared = NULL;
    if (sqlite3_prepare_v2(journal->database, statement, -1, &prepared, NULL) || sqlite3_step(prepared) != SQLITE_ROW)
        err = fail_sqlite(journal->database, "is no journal of a run");
    else
        *out = sqlite3_column_int64(prepared, 0);
    sqlite3_finalize(prepared);
    return err;
}

/* Every page is read: a damaged journal is refused here, not met in the middle of a run. */
static pk_err check_pages(pk_journal *journal)
{
    pk_err err = PK_OK;
    sqlite3_stmt *check = NULL;
    if (sqlite3_prepare_v2(journal->database, "PRAGMA quick_check(1)", -1, &check, NULL) ||
        sqlite3_step(check) != SQLITE_ROW)
        err = fail_sqlite(journal->database, "check");
    else if (strcmp((const char *)sqlite3_column_text(check, 0), "ok"))
        err = pk_fail(PK_CORRUPT, "the journal is damaged: %s", (const char *)sqlite3_column_text(check, 0));
    sqlite3_finalize(check);
    return err;
}

/* Sets *fresh, or makes sure that the tables are ours. */
static pk_err check_owner(pk_journal *journal, bool *fresh)
{
    pk_err err;
    int64_t application = 0, version = 0, objects = 0;
    if ((err = read_integer(journal, "PRAGMA application_id", &application)) ||
        (err = read_integer(journal, "PRAGMA user_version", &version)) ||
        (err = read_integer(journal, "SELECT count(*) FROM sqlite_schema", &objects)))
        return err;
    *fresh = application == 0 && objects == 0;
    if (*fresh)
        return PK_OK;
    if (application != APPLICATION_ID)
        return pk_fail(PK_CORRUPT, "is a database of another program, expected a journal");
    if (version != TABLES_VERSION)
        return pk_fail(PK_INVALID, "is a journal of version %" PRId64 ", expected %d", version, TABLES_VERSION);
    return check_pages(journal);
}

static pk_err load_run(pk_journal *journal)
{
    pk_err err = PK_OK;
    sqlite3_stmt *run = NULL;
    if (sqlite3_prepare_v2(journal->database, "SELECT identity, results_bytes, errors_bytes, replacing, epoch FROM run",
                           -1, &run, NULL)) {
        err = fail_sqlite(journal->database, "read the run");
        goto out;
    }
    int step = sqlite3_step(run);
    if (step != SQLITE_ROW) {
        err = step == SQLITE_DONE ? pk_fail(PK_CORRUPT, "the journal has no run, expected one")
                                  : fail_sqlite(journal->database, "read the run");
        goto out;
    }
    const char *identity = (const char *)sqlite3_column_text(run, 0);
    if (!identity || !(journal->identity = strdup(identity))) {
        err = pk_fail(PK_NOMEM, "no memory for the run's identity");
        goto out;
    }
    journal->lengths.results = (uint64_t)sqlite3_column_int64(run, 1);
    journal->lengths.errors = (uint64_t)sqlite3_column_int64(run, 2);
    journal->replacing = sqlite3_column_int(run, 3);
    journal->epoch = (uint32_t)sqlite3_column_int64(run, 4);
out:
    sqlite3_finalize(run);
    return err;
}

static pk_err prepare(pk_journal *journal)
{
    const struct {
        sqlite3_stmt **out;
        const char *text;
    } statements[] = {
        {&journal->queue, "INSERT INTO requests VALUES (?1, 'queued', '') ON CONFLICT DO NOTHING"},
        {&journal->state, "SELECT state FROM requests WHERE custom_id = ?1"},
        {&journal->input, "SELECT input FROM requests WHERE custom_id = ?1"},
        {&journal->count, "SELECT count(*), count(*) FILTER (WHERE state = 'done'),"
                          " count(*) FILTER (WHERE state = 'failed') FROM requests"},
        {&journal->end, "INSERT INTO requests VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE"
                        " SET state = excluded.state, input = excluded.input WHERE state = 'queued'"},
        {&journal->withdraw, "UPDATE requests SET state = 'queued', input = '' WHERE custom_id = ?1"},
        {&journal->lengths_put, "UPDATE run SET results_bytes = ?1, errors_bytes = ?2"},
        {&journal->replacing_put, "UPDATE run SET replacing = ?1"},
        {&journal->raise, "UPDATE run SET epoch = ?1"},
    };
    for (size_t i = 0; i < sizeof statements / sizeof *statements; i++)
        if (sqlite3_prepare_v3(journal->database, statements[i].text, -1, SQLITE_PREPARE_PERSISTENT, statements[i].out,
                               NULL))
            return fail_sqlite(journal->database, "prepare");
    return PK_OK;
}

/* Exclusive before anything is read: then the index of the log lives in our memory and no shared-memory file is needed,
 * which network file systems do not give. */
static const char reading[] = "PRAGMA trusted_schema = OFF; PRAGMA locking_mode = EXCLUSIVE;";
static const char writing[] = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;";

static pk_err open_database(pk_journal *journal, const char *path)
{
    pk_err err;
    bool fresh;
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOFOLLOW | SQLITE_OPEN_NOMUTEX;
    if (sqlite3_open_v2(path ? path : ":memory:", &journal->database, path ? flags : flags & ~SQLITE_OPEN_NOFOLLOW,
                        NULL))
        return fail_sqlite(journal->database, "open");
    if ((err = execute(journal, reading, "open")) || (err = check_owner(journal, &fresh)) ||
        (err = execute(journal, writing, "open")))
        return err;
    if (fresh)
        return PK_OK;
    return (err = load_run(journal)) ? err : prepare(journal);
}

pk_err pk_journal_open(pk_journal **out, const char *path)
{
    *out = NULL;
    pk_journal *journal = calloc(1, sizeof *journal);
    if (!journal)
        return pk_fail(PK_NOMEM, "no memory for a journal");
    pk_err err = open_database(journal, path);
    if (err)
        pk_journal_close(&journal);
    *out = journal;
    return pk_pass(err, "%s", path ? path : "journal");
}

const char *pk_journal_identity(const pk_journal *journal)
{
    return journal->identity;
}

pk_journal_lengths pk_journal_length(const pk_journal *journal)
{
    return journal->lengths;
}

/* Binds nothing more: runs the statement to its end. */
static pk_err run_statement(pk_journal *journal, sqlite3_stmt *statement, const char *doing)
{
    pk_err err = sqlite3_step(statement) == SQLITE_DONE ? PK_OK : fail_sqlite(journal->database, doing);
    sqlite3_reset(statement);
    return err;
}

static pk_err bind_text(pk_journal *journal, sqlite3_stmt *statement, int index, const char *text)
{
    return sqlite3_bind_text64(statement, index, text, strlen(text), SQLITE_STATIC, SQLITE_UTF8)
               ? fail_sqlite(journal->database, "bind")
               : PK_OK;
}

static pk_err begin(pk_journal *journal)
{
    if (journal->failed)
        return pk_fail(PK_IO, "journal: an earlier write failed");
    return pk_pass(execute(journal, "BEGIN IMMEDIATE", "begin"), "journal");
}

/* Commits when `err` is PK_OK, else takes back. */
static pk_err finish(pk_journal *journal, pk_err err)
{
    if (!err)
        err = execute(journal, "COMMIT", "commit");
    if (!err)
        return PK_OK;
    journal->failed = true;
    /* Some failures have rolled back already. After any other the log holds no commit, and close drops the rest. */
    if (!sqlite3_get_autocommit(journal->database))
        sqlite3_exec(journal->database, "ROLLBACK", NULL, NULL, NULL);
    return pk_pass(err, "journal");
}

static pk_err put_run(pk_journal *journal, const char *identity)
{
    pk_err err;
    char header[96];
    sqlite3_stmt *run = NULL;
    sqlite3_snprintf(sizeof header, header, "PRAGMA application_id = %d; PRAGMA user_version = %d;", APPLICATION_ID,
                     TABLES_VERSION);
    if ((err = execute(journal, header, "make")) || (err = execute(journal, tables, "make")))
        return err;
    if (sqlite3_prepare_v2(journal->database, "INSERT INTO run VALUES (1, ?1, 0, 0, 0, 0)", -1, &run, NULL))
        return fail_sqlite(journal->database, "prepare");
    if (!(err = bind_text(journal, run, 1, identity)))
        err = run_statement(journal, run, "make");
    sqlite3_finalize(run);
    return err;
}

pk_err pk_journal_begin(pk_journal *journal, const char *identity)
{
    pk_err err;
    char *kept = strdup(identity);
    if (!kept)
        return pk_fail(PK_NOMEM, "no memory for the run's identity");
    if (!(err = begin(journal)))
        err = finish(journal, put_run(journal, identity));
    if (!err)
        err = prepare(journal);
    if (err) {
        free(kept);
        return err;
    }
    journal->identity = kept;
    return PK_OK;
}

uint32_t pk_journal_epoch(const pk_journal *journal)
{
    return journal->epoch;
}

pk_err pk_journal_raise(pk_journal *journal, uint32_t epoch)
{
    pk_err err = begin(journal);
    if (err)
        return err;
    err = sqlite3_bind_int64(journal->raise, 1, epoch) ? fail_sqlite(journal->database, "bind")
                                                       : run_statement(journal, journal->raise, "raise the epoch");
    if (!(err = finish(journal, err)))
        journal->epoch = epoch;
    return err;
}

pk_err pk_journal_queue(pk_journal *journal, const char *const *custom_ids, size_t count)
{
    pk_err err = begin(journal);
    if (err)
        return err;
    for (size_t i = 0; i < count && !err; i++)
        if (!(err = bind_text(journal, journal->queue, 1, custom_ids[i])))
            err = run_statement(journal, journal->queue, "queue");
    return finish(journal, err);
}

static pk_err read_state(pk_journal *journal, const char *custom_id, pk_request_state *out)
{
    pk_err err;
    *out = PK_REQUEST_QUEUED;
    if ((err = bind_text(journal, journal->state, 1, custom_id)))
        return err;
    int step = sqlite3_step(journal->state);
    if (step == SQLITE_DONE)
        return PK_OK;
    if (step != SQLITE_ROW)
        return fail_sqlite(journal->database, "read a request");
    const char *name = (const char *)sqlite3_column_text(journal->state, 0);
    for (size_t i = 0; name && i < sizeof state_names / sizeof *state_names; i++)
        if (!strcmp(name, state_names[i])) {
            *out = (pk_request_state)i;
            return PK_OK;
        }
    return pk_fail(PK_CORRUPT, "%s: state \"%s\", expected queued, done or failed", custom_id, name ? name : "");
}

pk_err pk_journal_state(pk_journal *journal, const char *custom_id, pk_request_state *out)
{
    pk_err err = read_state(journal, custom_id, out);
    sqlite3_reset(journal->state);
    return pk_pass(err, "journal");
}

pk_err pk_journal_input(pk_journal *journal, const char *custom_id, char out[PK_INPUT_BYTES])
{
    out[0] = '\0';
    pk_err err = bind_text(journal, journal->input, 1, custom_id);
    if (!err) {
        int step = sqlite3_step(journal->input);
        const char *text = step == SQLITE_ROW ? (const char *)sqlite3_column_text(journal->input, 0) : NULL;
        if (step != SQLITE_ROW && step != SQLITE_DONE)
            err = fail_sqlite(journal->database, "read a request");
        else if (text && strlen(text) >= PK_INPUT_BYTES)
            err = pk_fail(PK_CORRUPT, "%s: an input of %zu letters", custom_id, strlen(text));
        else if (text)
            memcpy(out, text, strlen(text) + 1);
    }
    sqlite3_reset(journal->input);
    return pk_pass(err, "journal");
}

pk_err pk_journal_count(pk_journal *journal, pk_request_counts *out)
{
    pk_err err = PK_OK;
    if (sqlite3_step(journal->count) != SQLITE_ROW) {
        err = fail_sqlite(journal->database, "count");
    } else {
        uint64_t all = (uint64_t)sqlite3_column_int64(journal->count, 0);
        out->done = (uint64_t)sqlite3_column_int64(journal->count, 1);
        out->failed = (uint64_t)sqlite3_column_int64(journal->count, 2);
        out->queued = all - out->done - out->failed;
    }
    sqlite3_reset(journal->count);
    return pk_pass(err, "journal");
}

/* Stands in release builds too: a second record for one request would be the one thing that must never happen. */
static void insist_first(const pk_journal *journal, const char *custom_id)
{
    if (sqlite3_changes(journal->database) == 1)
        return;
    pk_log_error("second-record request=%s", custom_id);
    abort();
}

static pk_err put_end(pk_journal *journal, const char *custom_id, const pk_request_end *end)
{
    pk_err err;
    if ((err = bind_text(journal, journal->end, 1, custom_id)) ||
        (err = bind_text(journal, journal->end, 2, state_names[end->state])) ||
        (err = bind_text(journal, journal->end, 3, end->input ? end->input : "")) ||
        (err = run_statement(journal, journal->end, "end a request")))
        return err;
    insist_first(journal, custom_id);
    return PK_OK;
}

static pk_err put_lengths(pk_journal *journal, pk_journal_lengths lengths)
{
    sqlite3_stmt *put = journal->lengths_put;
    if (sqlite3_bind_int64(put, 1, (int64_t)lengths.results) || sqlite3_bind_int64(put, 2, (int64_t)lengths.errors))
        return fail_sqlite(journal->database, "bind");
    return run_statement(journal, put, "write the lengths");
}

pk_err pk_journal_end(pk_journal *journal, const char *custom_id, pk_request_end end)
{
    pk_err err = begin(journal);
    if (err)
        return err;
    if (!(err = put_end(journal, custom_id, &end)))
        err = put_lengths(journal, end.lengths);
    if ((err = finish(journal, err)))
        return err;
    journal->lengths = end.lengths;
    return PK_OK;
}

static pk_err put_replacing(pk_journal *journal, bool replacing)
{
    if (sqlite3_bind_int(journal->replacing_put, 1, replacing))
        return fail_sqlite(journal->database, "bind");
    return run_statement(journal, journal->replacing_put, "replace the files");
}

pk_err pk_journal_withdraw(pk_journal *journal, const char *const *custom_ids, size_t count, pk_journal_lengths lengths)
{
    pk_err err = begin(journal);
    if (err)
        return err;
    for (size_t i = 0; i < count && !err; i++)
        if (!(err = bind_text(journal, journal->withdraw, 1, custom_ids[i])))
            err = run_statement(journal, journal->withdraw, "withdraw a record");
    if (!err && !(err = put_lengths(journal, lengths)))
        err = put_replacing(journal, true);
    if ((err = finish(journal, err)))
        return err;
    journal->lengths = lengths;
    journal->replacing = true;
    return PK_OK;
}

bool pk_journal_replacing(const pk_journal *journal)
{
    return journal->replacing;
}

pk_err pk_journal_replaced(pk_journal *journal)
{
    pk_err err = begin(journal);
    if (err || (err = finish(journal, put_replacing(journal, false))))
        return err;
    journal->replacing = false;
    return PK_OK;
}

void pk_journal_close(pk_journal **journal)
{
    pk_journal *held = *journal;
    *journal = NULL;
    if (!held)
        return;
    sqlite3_finalize(held->queue);
    sqlite3_finalize(held->state);
    sqlite3_finalize(held->input);
    sqlite3_finalize(held->count);
    sqlite3_finalize(held->end);
    sqlite3_finalize(held->withdraw);
    sqlite3_finalize(held->lengths_put);
    sqlite3_finalize(held->replacing_put);
    sqlite3_finalize(held->raise);
    sqlite3_close(held->database); /* what is committed is in the log already: nothing can be lost here */
    free(held->identity);
    free(held);
}
