/* journal.h - the run's memory: which requests there are, which have ended, how long the result files are, and which
 * epochs are used up.
 *
 * A SQLite database in WAL mode, synced at each commit, held exclusively while it is open. A request without a row is
 * as good as queued. A request ends once: its state, what it read and the files' new lengths are one transaction, so
 * that bytes of a result file beyond the journaled length belong to nobody. A record can be withdrawn, which is one
 * transaction too: the files without its line lie beside them then, and *replacing* says that they count. One thread
 * per journal. */
#ifndef PK_PIPELINE_JOURNAL_H
#define PK_PIPELINE_JOURNAL_H

#include "ipc/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct pk_journal pk_journal;

typedef enum {
    PK_REQUEST_QUEUED, /* or not known */
    PK_REQUEST_DONE,
    PK_REQUEST_FAILED,
} pk_request_state;

typedef struct {
    uint64_t queued, done, failed;
} pk_request_counts;

typedef struct {
    uint64_t results, errors; /* bytes of results.jsonl and errors.jsonl that count */
} pk_journal_lengths;

/* What a request read, as a word that another content does not have: "" where nobody said. */
enum { PK_INPUT_BYTES = 48 }; /* with its NUL */

/* How a request ended. */
typedef struct {
    pk_request_state state;
    const char *input; /* at most PK_INPUT_BYTES; NULL: not said. View */
    pk_journal_lengths lengths;
} pk_request_end;

/* Opens or makes the file; NULL: in memory, for a run without a directory. PK_AGAIN: another process holds it;
 * PK_CORRUPT: not a journal, or damaged; PK_INVALID: of another version; PK_IO; PK_NOMEM. */
pk_err pk_journal_open(pk_journal **out, const char *path);

/* What pk_journal_begin was given; view, valid until close. NULL: the journal is new. */
const char *pk_journal_identity(const pk_journal *journal);

/* For a new journal, once: from here on it belongs to this run. PK_IO. */
pk_err pk_journal_begin(pk_journal *journal, const char *identity);

pk_journal_lengths pk_journal_length(const pk_journal *journal);

/* The last epoch that anybody may have been told of; 0: none. */
uint32_t pk_journal_epoch(const pk_journal *journal);
/* From here on it is this one, which is larger. PK_IO. */
pk_err pk_journal_raise(pk_journal *journal, uint32_t epoch);

/* Adds those that are not there yet, in one transaction. PK_IO. */
pk_err pk_journal_queue(pk_journal *journal, const char *const *custom_ids, size_t count);

pk_err pk_journal_state(pk_journal *journal, const char *custom_id, pk_request_state *out); /* PK_IO, PK_CORRUPT */
pk_err pk_journal_count(pk_journal *journal, pk_request_counts *out);                       /* PK_IO */

/* What the request read when it ended; "" for one that is queued. PK_IO, PK_CORRUPT. */
pk_err pk_journal_input(pk_journal *journal, const char *custom_id, char out[PK_INPUT_BYTES]);

/* The request is DONE or FAILED from here on, and the files have these lengths: one transaction. A request that has
 * ended already is a bug of the caller's and stops the process. PK_IO; after it, whether the request ended is known
 * only to the next open. */
pk_err pk_journal_end(pk_journal *journal, const char *custom_id, pk_request_end end);

/* These requests are QUEUED again, the files that lie aside have these lengths and are to replace the others: one
 * transaction. PK_IO. */
pk_err pk_journal_withdraw(pk_journal *journal, const char *const *custom_ids, size_t count,
                           pk_journal_lengths lengths);
bool pk_journal_replacing(const pk_journal *journal);
pk_err pk_journal_replaced(pk_journal *journal); /* they have. PK_IO */

void pk_journal_close(pk_journal **journal);

#endif
