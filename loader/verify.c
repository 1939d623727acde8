#include "loader/verify.h"

#include "ipc/clock.h"
#include "loader/finite.h"
#include "loader/stream.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { SUMS_BYTES_MAX = 16 << 20 };

enum { BESIDE_MAX = 3 + PK_TOKENIZER_FILES_MAX };

typedef struct {
    pk_survey *survey;
    pk_verify_options options;
    pk_verify_report *report;
    uint64_t total_bytes;
    const char *beside[BESIDE_MAX]; /* names of the files beside the weights */
    size_t beside_count;
} job;

static pk_err path_of(const job *j, const char *name, char **out)
{
    if (asprintf(out, "%s/%s", j->survey->dir, name) >= 0)
        return PK_OK;
    *out = NULL;
    return pk_fail(PK_NOMEM, "no memory for a path");
}

static uint64_t bytes_of(const job *j, const char *name)
{
    struct stat about;
    char *path;
    bool known = path_of(j, name, &path) == PK_OK && !stat(path, &about);
    free(path);
    return known ? (uint64_t)about.st_size : 0;
}

/* Where a file's bytes meet its tensors: they follow one another in order of offset. */
typedef struct {
    job *j;
    const pk_safetensors *file; /* NULL: only digested */
    size_t tensor;              /* the one at hand */
    pk_finite finite;
    uint64_t offset; /* of the next piece */
} scan;

static pk_err tell_tensor(scan *s, const pk_tensor_entry *tensor)
{
    char index[PK_TENSOR_SHAPE_TEXT];
    uint64_t at[PK_TENSOR_RANK_MAX], rest = s->finite.first;
    s->j->report->tensors++;
    s->j->report->values += s->finite.seen;
    if (!s->finite.nan_count && !s->finite.inf_count)
        return PK_OK;
    for (unsigned i = tensor->rank; i-- > 0; rest /= tensor->shape[i])
        at[i] = rest % tensor->shape[i];
    return pk_survey_add_fault(s->j->survey, PK_SURVEY_FAULT_VALUE, tensor->name,
                               "tensor %s holds %" PRIu64 " NaN and %" PRIu64 " Inf, the first at %s", tensor->name,
                               s->finite.nan_count, s->finite.inf_count, pk_tensor_shape_text(index, tensor->rank, at));
}

/* The part of a piece that belongs to the tensor at hand; true when the tensor goes on behind the piece. */
static bool feed(scan *s, const pk_tensor_entry *tensor, const char *piece, size_t bytes)
{
    uint64_t begin = tensor->offset > s->offset ? tensor->offset : s->offset;
    uint64_t piece_end = s->offset + bytes, end = tensor->offset + tensor->bytes;
    uint64_t until = end < piece_end ? end : piece_end;
    if (begin < until)
        pk_finite_feed(&s->finite, piece + (begin - s->offset), (size_t)(until - begin));
    return end > piece_end;
}

static pk_err scan_piece(scan *s, const char *piece, size_t bytes)
{
    pk_err err = PK_OK;
    while (!err && s->file && s->tensor < pk_safetensors_count(s->file)) {
        const pk_tensor_entry *tensor = pk_safetensors_at(s->file, s->tensor);
        s->finite.dtype = tensor->dtype;
        if (feed(s, tensor, piece, bytes))
            break;
        err = tell_tensor(s, tensor);
        s->finite = (pk_finite){0};
        s->tensor++;
    }
    s->offset += bytes;
    return err;
}

static pk_err read_stream(job *j, pk_stream *stream, const pk_safetensors *file, pk_digest *digest)
{
    scan s = {.j = j, .file = file};
    const void *piece;
    size_t bytes = 0;
    pk_digest_stream *sum = NULL;
    pk_err err = pk_digest_stream_open(&sum);
    while (!err && !(err = pk_stream_next(stream, &piece, &bytes)) && bytes) {
        uint64_t start = pk_clock_ns();
        pk_digest_stream_feed(sum, piece, bytes);
        err = scan_piece(&s, piece, bytes);
        j->report->check_ns += pk_clock_ns() - start;
        j->report->bytes += bytes;
        if (j->options.progress)
            j->options.progress(j->options.context, j->report->bytes, j->total_bytes);
    }
    if (!err)
        *digest = pk_digest_stream_end(sum);
    pk_digest_stream_close(&sum);
    j->report->read_ns += pk_stream_read_ns(stream);
    return err;
}

static pk_err read_file(job *j, const char *name, const pk_safetensors *file)
{
    pk_stream *stream = NULL;
    char *path;
    pk_verify_file *entry = &j->report->files[j->report->file_count];
    pk_err err = path_of(j, name, &path);
    if (!err)
        err = pk_stream_open(&stream, path);
    if (!err && file && !pk_file_same(pk_stream_identity(stream), pk_safetensors_identity(file)))
        err = pk_fail(PK_CORRUPT, "%s: has changed since its header was read", path);
    if (!err)
        err = read_stream(j, stream, file, &entry->digest);
    if (!err) {
        entry->name = name;
        entry->bytes = pk_stream_identity(stream)->bytes;
        j->report->file_count++;
    }
    pk_stream_close(&stream);
    free(path);
    if (!err || err == PK_NOMEM)
        return err;
    char text[PK_ERROR_TEXT_BYTES];
    snprintf(text, sizeof text, "%s", pk_error_text());
    return pk_survey_add_fault(j->survey, PK_SURVEY_FAULT_SHARD, name, "%s", text);
}

