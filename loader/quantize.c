#include "loader/quantize.h"

#include "loader/draft.h"
#include "loader/index.h"
#include "loader/quantize_row.h"
#include "loader/reader.h"
#include "loader/safetensors_writer.h"
#include "loader/tokenizer_files.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    CONFIG_BYTES_MAX = 4 << 20,
    TENSORS_EACH_MAX = 3, /* values, scales, shape */
    /* Bytes of stored weights that are rounded at a time: small enough for the second-level cache. */
    ROUND_BYTES = 256 << 10,
};

typedef struct {
    char text[PK_WEIGHT_NAME_BYTES + 16];
} tensor_name;

/* One weight on its way from one file to the other. */
typedef struct {
    pk_quantizer *q;
    pk_weight weight;
    pk_weight_spec spec;
    pk_tensor_entry from;
    size_t file;              /* of the source */
    bool rounded;             /* to integers; else copied */
    size_t tensor;            /* of the writer: the values; scales and shape follow */
    pk_quantize_loss *losses; /* [rows], while its file is at work: rows come in any order */
} item;

struct pk_quantizer {
    pk_quantize_options options;
    pk_quantize_report report;
    pk_model_config config;
    pk_checkpoint *checkpoint;
    pk_naming naming;
    pk_draft *draft;
    pk_reader *reader;
    item *items; /* in order of file and offset */
    size_t count;
    pk_safetensors_writer *writer; /* of the file at hand */
    uint64_t done_bytes;           /* of the files before */
    tensor_name *names;            /* [TENSORS_EACH_MAX × items of the file at hand] */
    /* Room for some rows: as floats, and as what is written. */
    float *row;
    void *values, *scales;
    size_t row_capacity, values_capacity, scales_capacity;
};

bool pk_quantize_takes(pk_quantize_what what, pk_weight_role role)
{
    switch (role) {
    case PK_WEIGHT_EMBED:
    case PK_WEIGHT_HEAD:
    case PK_WEIGHT_ROUTER:
    case PK_WEIGHT_SHARED_COEFFICIENT:
    case PK_WEIGHT_FINAL_NORM:
    case PK_WEIGHT_INPUT_NORM:
    case PK_WEIGHT_POST_ATTENTION_NORM:
    case PK_WEIGHT_ATTENTION_NORM:
        return false;
    default:
        return what == PK_QUANTIZE_LINEAR || pk_weight_scope_of(role) == PK_WEIGHT_OF_EXPERT;
    }
}

/* The source's file that an entry lies in. */
static size_t file_of(const pk_quantizer *q, const pk_safetensors *file)
{
    size_t index = 0;
    while (pk_checkpoint_file(q->checkpoint, index) != file)
        index++;
    return index;
}

static int compare_items(const void *left, const void *right)
{
    const item *a = left, *b = right;
    if (a->file != b->file)
        return a->file < b->file ? -1 : 1;
    if (a->from.offset != b->from.offset)
        return a->from.offset < b->from.offset ? -1 : 1;
    return strcmp(a->spec.name, b->spec.name);
}

static pk_err plan_item(pk_quantizer *q, pk_weight weight)
{
    pk_weight_entry entry;
    item *it = &q->items[q->count];
    pk_err err = pk_weight_find(q->checkpoint, &q->config, q->naming, weight, &entry);
    if (err)
        return err;
    *it = (item){.q = q, .weight = weight, .spec = pk_weight_describe(&q->config, weight), .from = entry.values};
    memcpy(it->spec.shape, entry.shape, sizeof it->spec.shape); /* of a shared expert only the tensor knows it */
    it->file = file_of(q, entry.values.file);
    it->rounded = pk_quantize_takes(q->options.what, weight.role);
    q->report.source_bytes += entry.values.bytes;
    q->count++;
    return PK_OK;
}

