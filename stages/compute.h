/* compute.h - what the stages that compute take from their assignment: bounds checked once, a device, link limits. */
#ifndef PK_STAGES_COMPUTE_H
#define PK_STAGES_COMPUTE_H

#include "gpu/ops.h"
#include "stages/runtime.h"

enum { PK_BATCH_ROWS_MAX = 1 << 20, PK_SEQUENCES_MAX = 1 << 20, PK_THREADS_MAX = 1024 };

/* Opens the device that the assignment asks for and names it in stage->ready. The stage, whose counter of progress the
 * device bumps, outlives it. PK_INVALID: a number of the assignment is out of range, or there is no such device. */
pk_err pk_compute_open(pk_device **out, pk_stage *stage);

/* The largest batch with rows of `row_bytes` bytes that the assignment allows. */
pk_batch_limits pk_compute_limits(const pk_assignment *assignment, uint64_t row_bytes);

#endif
