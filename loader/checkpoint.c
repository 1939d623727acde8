#include "loader/checkpoint.h"

#include "loader/index.h"
#include "loader/tokenizer_files.h"

#include <assert.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    CONFIG_BYTES_MAX = 4 << 20,
    TOKENIZER_BYTES_MAX = 1 << 30,
    BESIDE_MAX = 2 + PK_TOKENIZER_FILES_MAX, /* files beside the weights in the fingerprint */
    SAMPLE_COUNT = 16,                       /* of a file's data in the fingerprint */
    SAMPLE_BYTES = 4096,
};

static const char single_name[] = "model.safetensors";

struct pk_checkpoint {
    char *dir;
    size_t file_count;
    pk_safetensors **files; /* in order of name */
    size_t count;
    const pk_tensor_entry **entries; /* of all files, in order of name */
    uint64_t bytes;
};

static int compare_entries(const void *left, const void *right)
{
    return strcmp((*(const pk_tensor_entry *const *)left)->name, (*(const pk_tensor_entry *const *)right)->name);
}

static pk_err path_in(char **out, const char *dir, const char *name)
{
    if (asprintf(out, "%s/%s", dir, name) >= 0)
        return PK_OK;
    *out = NULL;
    return pk_fail(PK_NOMEM, "no memory for a path");
}

static pk_err open_file(pk_checkpoint *checkpoint, const char *name)
{
    char *path = NULL;
    pk_err err = path_in(&path, checkpoint->dir, name);
    if (!err && !(err = pk_safetensors_open(&checkpoint->files[checkpoint->file_count], path)))
        checkpoint->file_count++;
    free(path);
    return err;
}

static pk_err open_single(pk_checkpoint *checkpoint)
{
    if (!(checkpoint->files = calloc(1, sizeof *checkpoint->files)))
        return pk_fail(PK_NOMEM, "no memory for a table of files");
    return open_file(checkpoint, single_name);
}

/* The index's lines for one file, and that file's header, must name the same tensors: a tensor that only one of them
 * knows means that they do not belong together. */
static pk_err check_file(const pk_safetensors *file, const pk_placement *list, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!pk_safetensors_find(file, list[i].tensor))
            return pk_fail(PK_CORRUPT, "tensor %.*s is not in %s, where %s puts it", PK_TENSOR_NAME_MAX, list[i].tensor,
                           list[i].file, PK_INDEX_FILE);
    if (pk_safetensors_count(file) != count)
        return pk_fail(PK_CORRUPT, "%s has %zu tensors, %s puts %zu there", list[0].file, pk_safetensors_count(file),
                       PK_INDEX_FILE, count);
    return PK_OK;
}

static size_t count_files(const pk_index *index)
{
    size_t files = 0;
    for (size_t first = 0; first < index->count; first += pk_index_run(index, first))
        files++;
    return files;
}

static pk_err open_placed(pk_checkpoint *checkpoint, const pk_index *index)
{
    pk_err err = PK_OK;
    size_t files = count_files(index);
    if (files > PK_CHECKPOINT_SHARDS_MAX)
        return pk_fail(PK_CORRUPT, "%s names %zu files, expected at most %d", PK_INDEX_FILE, files,
                       PK_CHECKPOINT_SHARDS_MAX);
    if (!(checkpoint->files = calloc(files, sizeof *checkpoint->files)))
        return pk_fail(PK_NOMEM, "no memory for a table of %zu files", files);
    for (size_t first = 0, count; first < index->count && !err; first += count) {
        const pk_placement *list = index->placements + first;
        count = pk_index_run(index, first);
        if (!(err = open_file(checkpoint, list->file)))
            err = check_file(checkpoint->files[checkpoint->file_count - 1], list, count);
    }
    return err;
}

static pk_err open_indexed(pk_checkpoint *checkpoint, const char *path)
{
    pk_index index;
    pk_err err = pk_index_read(&index, path);
    if (!err)
        err = open_placed(checkpoint, &index);
    pk_index_fini(&index);
    return err;
}

/* As the public libraries do: the single file where there is one. */
static pk_err open_files(pk_checkpoint *checkpoint)
{
    pk_err err = PK_OK;
    char *single = NULL, *index = NULL;
    if ((err = path_in(&single, checkpoint->dir, single_name)) ||
        (err = path_in(&index, checkpoint->dir, PK_INDEX_FILE)))
        goto out;
    if (!access(single, F_OK))
        err = open_single(checkpoint);
    else if (!access(index, F_OK))
        err = open_indexed(checkpoint, index);
    else
        err = pk_fail(PK_IO, "%s: has neither %s nor %s", checkpoint->dir, single_name, PK_INDEX_FILE);
out:
    free(single);
    free(index);
    return err;
}

