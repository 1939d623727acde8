/* fixture.h - stages without processes: a stage that is opened by hand, steps that are called, and an outbox that keeps
 * what comes out. Failures that a test does not ask for end the test. */
#ifndef PK_TESTS_UNIT_STAGES_FIXTURE_H
#define PK_TESTS_UNIT_STAGES_FIXTURE_H

#include "ipc/buffer.h"
#include "stages/runtime.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define GOLDEN PK_SOURCE_DIR "/tests/golden/"

/* One batch that a step sent. */
typedef struct {
    pk_port port;
    pk_batch head; /* its arrays are the sent's own */
    pk_buffer *payload;
} sent_batch;

enum { SENT_MAX = 4096 };

typedef struct {
    pk_outbox outbox; /* first */
    sent_batch sent[SENT_MAX];
    size_t count;
} outbox;

/* Forgets what was sent. */
void outbox_clear(outbox *box);

/* A stage under test. */
typedef struct {
    pk_stage stage;
    const pk_stage_ops *ops;
    void *self;
    outbox out;
    uint64_t number, loading_calls, loading_total;
} bench;

/* Fills the assignment's usual values; model: a directory. */
void bench_init(bench *b, const pk_stage_ops *ops, void *self, const char *model);
void bench_open(bench *b); /* fails the test with the error's text */
void bench_close(bench *b);

/* A copy of `bytes` bytes as payload; NULL for none. */
pk_buffer *payload_of(const void *bytes, size_t size);

/* Steps a batch with the next number; what was sent before is forgotten. */
pk_err bench_step(bench *b, pk_batch head, pk_buffer *payload);

/* The same, and it must succeed, or be refused with this code and a text that contains `words`. */
void bench_works(bench *b, pk_batch head, pk_buffer *payload);
void bench_refuses(bench *b, pk_batch head, pk_buffer *payload, pk_err code, const char *words);

/* The step's batches of a port, counted, or the index-th. */
size_t bench_count(const bench *b, pk_port port);
const sent_batch *bench_sent(const bench *b, pk_port port, size_t index);

#define assert_ok(err) assert_string_equal((err) ? pk_error_text() : "", "")

#endif
