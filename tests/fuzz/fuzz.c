#include "fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum { NUMBER_BYTES = 8 };

_Noreturn void fuzz_broken(const char *file, int line, const char *fact)
{
    fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, fact);
    abort();
}

void fuzz_refused(pk_err err)
{
    const unsigned char *at = (const unsigned char *)pk_error_text();
    MUST(err > PK_OK && err <= PK_PEER && *at);
    for (; *at; at++)
        MUST(*at >= 0x20 && *at != 0x7f && !(*at == 0xc2 && at[1] >= 0x80 && at[1] < 0xa0));
}

const char *fuzz_file(const uint8_t *data, size_t size)
{
    static char path[32];
    static int fd = -1;
    if (fd < 0)
        fd = memfd_create("fuzz", MFD_CLOEXEC);
    MUST(fd >= 0 && ftruncate(fd, 0) == 0 && pwrite(fd, data, size, 0) == (ssize_t)size);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return path;
}

uint64_t fuzz_number(const uint8_t **data, size_t *size)
{
    uint64_t number = 0;
    size_t bytes = *size < NUMBER_BYTES ? *size : NUMBER_BYTES;
    for (size_t i = 0; bytes == NUMBER_BYTES && i < bytes; i++)
        number |= (uint64_t)(*data)[i] << 8 * i;
    *data += bytes;
    *size -= bytes;
    return number;
}