static pk_err read_shard(job *j, const pk_survey_shard *shard)
{
    if (shard->absent)
        return pk_survey_add_fault(j->survey, PK_SURVEY_FAULT_ABSENT, shard->name,
                                   "%s/%s: is not there, %zu tensors are in it", j->survey->dir, shard->name,
                                   shard->tensors);
    return read_file(j, shard->name, shard->file);
}

static int compare_files(const void *left, const void *right)
{
    return strcmp(((const pk_verify_file *)left)->name, ((const pk_verify_file *)right)->name);
}

static pk_err sum_model(pk_verify_report *report)
{
    char *text = NULL;
    qsort(report->files, report->file_count, sizeof *report->files, compare_files);
    pk_err err = pk_verify_sums_text(report, &text);
    if (!err)
        report->model = pk_digest_of(text, strlen(text));
    free(text);
    return err;
}

static pk_err read_all(job *j)
{
    pk_err err = PK_OK;
    for (size_t i = 0; i < j->beside_count && !err; i++)
        if (bytes_of(j, j->beside[i]))
            err = read_file(j, j->beside[i], NULL);
    for (size_t i = 0; i < j->survey->shard_count && !err; i++)
        err = read_shard(j, &j->survey->shards[i]);
    return err;
}

static void list_beside(job *j)
{
    static const char *const others[] = {"config.json", PK_INDEX_FILE, "tokenizer_config.json"};
    memcpy(j->beside, others, sizeof others);
    j->beside_count = sizeof others / sizeof *others;
    for (size_t i = 0; i < j->survey->tokenizer_file_count; i++)
        j->beside[j->beside_count++] = j->survey->tokenizer_files[i];
}

pk_err pk_verify(pk_survey *survey, pk_verify_options options, pk_verify_report *out)
{
    uint64_t start = pk_clock_ns();
    job j = {.survey = survey, .options = options, .report = out};
    *out = (pk_verify_report){0};
    if (!(out->files = calloc(survey->shard_count + BESIDE_MAX, sizeof *out->files)))
        return pk_fail(PK_NOMEM, "no memory for %zu files", survey->shard_count);
    list_beside(&j);
    for (size_t i = 0; i < j.beside_count; i++)
        j.total_bytes += bytes_of(&j, j.beside[i]);
    for (size_t i = 0; i < survey->shard_count; i++)
        j.total_bytes += bytes_of(&j, survey->shards[i].name);
    pk_err err = read_all(&j);
    if (!err)
        err = sum_model(out);
    out->wall_ns = pk_clock_ns() - start;
    return err;
}

void pk_verify_fini(pk_verify_report *report)
{
    free(report->files);
    *report = (pk_verify_report){0};
}

pk_err pk_verify_sums_text(const pk_verify_report *report, char **text)
{
    size_t bytes = 0;
    char digest[PK_DIGEST_TEXT];
    FILE *out = open_memstream(text, &bytes);
    if (!out)
        return pk_fail_errno(PK_NOMEM, "sums");
    for (size_t i = 0; i < report->file_count; i++)
        fprintf(out, "%s  %s\n", pk_digest_text(digest, report->files[i].digest), report->files[i].name);
    bool failed = ferror(out);
    if (fclose(out) || failed) {
        free(*text);
        *text = NULL;
        return pk_fail(PK_NOMEM, "no memory for sums");
    }
    return PK_OK;
}

/* One line against the files; marks the one that it names. */
static pk_err compare_line(pk_survey *survey, const pk_verify_report *report, const char *line, bool *named)
{
    char digest[PK_DIGEST_TEXT];
    size_t digits = strspn(line, "0123456789abcdef");
    if (digits != PK_DIGEST_TEXT - 1 || strncmp(line + digits, "  ", 2))
        return pk_survey_add_fault(
            survey, PK_SURVEY_FAULT_SUM, "sums",
            "the sums have a line \"%.60s\", expected 32 hexadecimal digits, two spaces and a name", line);
    const char *name = line + digits + 2;
    for (size_t i = 0; i < report->file_count; i++) {
        if (strcmp(report->files[i].name, name))
            continue;
        named[i] = true;
        if (!strncmp(pk_digest_text(digest, report->files[i].digest), line, digits))
            return PK_OK;
        return pk_survey_add_fault(survey, PK_SURVEY_FAULT_SUM, name, "%s has the digest %s, the sums say %.32s", name,
                                   digest, line);
    }
    return pk_survey_add_fault(survey, PK_SURVEY_FAULT_SUM, name, "%s is in the sums and was not read", name);
}

static pk_err compare_text(pk_survey *survey, const pk_verify_report *report, char *text)
{
    pk_err err = PK_OK;
    bool *named = calloc(report->file_count + 1, sizeof *named);
    if (!named)
        return pk_fail(PK_NOMEM, "no memory for %zu files", report->file_count);
    for (char *line, *rest = text; !err && (line = strsep(&rest, "\n"));)
        if (*line)
            err = compare_line(survey, report, line, named);
    for (size_t i = 0; i < report->file_count && !err; i++)
        if (!named[i])
            err = pk_survey_add_fault(survey, PK_SURVEY_FAULT_SUM, report->files[i].name, "%s is not in the sums",
                                      report->files[i].name);
    free(named);
    return err;
}

pk_err pk_verify_compare(pk_survey *survey, const pk_verify_report *report, const char *sums_path)
{
    char *text = NULL;
    size_t bytes = 0;
    pk_err err = pk_file_read_all(&text, &bytes, sums_path, SUMS_BYTES_MAX);
    if (!err)
        err = compare_text(survey, report, text);
    free(text);
    return err;
}
