#include "stages/weights.h"
#include "loader/reader.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef enum { FORM_MATRIX, FORM_SCALES, FORM_VECTOR, FORM_TABLE } kept_as;

/* Where one tensor goes. */
typedef struct {
    pk_weights *weights;
    pk_tensor_entry tensor; /* its views are into the checkpoint, until the load is done */
    kept_as form;
    pk_matrix matrix; /* FORM_MATRIX, FORM_SCALES */
    void *data;
    size_t bytes; /* of data; FORM_SCALES has none of its own, but goes into the matrix of the place before */
} place;

struct pk_weights {
    pk_device *device;
    const pk_ops *ops;
    pk_model_config model;
    pk_checkpoint *checkpoint; /* closed after the load */
    pk_naming naming;
    place *places;
    size_t count, capacity;
};

pk_err pk_weights_open(pk_weights **out, pk_device *device, const char *model)
{
    pk_err err;
    pk_weights *weights = calloc(1, sizeof *weights);
    if (!weights)
        return pk_fail(PK_NOMEM, "weights");
    weights->device = device;
    weights->ops = pk_device_ops(device);
    if (!(err = pk_config_read(&weights->model, model)))
        err = pk_checkpoint_open(&weights->checkpoint, model);
    if (!err)
        err = pk_naming_of(weights->checkpoint, &weights->naming);
    if (err)
        pk_weights_close(&weights);
    *out = weights;
    return err;
}

void pk_weights_close(pk_weights **weights)
{
    pk_weights *it = *weights;
    if (!it)
        return;
    for (size_t i = 0; i < it->count; i++)
        if (it->places[i].form != FORM_SCALES)
            it->ops->free(it->device, it->places[i].data, it->places[i].bytes);
    free(it->places);
    pk_checkpoint_close(&it->checkpoint);
    free(it);
    *weights = NULL;
}

const pk_model_config *pk_weights_model(const pk_weights *weights)
{
    return &weights->model;
}

static pk_err reserve_place(pk_weights *weights)
{
    if (weights->count < weights->capacity)
        return PK_OK;
    size_t capacity = weights->capacity ? 2 * weights->capacity : 64;
    place *places = realloc(weights->places, capacity * sizeof *places);
    if (!places)
        return pk_fail(PK_NOMEM, "a list of %zu weights", capacity);
    weights->places = places;
    weights->capacity = capacity;
    return PK_OK;
}

static size_t bytes_of(const pk_weight_entry *entry, kept_as form)
{
    if (form == FORM_MATRIX)
        return pk_matrix_bytes(entry->dtype, entry->shape[0], entry->shape[1]);
    return form == FORM_VECTOR ? entry->shape[0] * sizeof(float) : entry->values.bytes;
}

/* The scales of the matrix of the last place. */
static pk_err want_scales(pk_weights *weights, const pk_tensor_entry *scales)
{
    pk_err err = reserve_place(weights);
    if (err)
        return err;
    const place *values = &weights->places[weights->count - 1];
    weights->places[weights->count++] =
        (place){.weights = weights, .tensor = *scales, .form = FORM_SCALES, .matrix = values->matrix};
    return PK_OK;
}

/* The new place is valid until the next want. */
static pk_err want(pk_weights *weights, pk_weight weight, kept_as form, const place **out)
{
    pk_weight_entry entry;
    pk_err err = pk_weight_find(weights->checkpoint, &weights->model, weights->naming, weight, &entry);
    if (err || (err = reserve_place(weights)))
        return err;
    place *it = &weights->places[weights->count];
    *it = (place){.weights = weights, .tensor = entry.values, .form = form, .bytes = bytes_of(&entry, form)};
    if (!(it->data = weights->ops->alloc(weights->device, it->bytes)))
        return pk_fail(PK_NOMEM, "%zu bytes for tensor %s", it->bytes, entry.values.name);
    it->matrix =
        (pk_matrix){.dtype = entry.dtype, .outputs = entry.shape[0], .inputs = entry.shape[1], .data = it->data};
    size_t at = weights->count++;
    if (pk_dtype_is_quantised(entry.dtype))
        err = want_scales(weights, &entry.scales);
    *out = &weights->places[at];
    return err;
}

