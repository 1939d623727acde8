#include "loader/survey.h"

#include "loader/file.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char single_name[] = "model.safetensors";

const char *pk_survey_fault_word(pk_survey_fault_kind kind)
{
    static const char *const words[] = {
#define X(kind, word, sentence) [PK_SURVEY_FAULT_##kind] = word,
        PK_SURVEY_FAULTS(X)
#undef X
    };
    return words[kind];
}

const char *pk_survey_part_word(pk_survey_part part)
{
    static const char *const words[] = {
#define X(part, word) [PK_SURVEY_PART_##part] = word,
        PK_SURVEY_PARTS(X)
#undef X
    };
    return words[part];
}

pk_err pk_survey_add_fault(pk_survey *survey, pk_survey_fault_kind kind, const char *where, const char *format, ...)
{
    va_list arguments;
    pk_survey_fault fault = {.kind = kind, .where = strdup(where)};
    pk_survey_fault *faults = reallocarray(survey->faults, survey->fault_count + 1, sizeof *faults);
    if (faults)
        survey->faults = faults;
    va_start(arguments, format);
    if (vasprintf(&fault.what, format, arguments) < 0)
        fault.what = NULL;
    va_end(arguments);
    if (!faults || !fault.where || !fault.what) {
        free(fault.where);
        free(fault.what);
        return pk_fail(PK_NOMEM, "no memory for a fault");
    }
    survey->faults[survey->fault_count++] = fault;
    return PK_OK;
}

/* Memory is a reason to stop, everything else one to note. */
static pk_err note(pk_survey *survey, pk_survey_fault_kind kind, const char *where, pk_err err)
{
    if (err == PK_OK || err == PK_NOMEM)
        return err;
    char text[PK_ERROR_TEXT_BYTES];
    snprintf(text, sizeof text, "%s", pk_error_text());
    return pk_survey_add_fault(survey, kind, where, "%s", text);
}

static pk_err open_shard(pk_survey *survey, const char *name, size_t tensors)
{
    pk_err err = PK_OK;
    char *path = NULL;
    pk_survey_shard *shard = &survey->shards[survey->shard_count++];
    *shard = (pk_survey_shard){.name = name, .tensors = tensors, .absent = !pk_file_is_there(survey->dir, name)};
    survey->absent_count += shard->absent;
    if (shard->absent)
        return PK_OK;
    if (asprintf(&path, "%s/%s", survey->dir, name) < 0)
        return pk_fail(PK_NOMEM, "no memory for a path");
    err = note(survey, PK_SURVEY_FAULT_SHARD, name, pk_safetensors_open(&shard->file, path));
    free(path);
    return err;
}

/* The index's lines for a shard whose header is there must be its tensors. */
static pk_err compare_header(pk_survey *survey, const pk_survey_shard *shard, const pk_placement *list, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!pk_safetensors_find(shard->file, list[i].tensor))
            return pk_survey_add_fault(survey, PK_SURVEY_FAULT_SHARD, shard->name,
                                       "tensor %s is not in %s, where the index puts it", list[i].tensor, shard->name);
    if (pk_safetensors_count(shard->file) != count)
        return pk_survey_add_fault(survey, PK_SURVEY_FAULT_SHARD, shard->name,
                                   "%s has %zu tensors, the index puts %zu there", shard->name,
                                   pk_safetensors_count(shard->file), count);
    return PK_OK;
}

static pk_err add_tensor(pk_survey *survey, pk_survey_tensor tensor)
{
    size_t count = survey->tensor_count;
    if (!(count & (count - 1))) { /* at a power of two it is full */
        pk_survey_tensor *grown = reallocarray(survey->tensors, count ? 2 * count : 1, sizeof *grown);
        if (!grown)
            return pk_fail(PK_NOMEM, "no memory for %zu tensors", count);
        survey->tensors = grown;
    }
    survey->tensors[survey->tensor_count++] = tensor;
    survey->headless_count += !tensor.entry;
    return PK_OK;
}

static pk_err add_header(pk_survey *survey, size_t shard)
{
    pk_err err = PK_OK;
    const pk_safetensors *file = survey->shards[shard].file;
    for (size_t i = 0; i < pk_safetensors_count(file) && !err; i++) {
        const pk_tensor_entry *entry = pk_safetensors_at(file, i);
        err = add_tensor(survey, (pk_survey_tensor){.name = entry->name, .shard = shard, .entry = entry});
    }
    survey->shards[shard].tensors = pk_safetensors_count(file);
    return err;
}

