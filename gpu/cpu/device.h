/* device.h - what the files of the CPU device share about a device. Not for anyone outside of gpu/cpu. */
#ifndef PK_GPU_CPU_DEVICE_H
#define PK_GPU_CPU_DEVICE_H

#include "gpu/cpu/kernels.h"
#include "gpu/cpu/pool.h"

struct pk_device {
    pk_ops ops;
    const pk_cpu_kernels *kernels;
    pk_pool *pool;
    char *scratch; /* scratch_bytes for each thread */
    size_t scratch_bytes;
};

/* Sees to `bytes` of scratch for each thread. Sizes depend on a model's shape alone, so that only its first batches
 * grow it. PK_NOMEM. */
pk_err pk_cpu_reserve(pk_device *device, size_t bytes);

static inline float *pk_cpu_scratch(const pk_device *device, unsigned worker)
{
    return (float *)(void *)(device->scratch + worker * device->scratch_bytes);
}

/* Adds the operations that split.c and rows.c define. */
void pk_cpu_split_fill(pk_ops *ops);
void pk_cpu_rows_fill(pk_ops *ops);

#endif
