/* model.safetensors.index.json, beside two shards: "a" with the tensors x and y, "b" with z. */
#include "fuzz.h"
#include "loader/checkpoint.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char dir[64];

static void write_file(const char *name, const void *data, size_t size)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *file = fopen(path, "wb");
    MUST(file && fwrite(data, 1, size, file) == size && fclose(file) == 0);
}

static void write_shard(const char *name, const char *header, size_t data_bytes)
{
    char bytes[256] = {(char)strlen(header)};
    memcpy(bytes + 8, header, strlen(header));
    write_file(name, bytes, 8 + strlen(header) + data_bytes);
}

static void remove_shards(void)
{
    static const char *const names[] = {"a", "b", "model.safetensors.index.json"};
    char path[128];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        unlink(path);
    }
    rmdir(dir);
}

static void make_shards(void)
{
    snprintf(dir, sizeof dir, "%s/penstock-fuzz-XXXXXX", access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm");
    MUST(mkdtemp(dir) && atexit(remove_shards) == 0);
    write_shard("a",
                "{\"x\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
                "\"y\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[1,2]}}",
                2);
    write_shard("b", "{\"z\":{\"dtype\":\"F32\",\"shape\":[0,3],\"data_offsets\":[0,0]}}", 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    pk_checkpoint *checkpoint = NULL;
    if (!*dir)
        make_shards();
    write_file("model.safetensors.index.json", data, size);
    pk_err err = pk_checkpoint_open(&checkpoint, dir);
    if (err) {
        fuzz_refused(err);
        MUST(checkpoint == NULL);
        return 0;
    }
    size_t tensors = 0;
    MUST(pk_checkpoint_file_count(checkpoint) <= 2);
    for (size_t i = 0; i < pk_checkpoint_file_count(checkpoint); i++)
        tensors += pk_safetensors_count(pk_checkpoint_file(checkpoint, i));
    MUST(tensors == pk_checkpoint_count(checkpoint) && tensors >= 1);
    for (size_t i = 0; i < tensors; i++)
        MUST(pk_checkpoint_find(checkpoint, pk_checkpoint_at(checkpoint, i)->name) == pk_checkpoint_at(checkpoint, i));
    pk_checkpoint_close(&checkpoint);
    return 0;
}