static pk_err plan_items(pk_quantizer *q)
{
    pk_err err = PK_OK;
    pk_weight weight;
    size_t count = 0;
    for (pk_weight_walk walk = {0}; pk_weight_next(&q->config, &walk, &weight);)
        count++;
    q->items = calloc(count, sizeof *q->items);
    q->report.errors = calloc(count, sizeof *q->report.errors);
    if (!q->items || !q->report.errors)
        return pk_fail(PK_NOMEM, "a list of %zu weights", count);
    for (pk_weight_walk walk = {0}; !err && pk_weight_next(&q->config, &walk, &weight);)
        err = plan_item(q, weight);
    qsort(q->items, q->count, sizeof *q->items, compare_items);
    return err;
}

static pk_err open_source(pk_quantizer *q)
{
    const char *source = q->options.source;
    pk_err err = pk_config_read(&q->config, source);
    if (!err && q->config.quantised)
        return pk_fail(PK_INVALID, "%s: is quantised already, expected a model with weights in F32, BF16 or F16",
                       source);
    if (!err)
        err = pk_checkpoint_open(&q->checkpoint, source);
    if (!err)
        err = pk_naming_of(q->checkpoint, &q->naming);
    return err ? err : plan_items(q);
}

/* The tensors that an item becomes; how many. */
static size_t describe(const item *it, pk_dtype dtype, pk_tensor_spec specs[TENSORS_EACH_MAX], tensor_name *names)
{
    static const char *const int8_endings[] = {"", PK_QUANTIZED_SCALE};
    static const char *const int4_endings[] = {PK_QUANTIZED_PACKED, PK_QUANTIZED_SCALE, PK_QUANTIZED_SHAPE};
    const char *const *endings = dtype == PK_I4 ? int4_endings : int8_endings;
    size_t count = it->rounded ? (dtype == PK_I4 ? 3 : 2) : 1;
    uint64_t rows = it->spec.shape[0], columns = it->spec.shape[1];
    for (size_t i = 0; i < count; i++) {
        snprintf(names[i].text, sizeof names[i].text, "%s%s", it->spec.name, it->rounded ? endings[i] : "");
        specs[i] = (pk_tensor_spec){
            .name = names[i].text, .dtype = it->from.dtype, .rank = it->spec.rank, .shape = {rows, columns}};
    }
    if (!it->rounded)
        return count;
    specs[0].dtype = pk_quantized_stored(dtype);
    specs[0].shape[1] = pk_quantized_columns(dtype, columns);
    specs[1].shape[1] = pk_groups(columns);
    if (count == 3)
        specs[2] = (pk_tensor_spec){.name = names[2].text, .dtype = PK_I64, .rank = 1, .shape = {2}};
    return count;
}

