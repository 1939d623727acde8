/* machine.h - what this process may use of the machine it runs on. */
#ifndef PK_PIPELINE_MACHINE_H
#define PK_PIPELINE_MACHINE_H

#include <stdint.h>

typedef struct {
    uint32_t cores;        /* that the scheduler lets us run on and the control group pays for; at least 1 */
    uint64_t memory_bytes; /* physical, or the control group's limit where that is lower */
} pk_machine;

pk_machine pk_machine_read(void);

#endif
