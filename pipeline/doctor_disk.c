/* doctor_disk.c - how fast weights will be read and results kept, measured with the loader's own reader on the files of
 * a model or on a scratch file, and with small synced writes as the journal makes them. */
#include "pipeline/doctor.h"

#include "ipc/clock.h"
#include "loader/checkpoint.h"
#include "loader/reader.h"
#include "loader/safetensors_writer.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum { SCRATCH_ROWS = 128, SCRATCH_ROW_BYTES = 1 << 20, COMMITS = 8, COMMIT_BYTES = 4096 };
static const uint64_t read_ns_most = 1000000000;
static const double slow_disk_gbs = 0.5, slow_commit_ms = 20;

/* Ends the reading when its time is over. */
static pk_err stop_in_time(void *user, const pk_tensor_entry *tensor, uint64_t first_row, uint64_t row_count,
                           const void *rows)
{
    const uint64_t *deadline = user;
    (void)tensor;
    (void)first_row;
    (void)row_count;
    (void)rows;
    return pk_clock_ns() < *deadline ? PK_OK : PK_CLOSED;
}

/* GB/s over the tensors of these files, for a second at most. */
static pk_err read_speed(pk_reader *reader, const pk_read_request *requests, size_t count, uint64_t *deadline,
                         double *gbs)
{
    uint64_t begin = pk_clock_ns();
    *deadline = begin + read_ns_most;
    pk_err err = pk_reader_read(reader, requests, count, stop_in_time);
    double seconds = (double)(pk_clock_ns() - begin) * 1e-9;
    *gbs = (double)pk_reader_count(reader).file_bytes * 1e-9 / (seconds > 0 ? seconds : 1);
    return err == PK_CLOSED ? PK_OK : err;
}

static void tell_reading(pk_doctor *doctor, const pk_reader *reader, const char *of, double gbs)
{
    pk_reader_counters counters = pk_reader_count(reader);
    const char *note = pk_reader_note(reader);
    pk_finding_add(doctor, "reading weights", note || gbs < slow_disk_gbs ? PK_VERDICT_SLOWER : PK_VERDICT_OK,
                   "loading takes this long at each start: a local NVMe disk gives 1 to 7 GB/s",
                   "%.2f GB/s from %s, %s%s%s%s", gbs, of, counters.uring ? "io_uring, O_DIRECT" : "pread",
                   counters.registered ? ", registered buffers" : "", note ? "; " : "", note ? note : "");
}

static pk_err read_tensors(pk_doctor *doctor, const pk_tensor_entry *const *tensors, size_t count, const char *of)
{
    pk_reader *reader = NULL;
    uint64_t deadline = 0;
    double gbs = 0;
    pk_read_request *requests = calloc(count + 1, sizeof *requests);
    pk_err err = requests ? pk_reader_open(&reader, (pk_reader_options){0}) : pk_fail(PK_NOMEM, "no memory to read");
    for (size_t i = 0; !err && i < count; i++)
        requests[i] = (pk_read_request){.tensor = tensors[i], .user = &deadline};
    if (!err && !(err = read_speed(reader, requests, count, &deadline, &gbs)))
        tell_reading(doctor, reader, of, gbs);
    pk_reader_close(&reader);
    free(requests);
    return err;
}

static pk_err read_model(pk_doctor *doctor, const char *model)
{
    pk_checkpoint *checkpoint = NULL;
    const pk_tensor_entry **tensors = NULL;
    pk_err err = pk_checkpoint_open(&checkpoint, model);
    size_t count = err ? 0 : pk_checkpoint_count(checkpoint);
    if (!err && !(tensors = calloc(count + 1, sizeof *tensors)))
        err = pk_fail(PK_NOMEM, "no memory to read");
    for (size_t i = 0; !err && i < count; i++)
        tensors[i] = pk_checkpoint_at(checkpoint, i);
    if (!err)
        err = read_tensors(doctor, tensors, count, model);
    free(tensors);
    pk_checkpoint_close(&checkpoint);
    return err;
}

