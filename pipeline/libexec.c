#include "pipeline/libexec.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *pk_libexec_dir(void)
{
    static char path[PATH_MAX];
    const char *given = getenv("PENSTOCK_LIBEXEC");
    if (given)
        return given;
    ssize_t used = readlink("/proc/self/exe", path, sizeof path - sizeof "/../libexec/penstock");
    if (used < 0)
        return "libexec/penstock";
    path[used] = 0;
    char *slash = strrchr(path, '/');
    strcpy(slash ? slash : path, "/../libexec/penstock");
    return path;
}