static pk_err index_entries(pk_checkpoint *checkpoint)
{
    size_t count = 0;
    for (size_t f = 0; f < checkpoint->file_count; f++)
        count += pk_safetensors_count(checkpoint->files[f]);
    if (!(checkpoint->entries = calloc(count + 1, sizeof *checkpoint->entries)))
        return pk_fail(PK_NOMEM, "no memory for %zu tensors", count);
    for (size_t f = 0; f < checkpoint->file_count; f++)
        for (size_t i = 0; i < pk_safetensors_count(checkpoint->files[f]); i++) {
            const pk_tensor_entry *entry = pk_safetensors_at(checkpoint->files[f], i);
            checkpoint->entries[checkpoint->count++] = entry;
            checkpoint->bytes += entry->bytes;
        }
    qsort(checkpoint->entries, count, sizeof *checkpoint->entries, compare_entries);
    return PK_OK;
}

pk_err pk_checkpoint_open(pk_checkpoint **out, const char *dir)
{
    pk_err err = PK_OK;
    *out = NULL;
    pk_checkpoint *checkpoint = calloc(1, sizeof *checkpoint);
    if (!checkpoint || !(checkpoint->dir = strdup(dir)))
        err = pk_fail(PK_NOMEM, "no memory for a checkpoint");
    else if (!(err = open_files(checkpoint)))
        err = index_entries(checkpoint);
    if (err)
        pk_checkpoint_close(&checkpoint);
    *out = checkpoint;
    return err;
}

void pk_checkpoint_close(pk_checkpoint **checkpoint)
{
    pk_checkpoint *held = *checkpoint;
    *checkpoint = NULL;
    if (!held)
        return;
    for (size_t f = 0; f < held->file_count; f++)
        pk_safetensors_close(&held->files[f]);
    free(held->files);
    free(held->entries);
    free(held->dir);
    free(held);
}

const char *pk_checkpoint_dir(const pk_checkpoint *checkpoint)
{
    return checkpoint->dir;
}

size_t pk_checkpoint_count(const pk_checkpoint *checkpoint)
{
    return checkpoint->count;
}

const pk_tensor_entry *pk_checkpoint_at(const pk_checkpoint *checkpoint, size_t index)
{
    assert(index < checkpoint->count);
    return checkpoint->entries[index];
}

uint64_t pk_checkpoint_bytes(const pk_checkpoint *checkpoint)
{
    return checkpoint->bytes;
}

size_t pk_checkpoint_file_count(const pk_checkpoint *checkpoint)
{
    return checkpoint->file_count;
}

const pk_safetensors *pk_checkpoint_file(const pk_checkpoint *checkpoint, size_t index)
{
    assert(index < checkpoint->file_count);
    return checkpoint->files[index];
}

const pk_tensor_entry *pk_checkpoint_find(const pk_checkpoint *checkpoint, const char *name)
{
    pk_tensor_entry wanted = {.name = name};
    const pk_tensor_entry *key = &wanted, **found;
    found = bsearch(&key, checkpoint->entries, checkpoint->count, sizeof *checkpoint->entries, compare_entries);
    return found ? *found : NULL;
}

static bool shape_fits(const pk_tensor_entry *entry, unsigned rank, const uint64_t *shape)
{
    bool fits = entry->rank == rank;
    for (unsigned i = 0; i < rank && fits; i++)
        fits = shape[i] ? entry->shape[i] == shape[i] : entry->shape[i] > 0;
    return fits;
}

static pk_err find_shaped(const pk_checkpoint *checkpoint, const char *name, unsigned rank, const uint64_t *shape,
                          const pk_tensor_entry **out)
{
    char found[PK_TENSOR_SHAPE_TEXT], expected[PK_TENSOR_SHAPE_TEXT];
    const pk_tensor_entry *entry = pk_checkpoint_find(checkpoint, name);
    pk_tensor_shape_text(expected, rank, shape);
    if (!entry)
        return pk_fail(PK_CORRUPT, "%s: tensor %s is missing, expected it with shape %s", checkpoint->dir, name,
                       expected);
    if (!shape_fits(entry, rank, shape))
        return pk_fail(PK_CORRUPT, "%s: tensor %s has shape %s, expected %s", pk_safetensors_path(entry->file), name,
                       pk_tensor_shape_text(found, entry->rank, entry->shape), expected);
    *out = entry;
    return PK_OK;
}

