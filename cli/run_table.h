/* run_table.h - a run's status (run_status.h, parsed) as text for a person. */
#ifndef PK_CLI_RUN_TABLE_H
#define PK_CLI_RUN_TABLE_H

#include "loader/json.h"

#include <stdio.h>

/* Requests, tokens, rate, queue, window: three lines. */
void pk_run_table_summary(FILE *out, const pk_json *status);

/* A line for each process below a head. CPU is the share of one core since `before`, an earlier status of the same run;
 * NULL: since the run's start. */
void pk_run_table_processes(FILE *out, const pk_json *status, const pk_json *before);

/* "2:05", "1:02:05"; "-" for a negative number. */
enum { PK_DURATION_BYTES = 32 };
const char *pk_run_table_duration(char out[PK_DURATION_BYTES], double seconds);

#endif
