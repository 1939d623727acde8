#include "pipeline/machine.h"

#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <unistd.h>

/* Cores of the affinity mask; all there are where it does not fit the set. */
static uint32_t allowed_cores(void)
{
    cpu_set_t set;
    if (!sched_getaffinity(0, sizeof set, &set) && CPU_COUNT(&set) > 0)
        return (uint32_t)CPU_COUNT(&set);
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 ? (uint32_t)online : 1;
}

/* The control group's share of processor time in whole cores, rounded up; 0: unlimited or unknown. */
static uint32_t granted_cores(void)
{
    uint64_t quota = 0, period = 0;
    FILE *file = fopen("/sys/fs/cgroup/cpu.max", "re");
    if (!file)
        return 0;
    int found = fscanf(file, "%" SCNu64 " %" SCNu64, &quota, &period); /* "max 100000" finds nothing */
    fclose(file);
    return found == 2 && quota && period ? (uint32_t)((quota - 1) / period + 1) : 0;
}

/* 0: unlimited or unknown. */
static uint64_t granted_memory(void)
{
    uint64_t bytes = 0;
    FILE *file = fopen("/sys/fs/cgroup/memory.max", "re");
    if (!file)
        return 0;
    int found = fscanf(file, "%" SCNu64, &bytes);
    fclose(file);
    return found == 1 ? bytes : 0;
}

pk_machine pk_machine_read(void)
{
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    pk_machine machine = {.cores = allowed_cores(), .memory_bytes = (uint64_t)pages * (uint64_t)page};
    uint32_t cores = granted_cores();
    uint64_t memory = granted_memory();
    if (cores && cores < machine.cores)
        machine.cores = cores;
    if (memory && memory < machine.memory_bytes)
        machine.memory_bytes = memory;
    return machine;
}
