#include "pipeline/run_dir.h"

#include <stdbool.h>
#include <stdio.h>
#include <unistd.h>

static bool has(const char *folder, const char *name)
{
    char path[PATH_MAX];
    return snprintf(path, sizeof path, "%s/%s", folder, name) < PATH_MAX && access(path, F_OK) == 0;
}

pk_err pk_run_dir_find(char out[PATH_MAX], const char *given)
{
    if (snprintf(out, PATH_MAX, "%s/.penstock", given) >= PATH_MAX)
        return pk_fail(PK_INVALID, "%s: the name is too long", given);
    if (has(out, "lock") || has(out, PK_RUN_DIR_LOGS))
        return PK_OK;
    snprintf(out, PATH_MAX, "%s", given);
    if (has(out, "lock") || has(out, PK_RUN_DIR_LOGS))
        return PK_OK;
    return pk_fail(PK_INVALID, "%s: a run's output directory was expected (one with .penstock), or its run directory",
                   given);
}
