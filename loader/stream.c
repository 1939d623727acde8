#include "loader/stream.h"

#include "ipc/clock.h"
#include "loader/reader_plan.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* One piece is looked at, one is ready, one is being read. 4 MiB is the reader's piece too: docs/performance.md. */
enum { PIECES = 3, PIECE_BYTES = 4 << 20 };

struct pk_stream {
    char *path;
    pk_file_identity identity;
    int fd; /* the thread's, once it runs */
    bool direct;
    char *buffers;
    pthread_t thread;
    bool running;
    /* Under the lock. Pieces [taken, filled) are ready; piece i lies in buffer i % PIECES. */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint64_t filled, taken;
    size_t bytes[PIECES];
    bool holds; /* the caller looks at piece taken - 1 */
    bool ended, closing;
    pk_err err;
    char text[PK_ERROR_TEXT_BYTES];
    uint64_t read_ns;
};

/* Where O_DIRECT is refused, or has given less than a block, the page cache does. */
static pk_err go_without_direct(pk_stream *stream)
{
    pk_file_close(&stream->fd);
    stream->direct = false;
    return pk_file_open(&stream->fd, NULL, stream->path, 0);
}

/* Up to PIECE_BYTES at `offset`; less only at the end of the file. */
static pk_err read_piece(pk_stream *stream, char *buffer, uint64_t offset, size_t *out)
{
    uint64_t left = stream->identity.bytes - offset;
    size_t wanted = left < PIECE_BYTES ? (size_t)left : PIECE_BYTES, got = 0;
    while (got < wanted) {
        ssize_t one = pread(stream->fd, buffer + got, PIECE_BYTES - got, (off_t)(offset + got));
        if (one < 0 && errno == EINTR)
            continue;
        pk_err err = PK_OK;
        if (stream->direct && (one < 0 ? errno == EINVAL : got + (size_t)one < wanted))
            err = go_without_direct(stream);
        else if (one < 0)
            err = pk_fail_errno(PK_IO, "%s: read at byte %ju", stream->path, (uintmax_t)(offset + got));
        else if (one == 0)
            err = pk_fail(PK_CORRUPT, "%s: ends at byte %ju, it had %ju", stream->path, (uintmax_t)(offset + got),
                          (uintmax_t)stream->identity.bytes);
        if (err)
            return err;
        got += one > 0 ? (size_t)one : 0;
    }
    *out = wanted;
    return PK_OK;
}

/* A free buffer's piece number, or false when the stream is closed. */
static bool await_room(pk_stream *stream, uint64_t *piece)
{
    pthread_mutex_lock(&stream->lock);
    while (!stream->closing && stream->filled - stream->taken + stream->holds == PIECES)
        pthread_cond_wait(&stream->changed, &stream->lock);
    *piece = stream->filled;
    bool open = !stream->closing;
    pthread_mutex_unlock(&stream->lock);
    return open;
}

static void hand_over(pk_stream *stream, pk_err err, size_t bytes, uint64_t ns)
{
    pthread_mutex_lock(&stream->lock);
    stream->read_ns += ns;
    stream->err = err;
    if (err)
        snprintf(stream->text, sizeof stream->text, "%s", pk_error_text());
    stream->ended = err || !bytes;
    if (!stream->ended)
        stream->bytes[stream->filled++ % PIECES] = bytes;
    pthread_cond_broadcast(&stream->changed);
    pthread_mutex_unlock(&stream->lock);
}

static void *read_ahead(void *context)
{
    pk_stream *stream = context;
    uint64_t piece, offset = 0;
    size_t bytes = 1;
    pk_err err = PK_OK;
    while (!err && bytes && await_room(stream, &piece)) {
        uint64_t start = pk_clock_ns();
        err = read_piece(stream, stream->buffers + piece % PIECES * PIECE_BYTES, offset, &bytes);
        offset += err ? 0 : bytes;
        hand_over(stream, err, bytes, pk_clock_ns() - start);
    }
    return NULL;
}

static pk_err start(pk_stream *stream)
{
    pk_err err = pk_file_open(&stream->fd, &stream->identity, stream->path, O_DIRECT);
    stream->direct = !err;
    if (err == PK_IO && errno == EINVAL)
        err = pk_file_open(&stream->fd, &stream->identity, stream->path, 0);
    if (err)
        return err;
    if (!(stream->buffers = pk_read_buffers_alloc((size_t)PIECES * PIECE_BYTES)))
        return pk_fail(PK_NOMEM, "no memory for reading %s", stream->path);
    int code = pthread_create(&stream->thread, NULL, read_ahead, stream);
    stream->running = !code;
    return code ? pk_fail(PK_NOMEM, "no thread for reading %s: %s", stream->path, strerror(code)) : PK_OK;
}

pk_err pk_stream_open(pk_stream **out, const char *path)
{
    *out = NULL;
    pk_stream *stream = calloc(1, sizeof *stream);
    if (!stream)
        return pk_fail(PK_NOMEM, "no memory for a stream");
    stream->fd = -1;
    pthread_mutex_init(&stream->lock, NULL);
    pthread_cond_init(&stream->changed, NULL);
    pk_err err = (stream->path = strdup(path)) ? start(stream) : pk_fail(PK_NOMEM, "no memory for a path");
    if (err)
        pk_stream_close(&stream);
    *out = stream;
    return err;
}

void pk_stream_close(pk_stream **stream)
{
    pk_stream *held = *stream;
    *stream = NULL;
    if (!held)
        return;
    if (held->running) {
        pthread_mutex_lock(&held->lock);
        held->closing = true;
        pthread_cond_broadcast(&held->changed);
        pthread_mutex_unlock(&held->lock);
        pthread_join(held->thread, NULL);
    }
    pthread_cond_destroy(&held->changed);
    pthread_mutex_destroy(&held->lock);
    pk_read_buffers_free(held->buffers, (size_t)PIECES * PIECE_BYTES);
    pk_file_close(&held->fd);
    free(held->path);
    free(held);
}

const pk_file_identity *pk_stream_identity(const pk_stream *stream)
{
    return &stream->identity;
}

pk_err pk_stream_next(pk_stream *stream, const void **data, size_t *bytes)
{
    pthread_mutex_lock(&stream->lock);
    stream->holds = false;
    pthread_cond_broadcast(&stream->changed);
    while (stream->taken == stream->filled && !stream->ended)
        pthread_cond_wait(&stream->changed, &stream->lock);
    bool ready = stream->taken < stream->filled;
    size_t buffer = stream->taken % PIECES;
    *data = ready ? stream->buffers + buffer * PIECE_BYTES : NULL;
    *bytes = ready ? stream->bytes[buffer] : 0;
    stream->taken += ready;
    stream->holds = ready;
    pk_err err = ready ? PK_OK : stream->err;
    pthread_mutex_unlock(&stream->lock);
    return err ? pk_fail(err, "%s", stream->text) : PK_OK;
}

uint64_t pk_stream_read_ns(pk_stream *stream)
{
    pthread_mutex_lock(&stream->lock);
    uint64_t ns = stream->read_ns;
    pthread_mutex_unlock(&stream->lock);
    return ns;
}
