/* Makes the Nth allocation of one program fail: for LD_PRELOAD, in tests (tests/e2e/no_memory.py). Not part of the
 * product.
 *
 * PENSTOCK_FAIL_PROGRAM names the program by the name of its file, PENSTOCK_FAIL_AT is N, from 1; 0 fails nothing.
 * PENSTOCK_FAIL_COUNT is a file that gets the number of allocations at the program's end, and a line when one has
 * failed. Counted are malloc, calloc, realloc and aligned_alloc but those that libzmq and the C++ library make for
 * themselves: libzmq aborts its process when it has no memory, whatever its caller does. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

extern void *__libc_malloc(size_t bytes);
extern void *__libc_calloc(size_t count, size_t bytes);
extern void *__libc_realloc(void *old, size_t bytes);
extern void *__libc_memalign(size_t alignment, size_t bytes);

enum { RANGES = 8 };

static struct {
    uintptr_t begin, end;
} spared[RANGES];
static unsigned spared_count;
static bool armed;
static long fail_at;
static atomic_long count;

static char told[4096]; /* kept: a program that sets its title has no environment for a moment */

static void say(const char *format, long number)
{
    char line[64];
    int fd = open(told, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    int bytes = snprintf(line, sizeof line, format, number);
    if (fd < 0)
        return;
    if (write(fd, line, (size_t)bytes) != bytes)
        abort();
    close(fd);
}

static int note_library(struct dl_phdr_info *info, size_t size, void *context)
{
    (void)size, (void)context;
    if (!strstr(info->dlpi_name, "libzmq") && !strstr(info->dlpi_name, "libstdc++"))
        return 0;
    for (unsigned i = 0; i < info->dlpi_phnum && spared_count < RANGES; i++)
        if (info->dlpi_phdr[i].p_type == PT_LOAD && (info->dlpi_phdr[i].p_flags & PF_X)) {
            spared[spared_count].begin = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
            spared[spared_count].end = spared[spared_count].begin + info->dlpi_phdr[i].p_memsz;
            spared_count++;
        }
    return 0;
}

__attribute__((constructor)) static void arm(void)
{
    const char *program = getenv("PENSTOCK_FAIL_PROGRAM"), *at = getenv("PENSTOCK_FAIL_AT"),
               *path = getenv("PENSTOCK_FAIL_COUNT");
    if (!program || !at || !path || strcmp(program, program_invocation_short_name) != 0)
        return;
    snprintf(told, sizeof told, "%s", path);
    dl_iterate_phdr(note_library, NULL);
    fail_at = strtol(at, NULL, 10);
    armed = true;
}

__attribute__((destructor)) static void report(void)
{
    if (armed)
        say("%ld\n", atomic_load(&count));
}

static bool is_spared(const void *caller)
{
    for (unsigned i = 0; i < spared_count; i++)
        if ((uintptr_t)caller >= spared[i].begin && (uintptr_t)caller < spared[i].end)
            return true;
    return false;
}

static bool fails(const void *caller)
{
    if (!armed || is_spared(caller) || atomic_fetch_add(&count, 1) + 1 != fail_at)
        return false;
    say("failed %ld\n", fail_at);
    errno = ENOMEM;
    return true;
}

void *malloc(size_t bytes)
{
    return fails(__builtin_return_address(0)) ? NULL : __libc_malloc(bytes);
}

void *calloc(size_t items, size_t bytes)
{
    return fails(__builtin_return_address(0)) ? NULL : __libc_calloc(items, bytes);
}

void *realloc(void *old, size_t bytes)
{
    return fails(__builtin_return_address(0)) ? NULL : __libc_realloc(old, bytes);
}

void *aligned_alloc(size_t alignment, size_t bytes)
{
    return fails(__builtin_return_address(0)) ? NULL : __libc_memalign(alignment, bytes);
}

int posix_memalign(void **out, size_t alignment, size_t bytes)
{
    if (fails(__builtin_return_address(0)))
        return ENOMEM;
    *out = __libc_memalign(alignment, bytes);
    return *out ? 0 : ENOMEM;
}
