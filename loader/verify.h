/* verify.h - reads every byte of a checkpoint: a digest of each file, and NaN and Inf in its tensors.
 *
 * A survey has checked what headers say; this checks what they promise. What is wrong becomes a fault of the survey. */
#ifndef PK_LOADER_VERIFY_H
#define PK_LOADER_VERIFY_H

#include "loader/digest.h"
#include "loader/survey.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    const char *name; /* in the directory; view of the survey, or static */
    uint64_t bytes;
    pk_digest digest; /* xxh3-128 of the whole file, as `xxhsum -H2` prints it */
} pk_verify_file;

typedef struct {
    pk_verify_file *files; /* in order of name: all shards that could be read, config, index, tokenizer */
    size_t file_count;
    pk_digest model;                     /* of the text of the sums (pk_verify_sums_text) */
    uint64_t tensors, values;            /* looked at for NaN and Inf */
    uint64_t bytes;                      /* of all files */
    uint64_t read_ns, check_ns, wall_ns; /* the disk was read, pieces were checked (at the same time), both */
} pk_verify_report;

typedef struct {
    void (*progress)(void *context, uint64_t done, uint64_t total); /* may be NULL */
    void *context;
} pk_verify_options;

/* Faults are the survey's; PK_OK with any number of them. PK_NOMEM. The caller calls fini in any case. */
pk_err pk_verify(pk_survey *survey, pk_verify_options options, pk_verify_report *out);
void pk_verify_fini(pk_verify_report *report);

/* A line for each file: 32 hexadecimal digits, two spaces, its name; malloc'd. PK_NOMEM. */
pk_err pk_verify_sums_text(const pk_verify_report *report, char **text);

/* Compares with a file of such lines: a file that differs, that only one of them knows, or a line that is none, is a
 * fault. PK_IO: the sums cannot be read; PK_CORRUPT: they are too large; PK_NOMEM. */
pk_err pk_verify_compare(pk_survey *survey, const pk_verify_report *report, const char *sums_path);

#endif