static pk_err survey_placed(pk_survey *survey, const pk_placement *list, size_t count)
{
    pk_err err = open_shard(survey, list->file, count);
    size_t shard = survey->shard_count - 1;
    if (err)
        return err;
    if (survey->shards[shard].file) {
        err = compare_header(survey, &survey->shards[shard], list, count);
        return err ? err : add_header(survey, shard);
    }
    for (size_t i = 0; i < count && !err; i++)
        err = add_tensor(survey, (pk_survey_tensor){.name = list[i].tensor, .shard = shard});
    return err;
}

static pk_err survey_index(pk_survey *survey)
{
    char *path = NULL;
    pk_err err;
    if (asprintf(&path, "%s/%s", survey->dir, PK_INDEX_FILE) < 0)
        return pk_fail(PK_NOMEM, "no memory for a path");
    err = note(survey, PK_SURVEY_FAULT_INDEX, PK_INDEX_FILE, pk_index_read(&survey->index, path));
    free(path);
    if (!err && !(survey->shards = calloc(survey->index.count + 1, sizeof *survey->shards)))
        err = pk_fail(PK_NOMEM, "no memory for a table of files");
    for (size_t first = 0, count; first < survey->index.count && !err; first += count) {
        count = pk_index_run(&survey->index, first);
        err = survey_placed(survey, survey->index.placements + first, count);
    }
    return err;
}

static pk_err survey_single(pk_survey *survey)
{
    if (!(survey->shards = calloc(1, sizeof *survey->shards)))
        return pk_fail(PK_NOMEM, "no memory for a table of files");
    pk_err err = open_shard(survey, single_name, 0);
    return err || !survey->shards[0].file ? err : add_header(survey, 0);
}

static int compare_tensors(const void *left, const void *right)
{
    return strcmp(((const pk_survey_tensor *)left)->name, ((const pk_survey_tensor *)right)->name);
}

/* The single file where there is one, as pk_checkpoint_open. */
static pk_err survey_weights(pk_survey *survey)
{
    pk_err err = PK_OK;
    if (pk_file_is_there(survey->dir, single_name))
        err = survey_single(survey);
    else if (pk_file_is_there(survey->dir, PK_INDEX_FILE))
        err = survey_index(survey);
    else
        err = pk_survey_add_fault(survey, PK_SURVEY_FAULT_ABSENT, single_name, "%s: has neither %s nor %s", survey->dir,
                                  single_name, PK_INDEX_FILE);
    if (!err && survey->tensor_count)
        qsort(survey->tensors, survey->tensor_count, sizeof *survey->tensors, compare_tensors);
    return err;
}

static pk_err survey_config(pk_survey *survey)
{
    pk_err err = pk_config_read(&survey->config, survey->dir);
    survey->has_config = !err;
    return note(survey, PK_SURVEY_FAULT_CONFIG, "config.json", err);
}

pk_err pk_survey_open(pk_survey **out, const char *dir)
{
    pk_err err = PK_OK;
    *out = NULL;
    if (!pk_file_is_there(dir, "config.json") && !pk_file_is_there(dir, single_name) &&
        !pk_file_is_there(dir, PK_INDEX_FILE))
        return pk_fail(PK_IO, "%s: has neither config.json nor %s nor %s", dir, single_name, PK_INDEX_FILE);
    pk_survey *survey = calloc(1, sizeof *survey);
    if (!survey || !(survey->dir = strdup(dir)))
        err = pk_fail(PK_NOMEM, "no memory for a survey");
    if (!err && !(err = survey_config(survey)) && !(err = survey_weights(survey)))
        err = pk_survey_compare(survey);
    if (!err)
        survey->tokenizer_file_count = pk_tokenizer_files(dir, survey->tokenizer_files);
    if (err)
        pk_survey_close(&survey);
    *out = survey;
    return err;
}

void pk_survey_close(pk_survey **survey)
{
    pk_survey *held = *survey;
    *survey = NULL;
    if (!held)
        return;
    for (size_t i = 0; i < held->shard_count; i++)
        pk_safetensors_close(&held->shards[i].file);
    for (size_t i = 0; i < held->fault_count; i++) {
        free(held->faults[i].where);
        free(held->faults[i].what);
    }
    free(held->faults);
    free(held->shards);
    free(held->tensors);
    free(held->extra);
    pk_weight_list_fini(&held->expected);
    pk_index_fini(&held->index);
    free(held->dir);
    free(held);
}

const pk_survey_tensor *pk_survey_find(const pk_survey *survey, const char *name)
{
    pk_survey_tensor wanted = {.name = name};
    return survey->tensor_count
               ? bsearch(&wanted, survey->tensors, survey->tensor_count, sizeof wanted, compare_tensors)
               : NULL;
}
