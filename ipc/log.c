#include "ipc/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

enum { LINE_BYTES = 8192 }; /* reliability.md: a longer line is cut */

/* One write per line, so that lines of several threads do not mix. */
static void write_line(const char *level, const char *format, va_list arguments)
{
    char line[LINE_BYTES];
    int used = snprintf(line, sizeof line, "%s ", level);
    int more = vsnprintf(line + used, sizeof line - (size_t)used - 1, format, arguments);
    used += more < 0 ? 0 : more;
    if ((size_t)used > sizeof line - 2)
        used = sizeof line - 2;
    line[used++] = '\n';
    if (write(STDERR_FILENO, line, (size_t)used) < 0)
        return; /* there is nobody left to tell */
}

#define LEVEL(name)                                                                                                    \
    void pk_log_##name(const char *format, ...)                                                                        \
    {                                                                                                                  \
        va_list arguments;                                                                                             \
        va_start(arguments, format);                                                                                   \
        write_line(#name, format, arguments);                                                                          \
        va_end(arguments);                                                                                             \
    }

LEVEL(error)
LEVEL(warn)
LEVEL(info)
