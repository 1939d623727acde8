#include "ipc/wire.h"
#include "ipc/pack.h"
#include "ipc/unpack.h"

#include <inttypes.h>
#include <stdlib.h>

enum { SPAN_NUMBERS = 4, OP_NUMBERS = 3, SAMPLE_NUMBERS = 9, OPS_PER_SPAN = 4 };

struct pk_batch_store {
    pk_batch_limits limits;
    pk_span *spans;
    pk_op *ops;
    pk_sample *samples;
};

uint64_t pk_batch_rows(const pk_batch *batch)
{
    uint64_t rows = 0;
    for (uint32_t i = 0; i < batch->span_count; i++)
        rows += batch->spans[i].count;
    return rows;
}

uint64_t pk_batch_payload_bytes(const pk_batch *batch)
{
    return pk_batch_rows(batch) * batch->width * pk_dtype_bytes(batch->dtype);
}

uint32_t pk_span_wanted(const pk_span *span)
{
    return span->want == PK_WANT_ALL ? span->count : span->want == PK_WANT_LAST && span->count > 0;
}

size_t pk_batch_header_limit(uint32_t spans)
{
    return 1024 + 128 * (size_t)spans;
}

static void write_spans(pk_packer *packer, const pk_batch *batch)
{
    pk_pack_array(packer, (size_t)batch->span_count * SPAN_NUMBERS);
    for (const pk_span *span = batch->spans, *end = span + batch->span_count; span < end; span++) {
        pk_pack_uint(packer, span->sequence);
        pk_pack_uint(packer, span->position);
        pk_pack_uint(packer, span->count);
        pk_pack_uint(packer, span->want);
    }
}

static void write_ops(pk_packer *packer, const pk_batch *batch)
{
    pk_pack_array(packer, (size_t)batch->op_count * OP_NUMBERS);
    for (const pk_op *op = batch->ops, *end = op + batch->op_count; op < end; op++) {
        pk_pack_uint(packer, op->span);
        pk_pack_uint(packer, op->code);
        pk_pack_uint(packer, op->argument);
    }
}

static void write_samples(pk_packer *packer, const pk_batch *batch)
{
    pk_pack_array(packer, (size_t)batch->sample_count * SAMPLE_NUMBERS);
    for (const pk_sample *sample = batch->samples, *end = sample + batch->sample_count; sample < end; sample++) {
        pk_pack_uint(packer, sample->span);
        pk_pack_uint(packer, sample->seed);
        pk_pack_uint(packer, sample->prompt_hash);
        pk_pack_uint(packer, sample->choice);
        pk_pack_f32(packer, sample->temperature);
        pk_pack_f32(packer, sample->top_p);
        pk_pack_uint(packer, sample->top_k);
        pk_pack_f32(packer, sample->min_p);
        pk_pack_uint(packer, sample->flags);
    }
}

pk_err pk_batch_write(const pk_batch *batch, uint8_t *frame, size_t capacity, size_t *bytes)
{
    uint64_t payload = pk_batch_payload_bytes(batch);
    if (payload > UINT32_MAX)
        return pk_fail(PK_NOMEM, "batch %" PRIu64 ": a payload of %" PRIu64 " bytes does not fit into a msgpack bin",
                       batch->number, payload);
    pk_packer packer = {.bytes = frame, .capacity = capacity};
    pk_pack_array(&packer, PK_WIRE_ELEMENTS);
    pk_pack_uint(&packer, PK_WIRE_VERSION);
    pk_pack_uint(&packer, batch->kind);
    pk_pack_uint(&packer, batch->epoch);
    pk_pack_uint(&packer, batch->lane);
    pk_pack_uint(&packer, batch->number);
    pk_pack_uint(&packer, batch->dtype);
    pk_pack_uint(&packer, batch->width);
    write_spans(&packer, batch);
    write_ops(&packer, batch);
    write_samples(&packer, batch);
    pk_pack_uint(&packer, batch->transport);
    pk_pack_uint(&packer, batch->checksum);
    pk_pack_bin_header(&packer, (uint32_t)payload);
    if (packer.overflow)
        return pk_fail(PK_NOMEM, "batch %" PRIu64 ": its header does not fit into %zu bytes", batch->number, capacity);
    *bytes = packer.used;
    return PK_OK;
}

