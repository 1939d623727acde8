#include "stages/compute.h"

#include <inttypes.h>
#include <stdio.h>

static pk_err check(const char *what, uint64_t value, uint64_t most)
{
    if (value < 1 || value > most)
        return pk_fail(PK_INVALID, "%s is %" PRIu64 ", expected 1 to %" PRIu64, what, value, most);
    return PK_OK;
}

pk_err pk_compute_open(pk_device **out, pk_stage *stage)
{
    const pk_assignment *a = &stage->assignment;
    pk_err err = check("threads", a->threads, PK_THREADS_MAX);
    if (!err)
        err = check("batch_rows", a->batch_rows, PK_BATCH_ROWS_MAX);
    if (!err)
        err = check("sequences", a->sequences, PK_SEQUENCES_MAX);
    if (err)
        return pk_pass(err, "assignment");
    err = pk_device_open(
        out, (pk_device_options){.backend = a->device, .threads = (unsigned)a->threads, .progress = &stage->progress});
    if (!err)
        snprintf(stage->ready.device_name, sizeof stage->ready.device_name, "%s", pk_device_ops(*out)->name);
    return err;
}

pk_batch_limits pk_compute_limits(const pk_assignment *assignment, uint64_t row_bytes)
{
    uint64_t bytes = assignment->batch_rows * row_bytes; /* both are bounded far below 2^32 */
    return (pk_batch_limits){.spans = (uint32_t)(assignment->batch_rows + 2 * assignment->sequences),
                             .payload_bytes = bytes < UINT32_MAX ? bytes : UINT32_MAX};
}