/* The file's own name, as in the source. */
static const char *file_name(const pk_quantizer *q, size_t file)
{
    const char *path = pk_safetensors_path(pk_checkpoint_file(q->checkpoint, file)), *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static pk_err open_writer(pk_quantizer *q, item *items, size_t count)
{
    pk_err err = PK_OK;
    char *path = NULL;
    size_t tensors = 0;
    uint64_t bytes;
    pk_tensor_spec *specs = calloc(count, TENSORS_EACH_MAX * sizeof *specs);
    q->names = calloc(count, TENSORS_EACH_MAX * sizeof *q->names);
    if (!specs || !q->names || asprintf(&path, "%s/%s", pk_draft_path(q->draft), file_name(q, items->file)) < 0) {
        path = NULL;
        err = pk_fail(PK_NOMEM, "a table of %zu tensors", count);
        goto out;
    }
    for (size_t i = 0; i < count; i++) {
        items[i].tensor = tensors;
        tensors += describe(&items[i], q->options.dtype, specs + tensors, q->names + tensors);
    }
    for (size_t i = 0; i < tensors && !err; i++)
        if (!(err = pk_tensor_spec_bytes(&bytes, &specs[i])))
            q->report.bytes += bytes;
    if (!err)
        err = pk_safetensors_writer_open(&q->writer, path, specs, tensors);
out:
    free(specs);
    free(path);
    return err;
}

static pk_err reserve(void *room, size_t *capacity, size_t bytes)
{
    void **memory = room;
    if (bytes <= *capacity)
        return PK_OK;
    void *grown = realloc(*memory, bytes);
    if (!grown)
        return pk_fail(PK_NOMEM, "room for %zu bytes of weights", bytes);
    *memory = grown;
    *capacity = bytes;
    return PK_OK;
}

static pk_err expand_row(const item *it, const void *rows, uint64_t row, float *out)
{
    size_t inputs = it->spec.shape[1];
    const char *stored = (const char *)rows + row * pk_tensor_row_bytes(&it->from);
    for (size_t k = 0; k < inputs; k++)
        out[k] = pk_float_at(stored, it->from.dtype, k);
    for (size_t k = 0; k < inputs; k++)
        if (!isfinite(out[k]))
            return pk_fail(PK_CORRUPT, "%s: tensor %s holds a value that is not finite", it->q->options.source,
                           it->from.name);
    return PK_OK;
}

/* Rounds some rows and writes them. */
static pk_err round_rows(item *it, uint64_t first_row, size_t count, const void *rows)
{
    pk_quantizer *q = it->q;
    size_t inputs = it->spec.shape[1], value_bytes = pk_quantized_columns(q->options.dtype, inputs) *
                                                     pk_dtype_bytes(pk_quantized_stored(q->options.dtype));
    size_t scale_bytes = pk_groups(inputs) * pk_dtype_bytes(it->from.dtype);
    pk_err err = reserve(&q->row, &q->row_capacity, inputs * sizeof *q->row);
    if (!err)
        err = reserve(&q->values, &q->values_capacity, count * value_bytes);
    if (!err)
        err = reserve(&q->scales, &q->scales_capacity, count * scale_bytes);
    for (size_t i = 0; i < count && !err; i++)
        if (!(err = expand_row(it, rows, i, q->row)))
            it->losses[first_row + i] =
                pk_quantize_row(q->options.dtype, q->row, inputs, (char *)q->values + i * value_bytes, it->from.dtype,
                                (char *)q->scales + i * scale_bytes);
    if (!err)
        err = pk_safetensors_writer_put(q->writer, it->tensor, first_row * value_bytes, q->values, count * value_bytes);
    return err ? err
               : pk_safetensors_writer_put(q->writer, it->tensor + 1, first_row * scale_bytes, q->scales,
                                           count * scale_bytes);
}

/* pk_reader_rows */
static pk_err deliver(void *user, const pk_tensor_entry *tensor, uint64_t first_row, uint64_t row_count,
                      const void *rows)
{
    item *it = user;
    pk_err err = PK_OK;
    uint64_t row_bytes = pk_tensor_row_bytes(tensor), most = ROUND_BYTES / row_bytes + 1;
    if (!it->rounded)
        return pk_safetensors_writer_put(it->q->writer, it->tensor, first_row * row_bytes, rows, row_count * row_bytes);
    for (uint64_t done = 0, now; done < row_count && !err; done += now) {
        now = row_count - done < most ? row_count - done : most;
        err = round_rows(it, first_row + done, now, (const char *)rows + done * row_bytes);
    }
    return err;
}

static void progress(void *context, uint64_t done, uint64_t total)
{
    const pk_quantizer *q = context;
    (void)total;
    if (q->options.progress)
        q->options.progress(q->options.progress_context, q->done_bytes + done, q->report.source_bytes);
}

/* The sums of all rows, in their order. */
static void tell_error(pk_quantizer *q, const item *it)
{
    pk_quantize_error *error = &q->report.errors[q->report.count++];
    double squares = 0.0, error_squares = 0.0;
    *error = (pk_quantize_error){
        .part = pk_survey_part_of(it->weight, &q->config), .rows = it->spec.shape[0], .columns = it->spec.shape[1]};
    memcpy(error->name, it->spec.name, sizeof error->name);
    for (size_t row = 0; row < it->spec.shape[0]; row++) {
        const pk_quantize_loss *loss = &it->losses[row];
        squares += loss->squares;
        error_squares += loss->error_squares;
        error->largest = (double)loss->largest > error->largest ? (double)loss->largest : error->largest;
    }
    error->relative = squares > 0.0 ? sqrt(error_squares / squares) : 0.0;
}

/* Of int4 the shape, which the packed columns alone do not tell. */
static pk_err finish_item(pk_quantizer *q, const item *it)
{
    if (!it->rounded)
        return PK_OK;
    tell_error(q, it);
    if (q->options.dtype != PK_I4)
        return PK_OK;
    const int64_t shape[2] = {(int64_t)it->spec.shape[0], (int64_t)it->spec.shape[1]};
    return pk_safetensors_writer_put(q->writer, it->tensor + 2, 0, shape, sizeof shape);
}

static pk_err read_file(pk_quantizer *q, item *items, size_t count)
{
    pk_err err = PK_OK;
    pk_read_request *requests = calloc(count, sizeof *requests);
    if (!requests)
        return pk_fail(PK_NOMEM, "requests for %zu tensors", count);
    for (size_t i = 0; i < count && !err; i++) {
        requests[i] = (pk_read_request){.tensor = &items[i].from, .user = &items[i]};
        if (items[i].rounded && !(items[i].losses = calloc(items[i].spec.shape[0], sizeof *items[i].losses)))
            err = pk_fail(PK_NOMEM, "room for %" PRIu64 " rows", items[i].spec.shape[0]);
    }
    if (!err)
        err = pk_reader_read(q->reader, requests, count, deliver);
    for (size_t i = 0; i < count; i++) {
        if (!err)
            err = finish_item(q, &items[i]);
        q->done_bytes += items[i].from.bytes;
        free(items[i].losses);
        items[i].losses = NULL;
    }
    free(requests);
    return err;
}

static pk_err write_file(pk_quantizer *q, item *items, size_t count)
{
    pk_err err = open_writer(q, items, count);
    if (!err)
        err = read_file(q, items, count);
    if (!err)
        err = pk_safetensors_writer_finish(&q->writer);
    pk_safetensors_writer_close(&q->writer);
    free(q->names);
    q->names = NULL;
    return err;
}

static pk_err write_files(pk_quantizer *q)
{
    pk_err err = PK_OK;
    for (size_t first = 0, end; first < q->count && !err; first = end) {
        for (end = first + 1; end < q->count && q->items[end].file == q->items[first].file;)
            end++;
        err = write_file(q, q->items + first, end - first);
    }
    return err;
}

/* A single file has no index; whatever its name, readers look for it under one only. */
static pk_err write_index(const pk_quantizer *q)
{
    char *text = NULL;
    size_t bytes = 0;
    bool first = true;
    if (!strcmp(file_name(q, q->items[0].file), "model.safetensors"))
        return PK_OK;
    tensor_name *names = calloc(TENSORS_EACH_MAX, sizeof *names);
    FILE *out = open_memstream(&text, &bytes);
    if (!names || !out) {
        free(names);
        return pk_fail(PK_NOMEM, "no memory for an index");
    }
    fprintf(out, "{\n  \"metadata\": {\n    \"total_size\": %" PRIu64 "\n  },\n  \"weight_map\": {", q->report.bytes);
    for (size_t i = 0; i < q->count; i++) {
        pk_tensor_spec specs[TENSORS_EACH_MAX];
        size_t count = describe(&q->items[i], q->options.dtype, specs, names);
        for (size_t t = 0; t < count; t++, first = false)
            fprintf(out, "%s\n    \"%s\": \"%s\"", first ? "" : ",", names[t].text, file_name(q, q->items[i].file));
    }
    fputs("\n  }\n}\n", out);
    pk_err err = ferror(out) | fclose(out) ? pk_fail(PK_NOMEM, "no memory for an index")
                                           : pk_draft_write(q->draft, PK_INDEX_FILE, text, bytes);
    free(names);
    free(text);
    return err;
}

/* The source's config with one more member; its last brace is the object's, as it has been read. */
static pk_err write_config(const pk_quantizer *q)
{
    char *path = NULL, *text = NULL, *config = NULL;
    size_t bytes = 0;
    if (asprintf(&path, "%s/config.json", q->options.source) < 0)
        return pk_fail(PK_NOMEM, "no memory for a path");
    pk_err err = pk_file_read_all(&text, &bytes, path, CONFIG_BYTES_MAX);
    char *brace = err ? NULL : strrchr(text, '}');
    if (brace && strstr(text, "\"quantization_config\"")) {
        err = pk_fail(PK_INVALID, "%s: has a quantization_config of null, expected none", path);
        goto out;
    }
    while (brace && brace > text && strchr(" \t\r\n", brace[-1]))
        brace--;
    if (!err && (!brace || asprintf(&config, "%.*s,\n  \"quantization_config\": %s\n}\n", (int)(brace - text), text,
                                    pk_quantization_text(q->options.dtype, q->options.what)) < 0)) {
        config = NULL;
        err = pk_fail(PK_NOMEM, "no memory for a config");
    }
    if (!err) /* what we write is checked by what will read it */
        err = pk_config_parse(&(pk_model_config){0}, "config.json", config, strlen(config));
    if (!err)
        err = pk_draft_write(q->draft, "config.json", config, strlen(config));
out:
    free(path);
    free(text);
    free(config);
    return err;
}

static pk_err copy_beside(const pk_quantizer *q)
{
    const char *names[PK_TOKENIZER_FILES_MAX + 2];
    size_t count = pk_tokenizer_files(q->options.source, names);
    names[count++] = "tokenizer_config.json";
    names[count++] = "generation_config.json";
    pk_err err = PK_OK;
    for (size_t i = 0; i < count && !err; i++) {
        char *path = NULL;
        if (!pk_file_is_there(q->options.source, names[i]))
            continue;
        if (asprintf(&path, "%s/%s", q->options.source, names[i]) < 0)
            return pk_fail(PK_NOMEM, "no memory for a path");
        err = pk_draft_copy(q->draft, path, names[i]);
        free(path);
    }
    return err;
}

pk_err pk_quantizer_open(pk_quantizer **out, const pk_quantize_options *options)
{
    *out = NULL;
    pk_quantizer *q = calloc(1, sizeof *q);
    if (!q)
        return pk_fail(PK_NOMEM, "no memory for a quantizer");
    q->options = *options;
    pk_err err = open_source(q);
    if (err)
        pk_quantizer_close(&q);
    *out = q;
    return err;
}

void pk_quantizer_close(pk_quantizer **quantizer)
{
    pk_quantizer *q = *quantizer;
    *quantizer = NULL;
    if (!q)
        return;
    pk_draft_close(&q->draft);
    pk_reader_close(&q->reader);
    pk_checkpoint_close(&q->checkpoint);
    pk_quantize_fini(&q->report);
    free(q->items);
    free(q->row);
    free(q->values);
    free(q->scales);
    free(q);
}

pk_err pk_quantizer_write(pk_quantizer *q, pk_quantize_report *report)
{
    *report = (pk_quantize_report){0};
    pk_err err = pk_draft_open(&q->draft, q->options.dir);
    if (!err)
        err = pk_reader_open(&q->reader, (pk_reader_options){.progress = progress, .progress_context = q});
    if (!err && !(err = write_config(q)) && !(err = copy_beside(q)) && !(err = write_files(q)) &&
        !(err = write_index(q)))
        err = pk_draft_publish(q->draft);
    pk_draft_close(&q->draft);
    if (!err) {
        *report = q->report;
        q->report = (pk_quantize_report){0};
    }
    return err;
}

void pk_quantize_fini(pk_quantize_report *report)
{
    free(report->errors);
    *report = (pk_quantize_report){0};
}