pk_err pk_batch_store_open(pk_batch_store **out, pk_batch_limits limits)
{
    pk_batch_store *store = calloc(1, sizeof *store);
    if (!store)
        return pk_fail(PK_NOMEM, "batch store");
    store->limits = limits;
    store->spans = calloc(limits.spans, sizeof *store->spans);
    store->ops = calloc((size_t)limits.spans * OPS_PER_SPAN, sizeof *store->ops);
    store->samples = calloc(limits.spans, sizeof *store->samples);
    *out = store;
    if (store->spans && store->ops && store->samples)
        return PK_OK;
    pk_batch_store_close(out);
    return pk_fail(PK_NOMEM, "batch store for %" PRIu32 " spans", limits.spans);
}

void pk_batch_store_close(pk_batch_store **store)
{
    if (!*store)
        return;
    free((*store)->spans);
    free((*store)->ops);
    free((*store)->samples);
    free(*store);
    *store = NULL;
}

/* Reads one unsigned number into a field of any width, bounded by that width. */
#define READ(u, what, most, field)                                                                                     \
    do {                                                                                                               \
        uint64_t value_ = 0;                                                                                           \
        pk_err err_ = pk_unpack_uint(u, what, most, &value_);                                                          \
        if (err_)                                                                                                      \
            return err_;                                                                                               \
        (field) = (__typeof__(field))value_;                                                                           \
    } while (0)

/* A flat array of `numbers` for each item; at most `most` items. */
static pk_err read_count(pk_unpacker *u, const char *what, uint32_t numbers, uint64_t most, uint32_t *items)
{
    uint32_t elements = 0;
    size_t at = u->at;
    pk_err err = pk_unpack_array(u, what, &elements);
    if (err)
        return err;
    if (elements % numbers)
        return pk_fail(PK_CORRUPT, "byte %zu: %s has %" PRIu32 " numbers, a multiple of %" PRIu32 " was expected", at,
                       what, elements, numbers);
    if (elements / numbers > most)
        return pk_fail(PK_CORRUPT, "byte %zu: %" PRIu32 " %s, at most %" PRIu64 " were expected", at,
                       elements / numbers, what, most);
    *items = elements / numbers;
    return PK_OK;
}

static pk_err read_spans(pk_unpacker *u, pk_batch_store *store, pk_batch *batch)
{
    pk_err err = read_count(u, "spans", SPAN_NUMBERS, store->limits.spans, &batch->span_count);
    for (uint32_t i = 0; !err && i < batch->span_count; i++) {
        pk_span *span = &store->spans[i];
        READ(u, "span sequence", UINT32_MAX, span->sequence);
        READ(u, "span position", UINT32_MAX, span->position);
        READ(u, "span count", UINT32_MAX, span->count);
        READ(u, "span want", PK_WANT_ALL, span->want);
        if (span->count > UINT32_MAX - span->position)
            err = pk_fail(PK_CORRUPT, "span %" PRIu32 ": position %" PRIu32 " + %" PRIu32 " overflows", i,
                          span->position, span->count);
    }
    batch->spans = store->spans;
    return err;
}

static pk_err read_span_index(pk_unpacker *u, const char *what, const pk_batch *batch, uint32_t *span)
{
    if (batch->span_count == 0)
        return pk_fail(PK_CORRUPT, "byte %zu: %s, but the batch has no spans", u->at, what);
    READ(u, what, batch->span_count - 1, *span);
    return PK_OK;
}

static pk_err read_ops(pk_unpacker *u, pk_batch_store *store, pk_batch *batch)
{
    pk_err err = read_count(u, "ops", OP_NUMBERS, (uint64_t)store->limits.spans * OPS_PER_SPAN, &batch->op_count);
    for (uint32_t i = 0; !err && i < batch->op_count; i++) {
        pk_op *op = &store->ops[i];
        if ((err = read_span_index(u, "op span", batch, &op->span)))
            return err;
        READ(u, "op code", UINT8_MAX, op->code);
        READ(u, "op argument", UINT32_MAX, op->argument);
    }
    batch->ops = store->ops;
    return err;
}

static pk_err read_samples(pk_unpacker *u, pk_batch_store *store, pk_batch *batch)
{
    pk_err err = read_count(u, "samples", SAMPLE_NUMBERS, store->limits.spans, &batch->sample_count);
    for (uint32_t i = 0; !err && i < batch->sample_count; i++) {
        pk_sample *sample = &store->samples[i];
        if ((err = read_span_index(u, "sample span", batch, &sample->span)))
            return err;
        READ(u, "sample seed", UINT64_MAX, sample->seed);
        READ(u, "sample prompt hash", UINT64_MAX, sample->prompt_hash);
        READ(u, "sample choice", UINT32_MAX, sample->choice);
        if ((err = pk_unpack_f32(u, "sample temperature", &sample->temperature)) ||
            (err = pk_unpack_f32(u, "sample top_p", &sample->top_p)))
            return err;
        READ(u, "sample top_k", UINT32_MAX, sample->top_k);
        if ((err = pk_unpack_f32(u, "sample min_p", &sample->min_p)))
            return err;
        READ(u, "sample flags", UINT32_MAX, sample->flags);
    }
    batch->samples = store->samples;
    return err;
}

