/* peak.h - the most arithmetic that a core does: the yardstick beside which kernels are measured. */
#ifndef PK_GPU_PEAK_H
#define PK_GPU_PEAK_H

#include <stddef.h>

/* Runs `steps` steps of fourteen independent chains of multiply-adds in the widest registers that the CPU device uses here,
 * on the calling thread, and gives the floating-point operations done, a multiply-add as two; 0 where it has no such. */
double pk_cpu_peak(size_t steps);

#endif
