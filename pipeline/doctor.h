/* doctor.h - what this machine offers and lacks: findings, each a line of what, how much, a verdict, and what to do.
 *
 * Looking takes some seconds: the compute speeds are measured by penstock-probe, the disk by the loader itself. Nothing
 * on the machine is changed but a scratch file that is removed again. */
#ifndef PK_PIPELINE_DOCTOR_H
#define PK_PIPELINE_DOCTOR_H

#include "pipeline/json_text.h"
#include "pipeline/speeds.h"

#include <stdio.h>

#define PK_VERDICTS(X)                                                                                                 \
    X(OK, "ok")           /* as good as it gets here */                                                                \
    X(SLOWER, "slower")   /* works, but slower than it could */                                                        \
    X(MISSING, "missing") /* something is not there */

typedef enum {
#define X(name, word) PK_VERDICT_##name,
    PK_VERDICTS(X)
#undef X
} pk_verdict;

enum { PK_FINDINGS_MAX = 48, PK_FINDING_TEXT_BYTES = 320 };

typedef struct {
    const char *what; /* static */
    pk_verdict verdict;
    char value[PK_FINDING_TEXT_BYTES];
    const char *advice; /* static; "": nothing to do */
} pk_finding;

typedef struct {
    pk_finding findings[PK_FINDINGS_MAX];
    size_t count;
    pk_speeds speeds; /* measured, if speeds.measured */
} pk_doctor;

typedef struct {
    uint32_t cores;
    const char *model;  /* its disk is measured by its own files; NULL: by a scratch file in `folder` */
    const char *folder; /* where a run would write */
} pk_doctor_options;

/* Looks at everything. What cannot be measured is a finding, not an error. */
void pk_doctor_examine(pk_doctor *out, pk_doctor_options options);

/* For a person, and as one JSON object. */
pk_err pk_doctor_print(const pk_doctor *doctor, FILE *out);
void pk_doctor_json(const pk_doctor *doctor, pk_json_text *out);

/* For the files of the doctor: one more finding. `value` is a format. */
void pk_finding_add(pk_doctor *doctor, const char *what, pk_verdict verdict, const char *advice, const char *value, ...)
    __attribute__((format(printf, 5, 6)));

/* Its parts: the kernel's settings and the processor; the disk of the model and of the run. */
void pk_doctor_look_at_system(pk_doctor *doctor, uint32_t cores);
void pk_doctor_look_at_disk(pk_doctor *doctor, const char *model, const char *folder);

#endif
