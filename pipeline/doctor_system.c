/* doctor_system.c - the processor, the kernel's settings and the limits of this process: read, not measured. */
#include "pipeline/doctor.h"

#include "pipeline/machine.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/io_uring.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { LINE_BYTES = 4096, MEMLOCK_ENOUGH = 64 << 20, FILES_ENOUGH = 1024 };

/* The first line of a small file; "" where it cannot be read. */
static const char *line_of(char out[LINE_BYTES], const char *path)
{
    FILE *file = fopen(path, "re");
    *out = '\0';
    if (file && fgets(out, LINE_BYTES, file))
        out[strcspn(out, "\n")] = '\0';
    if (file)
        fclose(file);
    return out;
}

/* The line of /proc/cpuinfo that begins with `key`, behind its colon. */
static const char *processor_line(char out[LINE_BYTES], const char *key)
{
    FILE *file = fopen("/proc/cpuinfo", "re");
    bool found = false;
    while (file && !found && fgets(out, LINE_BYTES, file))
        found = !strncmp(out, key, strlen(key)) && strchr(out, ':');
    if (file)
        fclose(file);
    if (!found)
        return "";
    out[strcspn(out, "\n")] = '\0';
    char *value = strchr(out, ':') + 1;
    return value + strspn(value, " \t");
}

/* Processors in a list as the kernel writes it: "0-3,8-11". */
static unsigned count_list(const char *list)
{
    unsigned count = 0;
    while (*list >= '0' && *list <= '9') {
        char *end;
        unsigned long first = strtoul(list, &end, 10), last = *end == '-' ? strtoul(end + 1, &end, 10) : first;
        count += last >= first ? (unsigned)(last - first + 1) : 0;
        list = *end == ',' ? end + 1 : end;
    }
    return count;
}

static void look_at_cores(pk_doctor *doctor, uint32_t cores)
{
    char line[LINE_BYTES], cache[LINE_BYTES];
    unsigned online = count_list(line_of(line, "/sys/devices/system/cpu/online"));
    unsigned siblings = count_list(line_of(line, "/sys/devices/system/cpu/cpu0/topology/thread_siblings_list"));
    pk_finding_add(doctor, "processor", PK_VERDICT_OK, "", "%s", processor_line(line, "model name"));
    pk_finding_add(doctor, "cores", cores >= online ? PK_VERDICT_OK : PK_VERDICT_SLOWER,
                   "the affinity mask or the control group gives fewer cores than the machine has",
                   "%" PRIu32 " usable of %u online, %u threads a core, caches %s and %s", cores, online,
                   siblings ? siblings : 1, line_of(line, "/sys/devices/system/cpu/cpu0/cache/index2/size"),
                   line_of(cache, "/sys/devices/system/cpu/cpu0/cache/index3/size"));
    unsigned nodes = count_list(line_of(line, "/sys/devices/system/node/online"));
    pk_finding_add(doctor, "NUMA nodes", nodes <= 1 ? PK_VERDICT_OK : PK_VERDICT_SLOWER,
                   "a stage for each node, started under numactl --cpunodebind, keeps its memory near", "%u",
                   nodes ? nodes : 1);
}

static void look_at_instructions(pk_doctor *doctor)
{
    static const char *const known[] = {"avx2", "fma", "f16c", "avx512f", "avx512_bf16", "amx_bf16"};
    char line[LINE_BYTES], found[256] = "";
    const char *flags = processor_line(line, "flags");
    size_t used = 0, wanted = 0;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        const char *at = strstr(flags, known[i]);
        size_t length = strlen(known[i]);
        if (!at || (at[length] && at[length] != ' '))
            continue;
        wanted += i < 3;
        used += (size_t)snprintf(found + used, sizeof found - used, "%s%s", used ? " " : "", known[i]);
    }
    pk_finding_add(doctor, "instruction sets", wanted == 3 ? PK_VERDICT_OK : PK_VERDICT_SLOWER,
                   "without avx2, fma and f16c the plain kernels are used, with the same bits", "%s",
                   used ? found : "none of those looked for");
}