/* A file of bytes that do not compress to nothing. */
static pk_err write_scratch(const char *path)
{
    const pk_tensor_spec spec = {
        .name = "scratch", .dtype = PK_U8, .rank = 2, .shape = {SCRATCH_ROWS, SCRATCH_ROW_BYTES}};
    pk_safetensors_writer *writer = NULL;
    uint64_t *row = malloc(SCRATCH_ROW_BYTES), state = 88172645463325252u;
    pk_err err = row ? pk_safetensors_writer_open(&writer, path, &spec, 1) : pk_fail(PK_NOMEM, "no memory to write");
    for (size_t r = 0; !err && r < SCRATCH_ROWS; r++) {
        for (size_t i = 0; i < SCRATCH_ROW_BYTES / sizeof *row; i++) {
            state ^= state << 13; /* xorshift64 */
            state ^= state >> 7;
            state ^= state << 17;
            row[i] = state;
        }
        err = pk_safetensors_writer_write(writer, row, SCRATCH_ROW_BYTES);
    }
    if (!err)
        err = pk_safetensors_writer_finish(&writer);
    pk_safetensors_writer_close(&writer);
    free(row);
    return err;
}

static pk_err read_scratch(pk_doctor *doctor, const char *folder)
{
    char path[PATH_MAX];
    pk_safetensors *file = NULL;
    if (snprintf(path, sizeof path, "%s/.penstock-doctor-%d.safetensors", folder, (int)getpid()) >= (int)sizeof path)
        return pk_fail(PK_INVALID, "%s: the path is too long", folder);
    pk_err err = write_scratch(path);
    if (!err && !(err = pk_safetensors_open(&file, path))) {
        const pk_tensor_entry *tensor = pk_safetensors_at(file, 0);
        err = read_tensors(doctor, &tensor, 1, folder);
    }
    pk_safetensors_close(&file);
    (void)unlink(path);
    return err;
}

static int compare(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

/* Milliseconds of the median commit: a small write that must reach the disk. */
static pk_err commit_speed(const char *folder, double *ms)
{
    char path[PATH_MAX], bytes[COMMIT_BYTES] = {1};
    double took[COMMITS];
    pk_err err = PK_OK;
    if (snprintf(path, sizeof path, "%s/.penstock-doctor-%d", folder, (int)getpid()) >= (int)sizeof path)
        return pk_fail(PK_INVALID, "%s: the path is too long", folder);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return pk_fail_errno(PK_IO, "%s", path);
    for (size_t i = 0; !err && i < COMMITS; i++) {
        uint64_t begin = pk_clock_ns();
        if (write(fd, bytes, sizeof bytes) != (ssize_t)sizeof bytes || fdatasync(fd))
            err = pk_fail_errno(PK_IO, "write to %s", path);
        took[i] = (double)(pk_clock_ns() - begin) * 1e-6;
    }
    close(fd);
    (void)unlink(path);
    if (err)
        return err;
    qsort(took, COMMITS, sizeof *took, compare);
    *ms = took[COMMITS / 2];
    return PK_OK;
}

static void look_at_folder(pk_doctor *doctor, const char *what, const char *folder)
{
    struct statvfs disk;
    double ms = 0;
    if (statvfs(folder, &disk)) {
        pk_finding_add(doctor, what, PK_VERDICT_MISSING, "name another folder with --folder", "%s: %s", folder,
                       strerror(errno));
        return;
    }
    if (commit_speed(folder, &ms)) {
        pk_finding_add(doctor, what, PK_VERDICT_MISSING, "it must be writable", "%s", pk_error_text());
        return;
    }
    pk_finding_add(doctor, what, ms < slow_commit_ms ? PK_VERDICT_OK : PK_VERDICT_SLOWER,
                   "each answer is one synced commit: put the run directory on a faster disk (--run-dir)",
                   "%s: %.1f GiB free, a synced write of 4 KiB takes %.2f ms", folder,
                   (double)disk.f_bavail * (double)disk.f_frsize / 0x1p30, ms);
}

void pk_doctor_look_at_disk(pk_doctor *doctor, const char *model, const char *folder)
{
    const char *runtime = getenv("XDG_RUNTIME_DIR");
    pk_err err = model ? read_model(doctor, model) : read_scratch(doctor, folder);
    if (err)
        pk_finding_add(doctor, "reading weights", PK_VERDICT_MISSING,
                       model ? "penstock plan and the stages will say the same"
                             : "name a writable folder with --folder",
                       "not measured: %s", pk_error_text());
    look_at_folder(doctor, "folder of results", folder);
    look_at_folder(doctor, "folder of sockets", runtime && *runtime == '/' ? runtime : "/tmp");
}
