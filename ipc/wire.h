/* wire.h - the batch: what travels on data links. docs/wire.md is its specification.
 *
 * A message has two frames whose concatenation is one msgpack array of 13 elements. Frame 0 is written and read here:
 * everything up to and including the header of the last element, a bin. Frame 1 is that bin's content, the payload,
 * which nobody copies. Reading believes nothing and allocates nothing: a pk_batch_store holds the places, made once
 * for the limits of the plan. */
#ifndef PK_IPC_WIRE_H
#define PK_IPC_WIRE_H

#include "ipc/dtype.h"
#include "ipc/error.h"

#include <stdbool.h>

enum { PK_WIRE_VERSION = 1, PK_WIRE_ELEMENTS = 13, PK_TEXT_PIECE_BYTES = 8 << 20 };

typedef enum {
    PK_KIND_TOKENS = 1,      /* I32, width 1 */
    PK_KIND_ACTIVATIONS = 2, /* the residual stream: F32, width = hidden */
    PK_KIND_ANSWERS = 3,     /* U8, width 16: one pk_answer for each sample of the batch that it answers */
    PK_KIND_TEXT = 4,        /* U8, width 1, pieces of at most PK_TEXT_PIECE_BYTES */
    PK_KIND_TRACE = 7,       /* internals of one layer; the op says what (PK_OP_TRACE_…) */
    PK_KIND_LOGITS = 8,      /* F32, width = vocabulary, the wanted rows */
} pk_batch_kind;

typedef enum {
    PK_OP_START = 1,          /* the sequence begins; argument: the positions to make room for */
    PK_OP_END = 5,            /* the sequence is forgotten, after the span's tokens */
    PK_OP_STATE = 6,          /* send the lightning states after the span's tokens on the trace link */
    PK_OP_MARKUP = 7,         /* beside the START of a text: added tokens in it count, it is no document */
    PK_OP_TRACE_HIDDEN = 16,  /* in a trace: F32 [rows, hidden], the layer's output; argument: the layer */
    PK_OP_TRACE_ROUTER = 17,  /* I32 [rows, chosen], expert ids, best first */
    PK_OP_TRACE_WEIGHTS = 18, /* F32 [rows, chosen] */
    PK_OP_TRACE_STATE = 19,   /* F32 [heads × dim, dim]; the span's position: tokens that the state has seen */
} pk_op_code;

enum { PK_WANT_NONE = 0, PK_WANT_LAST = 1, PK_WANT_ALL = 2 }; /* which rows of a span go to the head */
enum { PK_SAMPLE_LOGITS = 1 };                                /* pk_sample.flags: send the row's logits as well */

typedef struct {
    uint32_t sequence, position, count;
    uint8_t want;
} pk_span;

typedef struct {
    uint32_t span; /* index into spans */
    uint8_t code;
    uint32_t argument;
} pk_op;

/* Sample the next token from the last row of the span. */
typedef struct {
    uint32_t span;
    uint64_t seed, prompt_hash; /* with choice and position the key of the generator; docs/numerics.md */
    uint32_t choice;
    float temperature, top_p;
    uint32_t top_k;
    float min_p;
    uint32_t flags;
} pk_sample;

enum { PK_ANSWER_OK = 0, PK_ANSWER_NAN = 1 };

/* One answer as it lies in the payload, little-endian. */
typedef struct {
    int32_t token;
    float logprob;   /* of the token, before temperature */
    uint32_t status; /* PK_ANSWER_NAN: the logits held a NaN, no token was chosen */
    uint32_t reserved;
} pk_answer;

typedef struct {
    uint8_t kind;
    uint32_t epoch, lane;
    uint64_t number; /* of the batch in its epoch and lane, from 1 */
    uint8_t dtype;
    uint32_t width;
    const pk_span *spans;
    const pk_op *ops;
    const pk_sample *samples;
    uint32_t span_count, op_count, sample_count;
    uint8_t transport;
    uint64_t checksum;
} pk_batch;

/* Σcount over the spans, the rows of the payload. */
uint64_t pk_batch_rows(const pk_batch *batch);
/* Rows × width × bytes of the dtype. */
uint64_t pk_batch_payload_bytes(const pk_batch *batch);
/* Rows of span i that go to the head. */
uint32_t pk_span_wanted(const pk_span *span);

/* Upper bound of frame 0 for a plan with at most `spans` spans in a batch: 1 KiB + 128 B for each. */
size_t pk_batch_header_limit(uint32_t spans);

/* Writes frame 0. PK_NOMEM: it does not fit into capacity. */
pk_err pk_batch_write(const pk_batch *batch, uint8_t *frame, size_t capacity, size_t *bytes);

typedef struct pk_batch_store pk_batch_store;

typedef struct {
    uint32_t spans;         /* most spans in a batch; ops: four, samples: one for each */
    uint64_t payload_bytes; /* most bytes of a payload */
} pk_batch_limits;

pk_err pk_batch_store_open(pk_batch_store **out, pk_batch_limits limits);
void pk_batch_store_close(pk_batch_store **store);

/* Reads frame 0 and checks it against itself, the limits, and the size of frame 1. The batch's arrays are views into
 * the store, valid until its next read. PK_CORRUPT says what is wrong and at which byte. */
pk_err pk_batch_read(pk_batch_store *store, pk_batch *batch, const void *frame, size_t bytes, size_t payload_bytes);

#endif