static void look_at_load(pk_doctor *doctor, uint32_t cores)
{
    double load = 0;
    (void)getloadavg(&load, 1);
    pk_finding_add(doctor, "load of the last minute", load < 0.5 * cores ? PK_VERDICT_OK : PK_VERDICT_SLOWER,
                   "other jobs are running: what is measured below is less than the machine can do", "%.2f", load);
}

static void look_at_io_uring(pk_doctor *doctor)
{
    struct io_uring_params params = {0};
    char line[LINE_BYTES];
    int ring = (int)syscall(SYS_io_uring_setup, 4, &params), why = errno;
    if (ring >= 0) {
        close(ring);
        pk_finding_add(doctor, "io_uring", PK_VERDICT_OK, "", "allowed");
        return;
    }
    pk_finding_add(doctor, "io_uring", PK_VERDICT_SLOWER,
                   "weights are read with pread; allow it by sysctl kernel.io_uring_disabled=0, or in the container's "
                   "seccomp profile",
                   "refused: %s; kernel.io_uring_disabled is %s", strerror(why),
                   *line_of(line, "/proc/sys/kernel/io_uring_disabled") ? line : "not there");
}

static void look_at_pages(pk_doctor *doctor)
{
    char line[LINE_BYTES];
    line_of(line, "/sys/kernel/mm/transparent_hugepage/enabled");
    bool granted = strstr(line, "[always]") || strstr(line, "[madvise]");
    pk_finding_add(doctor, "transparent huge pages", granted ? PK_VERDICT_OK : PK_VERDICT_SLOWER,
                   "reading weights is up to a third faster with them: echo madvise > "
                   "/sys/kernel/mm/transparent_hugepage/enabled",
                   "%s", *line ? line : "not in this kernel");
    line_of(line, "/proc/sys/vm/nr_hugepages");
    pk_finding_add(doctor, "explicit huge pages", PK_VERDICT_OK, "", "%s reserved (none are needed)",
                   *line ? line : "0");
}

static void look_at_limits(pk_doctor *doctor)
{
    struct rlimit lock = {0}, files = {0};
    (void)getrlimit(RLIMIT_MEMLOCK, &lock);
    (void)getrlimit(RLIMIT_NOFILE, &files);
    bool enough = lock.rlim_cur == RLIM_INFINITY || lock.rlim_cur >= MEMLOCK_ENOUGH || geteuid() == 0;
    pk_finding_add(doctor, "memory that may be locked", enough ? PK_VERDICT_OK : PK_VERDICT_SLOWER,
                   "registered read buffers need 64 MiB: ulimit -l, LimitMEMLOCK= of systemd, or limits.conf",
                   lock.rlim_cur == RLIM_INFINITY ? "unlimited" : "%.0f KiB%s", (double)lock.rlim_cur / 1024,
                   geteuid() == 0 ? ", which does not bind root" : "");
    pk_finding_add(doctor, "open files", files.rlim_cur >= FILES_ENOUGH ? PK_VERDICT_OK : PK_VERDICT_SLOWER,
                   "many stages want more: ulimit -n 4096", "%" PRIu64 " (hard limit %" PRIu64 ")",
                   (uint64_t)files.rlim_cur, (uint64_t)files.rlim_max);
}

static void look_at_clock(pk_doctor *doctor)
{
    char line[LINE_BYTES];
    line_of(line, "/sys/devices/system/clocksource/clocksource0/current_clocksource");
    bool fast = !strcmp(line, "tsc") || !strcmp(line, "kvm-clock") || !strcmp(line, "arch_sys_counter");
    pk_finding_add(doctor, "clock source", fast ? PK_VERDICT_OK : PK_VERDICT_SLOWER,
                   "reading this clock costs a system call or worse; tsc or kvm-clock does not", "%s",
                   *line ? line : "unknown");
}

void pk_doctor_look_at_system(pk_doctor *doctor, uint32_t cores)
{
    pk_machine machine = pk_machine_read();
    look_at_cores(doctor, cores);
    look_at_instructions(doctor);
    pk_finding_add(doctor, "memory", PK_VERDICT_OK, "", "%.1f GiB", (double)machine.memory_bytes / 0x1p30);
    look_at_load(doctor, cores);
    look_at_io_uring(doctor);
    look_at_pages(doctor);
    look_at_limits(doctor);
    look_at_clock(doctor);
}