pk_err pk_weights_matrix(pk_weights *weights, pk_weight weight, pk_matrix *out)
{
    const place *it = NULL;
    pk_err err = want(weights, weight, FORM_MATRIX, &it);
    if (!err)
        *out = it->matrix;
    return err;
}

pk_err pk_weights_vector(pk_weights *weights, pk_weight weight, const float **out)
{
    const place *it = NULL;
    pk_err err = want(weights, weight, FORM_VECTOR, &it);
    if (!err)
        *out = it->data;
    return err;
}

pk_err pk_weights_table(pk_weights *weights, pk_weight weight, pk_table *out)
{
    const place *it = NULL;
    pk_err err = want(weights, weight, FORM_TABLE, &it);
    if (!err)
        *out = (pk_table){
            .dtype = it->tensor.dtype, .rows = it->tensor.shape[0], .width = it->tensor.shape[1], .data = it->data};
    return err;
}

/* pk_reader_rows */
static pk_err deliver(void *user, const pk_tensor_entry *tensor, uint64_t first_row, uint64_t row_count,
                      const void *rows)
{
    const place *it = user;
    uint64_t row_bytes = pk_tensor_row_bytes(tensor);
    switch (it->form) {
    case FORM_MATRIX:
        it->weights->ops->pack(&it->matrix, first_row, row_count, rows);
        break;
    case FORM_SCALES:
        it->weights->ops->pack_scales(&it->matrix, first_row, row_count, rows, tensor->dtype);
        break;
    case FORM_VECTOR: /* one row */
        for (size_t i = 0; i < tensor->shape[0]; i++)
            ((float *)it->data)[i] = pk_float_at(rows, tensor->dtype, i);
        break;
    case FORM_TABLE:
        memcpy((char *)it->data + first_row * row_bytes, rows, row_count * row_bytes);
        break;
    }
    return PK_OK;
}

static void report(void *context, uint64_t done, uint64_t total)
{
    pk_stage *stage = context;
    stage->loading(stage, done, total);
}

static pk_err reader_kind(const char *io, pk_reader_kind *out)
{
    static const char *const words[] = {
        [PK_READER_AUTO] = "auto", [PK_READER_URING] = "uring", [PK_READER_PREAD] = "pread"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (!strcmp(io, words[i])) {
            *out = (pk_reader_kind)i;
            return PK_OK;
        }
    return pk_fail(PK_INVALID, "io is '%s', expected auto, uring or pread", io);
}

static void tell_ready(pk_control *ready, const pk_reader *reader)
{
    pk_reader_counters counters = pk_reader_count(reader);
    const char *note = pk_reader_note(reader);
    ready->bytes_done = ready->bytes_total = counters.bytes;
    ready->tensors = counters.tensors;
    snprintf(ready->note, sizeof ready->note, "%s", note ? note : "");
}

pk_err pk_weights_load(pk_weights *weights, pk_stage *stage)
{
    pk_reader_options options = {.progress = report, .progress_context = stage};
    pk_reader *reader = NULL;
    pk_read_request *requests = NULL;
    pk_err err = reader_kind(stage->assignment.io, &options.kind);
    if (err || (err = pk_reader_open(&reader, options)))
        goto out;
    if (!(requests = calloc(weights->count + 1, sizeof *requests))) {
        err = pk_fail(PK_NOMEM, "requests for %zu tensors", weights->count);
        goto out;
    }
    for (size_t i = 0; i < weights->count; i++)
        requests[i] = (pk_read_request){.tensor = &weights->places[i].tensor, .user = &weights->places[i]};
    if ((err = pk_reader_read(reader, requests, weights->count, deliver)))
        goto out;
    tell_ready(&stage->ready, reader);
    pk_checkpoint_close(&weights->checkpoint);
out:
    free(requests);
    pk_reader_close(&reader);
    return pk_pass(err, "weights");
}
