/* A fuzz target as a plain test: its corpus, and each file of it cut at every byte. Prints how many inputs passed; what
 * does not hold ends the process. */
#include "fuzz.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { CUTS_MAX = 4096 };

/* In memory of its own size, so that a sanitizer sees a byte too far. */
static void run(const uint8_t *data, size_t size)
{
    uint8_t *exact = malloc(size ? size : 1);
    MUST(exact != NULL);
    memcpy(exact, data, size);
    LLVMFuzzerTestOneInput(exact, size);
    free(exact);
}

static uint8_t *read_file(const char *path, size_t *size)
{
    struct stat status;
    FILE *file = fopen(path, "rb");
    MUST(file && fstat(fileno(file), &status) == 0);
    uint8_t *data = malloc((size_t)status.st_size + 1);
    MUST(data != NULL);
    *size = fread(data, 1, (size_t)status.st_size, file);
    MUST(*size == (size_t)status.st_size);
    fclose(file);
    return data;
}

static size_t run_file(const char *path)
{
    size_t size = 0;
    uint8_t *data = read_file(path, &size);
    size_t step = size / CUTS_MAX + 1, inputs = 1;
    run(data, size);
    for (size_t cut = 0; cut < size; cut += step, inputs++)
        run(data, cut);
    free(data);
    return inputs;
}

int main(int argc, char **argv)
{
    struct dirent **names = NULL;
    size_t inputs = 0;
    int files = 0;
    MUST(argc == 2);
    int count = scandir(argv[1], &names, NULL, alphasort);
    for (int i = 0; i < count; i++) {
        char path[4096];
        snprintf(path, sizeof path, "%s/%s", argv[1], names[i]->d_name);
        if (names[i]->d_name[0] != '.') {
            inputs += run_file(path);
            files++;
        }
        free(names[i]);
    }
    free(names);
    printf("%d files, %zu inputs\n", files, inputs);
    return files > 0 ? 0 : 1;
}
