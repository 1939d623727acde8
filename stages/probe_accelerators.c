/* probe_accelerators.c - GPUs, as far as their driver tells. Only dlopen: where there is no driver this is the answer.
 */
#include "stages/probe.h"

#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>

/* Of the CUDA driver interface, whose functions answer 0 for success. */
typedef int (*init_function)(unsigned flags);
typedef int (*count_function)(int *count);
typedef int (*device_function)(int *device, int ordinal);
typedef int (*name_function)(char *name, int bytes, int device);
typedef int (*memory_function)(size_t *bytes, int device);

/* A function pointer out of a library; ISO C knows no cast between the two kinds of pointer, POSIX demands it. */
#define FUNCTION(type, library, name) ((type)(__extension__(uintptr_t) dlsym(library, name)))

static int version_of(void *library, const char *name)
{
    int version = 0;
    count_function ask = FUNCTION(count_function, library, name);
    return ask && !ask(&version) ? version : 0;
}

static void print_device(void *driver, int ordinal)
{
    char name[128] = "unknown";
    size_t bytes = 0;
    int device = 0;
    device_function get = FUNCTION(device_function, driver, "cuDeviceGet");
    name_function name_of = FUNCTION(name_function, driver, "cuDeviceGetName");
    memory_function total = FUNCTION(memory_function, driver, "cuDeviceTotalMem_v2");
    if (get && name_of && total && !get(&device, ordinal)) {
        (void)name_of(name, sizeof name, device);
        (void)total(&bytes, device);
    }
    for (char *at = name; *at; at++)
        if (*at < ' ' || *at == '"' || *at == '\\')
            *at = '?';
    printf("%s{\"name\": \"%s\", \"memory_bytes\": %zu}", ordinal ? ", " : "", name, bytes);
}

static int count_devices(void *driver)
{
    int count = 0;
    init_function init = FUNCTION(init_function, driver, "cuInit");
    count_function ask = FUNCTION(count_function, driver, "cuDeviceGetCount");
    return init && ask && !init(0) && !ask(&count) ? count : 0;
}

pk_err pk_probe_print_accelerators(void)
{
    void *driver = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL), *nccl = dlopen("libnccl.so.2", RTLD_NOW | RTLD_LOCAL);
    int count = driver ? count_devices(driver) : 0;
    printf("{\"cuda\": %d, \"nccl\": %d, \"devices\": [", driver ? version_of(driver, "cuDriverGetVersion") : 0,
           nccl ? version_of(nccl, "ncclGetVersion") : 0);
    for (int i = 0; i < count; i++)
        print_device(driver, i);
    printf("]}\n");
    return PK_OK;
}