static pk_err read_opening(pk_unpacker *u, pk_batch *batch)
{
    uint32_t elements = 0;
    uint64_t version = 0;
    pk_err err = pk_unpack_array(u, "the batch", &elements);
    if (err)
        return err;
    if (elements != PK_WIRE_ELEMENTS)
        return pk_fail(PK_CORRUPT, "a batch of %" PRIu32 " elements, %d were expected", elements, PK_WIRE_ELEMENTS);
    if ((err = pk_unpack_uint(u, "version", UINT64_MAX, &version)))
        return err;
    if (version != PK_WIRE_VERSION)
        return pk_fail(PK_CORRUPT, "wire version %" PRIu64 ", this build speaks %d", version, PK_WIRE_VERSION);
    READ(u, "kind", PK_KIND_LOGITS, batch->kind);
    READ(u, "epoch", UINT32_MAX, batch->epoch);
    READ(u, "lane", UINT32_MAX, batch->lane);
    READ(u, "batch number", UINT64_MAX, batch->number);
    READ(u, "dtype", PK_F16, batch->dtype);
    READ(u, "width", UINT32_MAX, batch->width);
    if (!pk_dtype_bytes(batch->dtype))
        return pk_fail(PK_CORRUPT, "dtype %u does not exist", batch->dtype);
    return PK_OK;
}

/* Σcount × width × size, in 128 bits: 2^32 spans of 2^32 rows of 2^32 elements may be claimed. */
static pk_err check_payload(const pk_batch *batch, uint64_t most, uint32_t bin, size_t payload_bytes)
{
    __extension__ typedef unsigned __int128 wide;
    wide expected = (wide)pk_batch_rows(batch) * batch->width * pk_dtype_bytes(batch->dtype);
    if (expected != bin)
        return pk_fail(
            PK_CORRUPT, "the payload claims %" PRIu32 " bytes, its header's rows, width and dtype say %s%" PRIu64, bin,
            expected > UINT64_MAX ? "more than " : "", expected > UINT64_MAX ? UINT64_MAX : (uint64_t)expected);
    if (bin != payload_bytes)
        return pk_fail(PK_CORRUPT, "the payload frame has %zu bytes, its header says %" PRIu32, payload_bytes, bin);
    if (bin > most)
        return pk_fail(PK_CORRUPT, "a payload of %" PRIu32 " bytes, the plan allows %" PRIu64, bin, most);
    return PK_OK;
}

static pk_err read_closing(pk_unpacker *u, pk_batch *batch, uint64_t most, size_t payload_bytes)
{
    uint32_t bin = 0;
    READ(u, "transport", 0, batch->transport);
    READ(u, "checksum", UINT64_MAX, batch->checksum);
    pk_err err = pk_unpack_bin_header(u, "the payload", &bin);
    if (err)
        return err;
    if (u->at != u->size)
        return pk_fail(PK_CORRUPT, "byte %zu: %zu bytes stand behind the header", u->at, u->size - u->at);
    return check_payload(batch, most, bin, payload_bytes);
}

pk_err pk_batch_read(pk_batch_store *store, pk_batch *batch, const void *frame, size_t bytes, size_t payload_bytes)
{
    pk_unpacker u = {.bytes = frame, .size = bytes};
    *batch = (pk_batch){0};
    pk_err err = PK_OK;
    if (bytes > pk_batch_header_limit(store->limits.spans))
        err = pk_fail(PK_CORRUPT, "a header of %zu bytes, at most %zu were expected", bytes,
                      pk_batch_header_limit(store->limits.spans));
    if (!err)
        err = read_opening(&u, batch);
    if (!err)
        err = read_spans(&u, store, batch);
    if (!err)
        err = read_ops(&u, store, batch);
    if (!err)
        err = read_samples(&u, store, batch);
    if (!err)
        err = read_closing(&u, batch, store->limits.payload_bytes, payload_bytes);
    return pk_pass(err, "batch header");
}
