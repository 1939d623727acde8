/* The CPU device itself: which kernels, how many threads, whose memory. */
#include "gpu/cpu/device.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#ifdef PK_CPU_X86
#include <cpuid.h>
#endif

enum { HUGE_BYTES = 2 << 20, SCRATCH_ALIGNMENT = 4096 };

static size_t page_bytes(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

static void *device_alloc(pk_device *device, size_t bytes)
{
    (void)device;
    void *data = mmap(NULL, bytes ? bytes : 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return data == MAP_FAILED ? NULL : data;
}

static void device_free(pk_device *device, void *data, size_t bytes)
{
    (void)device;
    if (data)
        munmap(data, bytes ? bytes : 1);
}

/* madvise on the whole pages inside [data, data + bytes). Advice that is not taken costs only memory or time. */
static void advise_inside(void *data, size_t bytes, int advice)
{
    uintptr_t page = page_bytes(), start = ((uintptr_t)data + page - 1) & ~(page - 1);
    uintptr_t end = ((uintptr_t)data + bytes) & ~(page - 1);
    if (start < end)
        (void)madvise((char *)data + (start - (uintptr_t)data), end - start, advice);
}

static void device_forget(pk_device *device, void *data, size_t bytes)
{
    (void)device;
    advise_inside(data, bytes, MADV_DONTNEED);
}

/* Huge pages are for weights, which are read whole and often, and not for caches, which must cost only what they hold:
 * so it is packing that asks for them, before the first byte lands. */
static void ask_for_huge_pages(const pk_matrix *w)
{
    size_t bytes = pk_matrix_bytes(w->dtype, w->outputs, w->inputs);
    if (bytes >= HUGE_BYTES)
        advise_inside(w->data, bytes, MADV_HUGEPAGE);
}

static void pack_scales(const pk_matrix *w, size_t first_output, size_t count, const void *rows, pk_dtype dtype)
{
    ask_for_huge_pages(w);
    pk_cpu_pack_scales(w, first_output, count, rows, dtype);
}

static void pack(const pk_matrix *w, size_t first_output, size_t count, const void *rows)
{
    ask_for_huge_pages(w);
    pk_cpu_plain_pack(w, first_output, count, rows);
}

static bool runs_anywhere(void)
{
    return true;
}

#ifdef PK_CPU_X86
/* The builtins ask the operating system too, whether it keeps the wide registers. */
static bool runs_avx2(void)
{
    unsigned a, b, c = 0, d;
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __get_cpuid(1, &a, &b, &c, &d) &&
           (c & bit_F16C);
}

static bool runs_avx512(void)
{
    return runs_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}
#endif

/* Best first. */
static const struct {
    const pk_cpu_kernels *kernels;
    bool (*runs)(void);
    const char *needs;
} known[] = {
#ifdef PK_CPU_X86
    {&pk_cpu_avx512_kernels, runs_avx512, "AVX-512 (F, BW, DQ, VL)"},
    {&pk_cpu_avx2_kernels, runs_avx2, "AVX2, FMA or F16C"},
#endif
    {&pk_cpu_plain, runs_anywhere, ""},
};

pk_err pk_cpu_reserve(pk_device *device, size_t bytes)
{
    bytes = (bytes + SCRATCH_ALIGNMENT - 1) / SCRATCH_ALIGNMENT * SCRATCH_ALIGNMENT;
    if (bytes <= device->scratch_bytes)
        return PK_OK;
    size_t whole = bytes * pk_pool_threads(device->pool);
    char *scratch = aligned_alloc(SCRATCH_ALIGNMENT, whole);
    if (!scratch)
        return pk_fail(PK_NOMEM, "scratch memory of %zu bytes for the compute threads", whole);
    /* Lanes past an edge are computed and dropped: whatever lies here is read, so it must be numbers. */
    memset(scratch, 0, whole);
    free(device->scratch);
    device->scratch = scratch;
    device->scratch_bytes = bytes;
    return PK_OK;
}

static pk_err choose_kernels(pk_device *device, const char *backend)
{
    bool fastest = !strcmp(backend, "cpu");
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (!fastest && strcmp(backend, known[i].kernels->name))
            continue;
        if (known[i].runs()) {
            device->kernels = known[i].kernels;
            return PK_OK;
        }
        if (!fastest)
            return pk_fail(PK_INVALID, "backend %s: this processor lacks %s; use cpu", backend, known[i].needs);
    }
    if (!strcmp(backend, "cpu:avx2") || !strcmp(backend, "cpu:avx512"))
        return pk_fail(PK_INVALID, "backend %s: this build is not for x86-64; use cpu", backend);
    return pk_fail(PK_INVALID, "backend '%s' is not one of cpu, cpu:plain, cpu:avx2, cpu:avx512", backend);
}

pk_err pk_device_open(pk_device **out, pk_device_options options)
{
    assert(options.threads >= 1);
    pk_err err;
    pk_device *device = calloc(1, sizeof *device);
    *out = NULL;
    if (!device)
        return pk_fail(PK_NOMEM, "a compute device");
    if ((err = choose_kernels(device, options.backend)))
        goto out;
    if ((err = pk_pool_open(&device->pool, options.threads, options.progress)))
        goto out;
    device->ops.name = device->kernels->name;
    device->ops.alloc = device_alloc;
    device->ops.free = device_free;
    device->ops.forget = device_forget;
    device->ops.pack = pack;
    device->ops.pack_scales = pack_scales;
    pk_cpu_split_fill(&device->ops);
    pk_cpu_rows_fill(&device->ops);
    if ((err = pk_cpu_reserve(device, device->kernels->matmul_scratch)))
        goto out;
    *out = device;
    device = NULL;
out:
    pk_device_close(&device);
    return err;
}

const pk_ops *pk_device_ops(const pk_device *device)
{
    return &device->ops;
}

void pk_device_close(pk_device **device)
{
    if (!*device)
        return;
    pk_pool_close(&(*device)->pool);
    free((*device)->scratch);
    free(*device);
    *device = NULL;
}
