#include "pipeline/process_usage.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

bool pk_process_usage_read(pid_t pid, pk_process_usage *out)
{
    char path[32], text[1024];
    uint64_t user, system, pages;
    *out = (pk_process_usage){0};
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *file = fopen(path, "re");
    if (!file)
        return false;
    size_t bytes = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[bytes] = 0;
    const char *behind_name = strrchr(text, ')'); /* the name may hold anything */
    if (!behind_name || sscanf(behind_name + 1,
                               " %c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %" SCNu64 " %" SCNu64
                               " %*s %*s %*s %*s %*s %*s %*s %*s %" SCNu64,
                               &out->state, &user, &system, &pages) != 4)
        return false;
    out->cpu_ns = (user + system) * (UINT64_C(1000000000) / (uint64_t)sysconf(_SC_CLK_TCK));
    out->resident_bytes = pages * (uint64_t)sysconf(_SC_PAGESIZE);
    return true;
}