static pk_err wrong_type(const pk_tensor_entry *entry, const char *expected)
{
    return pk_fail(PK_CORRUPT, "%s: tensor %s is stored as %s, expected %s", pk_safetensors_path(entry->file),
                   entry->name, entry->dtype_name, expected);
}

pk_err pk_checkpoint_require(const pk_checkpoint *checkpoint, const char *name, unsigned rank, const uint64_t *shape,
                             const pk_tensor_entry **out)
{
    const pk_tensor_entry *entry = NULL;
    pk_err err = find_shaped(checkpoint, name, rank, shape, &entry);
    if (!err && entry->dtype != PK_F32 && entry->dtype != PK_BF16 && entry->dtype != PK_F16)
        err = wrong_type(entry, "F32, BF16 or F16");
    if (out)
        *out = err ? NULL : entry;
    return err;
}

pk_err pk_checkpoint_require_as(const pk_checkpoint *checkpoint, pk_dtype dtype, const char *name, unsigned rank,
                                const uint64_t *shape, const pk_tensor_entry **out)
{
    *out = NULL;
    pk_err err = find_shaped(checkpoint, name, rank, shape, out);
    return !err && (*out)->dtype != dtype ? wrong_type(*out, pk_dtype_name(dtype)) : err;
}

/* Digests of samples spread evenly over the data, the first and the last byte among them. */
static pk_err sample_file(const pk_safetensors *file, int fd, pk_digest out[SAMPLE_COUNT])
{
    uint8_t sample[SAMPLE_BYTES];
    uint64_t begin = pk_safetensors_data_offset(file), bytes = pk_safetensors_identity(file)->bytes - begin;
    size_t length = bytes < SAMPLE_BYTES ? (size_t)bytes : SAMPLE_BYTES;
    uint64_t room = bytes - length;
    for (unsigned i = 0; i < SAMPLE_COUNT; i++) {
        uint64_t offset = begin + room / (SAMPLE_COUNT - 1) * i;
        if (i == SAMPLE_COUNT - 1)
            offset = begin + room;
        pk_err err = pk_file_read_at(fd, sample, length, offset);
        if (err)
            return err;
        out[i] = pk_digest_of(sample, length);
    }
    return PK_OK;
}

static pk_err fingerprint_file(const pk_safetensors *file, pk_digest *out)
{
    pk_err err = PK_OK;
    pk_digest parts[1 + SAMPLE_COUNT];
    pk_file_identity now;
    int fd = -1;
    if ((err = pk_file_open(&fd, &now, pk_safetensors_path(file), 0)))
        return err;
    if (!pk_file_same(&now, pk_safetensors_identity(file))) {
        err = pk_fail(PK_CORRUPT, "has changed since its header was read");
        goto out;
    }
    parts[0] = pk_safetensors_digest(file);
    if (!(err = sample_file(file, fd, parts + 1)))
        *out = pk_digest_of(parts, sizeof parts);
out:
    pk_file_close(&fd);
    return pk_pass(err, "%s", pk_safetensors_path(file));
}

/* A file beside the weights; one that may be missing counts as empty then. */
static pk_err fingerprint_beside(const char *dir, const char *name, bool needed, pk_digest *out)
{
    char *path = NULL, *text = NULL;
    size_t bytes = 0;
    pk_err err = path_in(&path, dir, name);
    if (!err && (needed || !access(path, F_OK)))
        err = pk_file_read_all(&text, &bytes, path, needed ? CONFIG_BYTES_MAX : TOKENIZER_BYTES_MAX);
    if (!err)
        *out = pk_digest_of(text, bytes);
    free(text);
    free(path);
    return err;
}

pk_err pk_checkpoint_fingerprint(const pk_checkpoint *checkpoint, pk_digest *out)
{
    const char *beside[BESIDE_MAX] = {"config.json"};
    size_t beside_count = 1 + pk_tokenizer_files(checkpoint->dir, beside + 1);
    beside[beside_count++] = "tokenizer_config.json";
    pk_err err = PK_OK;
    size_t count = checkpoint->file_count + beside_count;
    pk_digest *parts = calloc(count, sizeof *parts);
    if (!parts)
        return pk_fail(PK_NOMEM, "no memory for a fingerprint");
    for (size_t i = 0; i < beside_count && !err; i++)
        err = fingerprint_beside(checkpoint->dir, beside[i], i == 0, &parts[i]);
    for (size_t f = 0; f < checkpoint->file_count && !err; f++)
        err = fingerprint_file(checkpoint->files[f], &parts[beside_count + f]);
    if (!err)
        *out = pk_digest_of(parts, count * sizeof *parts);
    free(parts);
    return err;
}
