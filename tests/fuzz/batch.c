/* The header of a batch. Input: the size of the payload frame, then frame 0. */
#include "fuzz.h"
#include "ipc/wire.h"

#include <string.h>

enum { SPANS = 16, PAYLOAD_BYTES = 1 << 16, FRAME_BYTES = 1024 + 128 * SPANS };

static void check_batch(const pk_batch *batch, size_t payload_bytes)
{
    MUST(batch->span_count <= SPANS && batch->op_count <= 4 * SPANS && batch->sample_count <= SPANS);
    MUST(pk_batch_payload_bytes(batch) == payload_bytes && payload_bytes <= PAYLOAD_BYTES);
    for (uint32_t i = 0; i < batch->op_count; i++)
        MUST(batch->ops[i].span < batch->span_count);
    for (uint32_t i = 0; i < batch->sample_count; i++)
        MUST(batch->samples[i].span < batch->span_count);
    for (uint32_t i = 0; i < batch->span_count; i++)
        MUST(pk_span_wanted(&batch->spans[i]) <= batch->spans[i].count);
}

/* What was read, written, reads as the same: the second writing says so, as no two batches are written alike. */
static void check_round_trip(pk_batch_store *store, const pk_batch *batch, size_t payload_bytes)
{
    static uint8_t first[FRAME_BYTES], second[FRAME_BYTES];
    size_t first_bytes = 0, second_bytes = 0;
    pk_batch again;
    MUST(pk_batch_write(batch, first, sizeof first, &first_bytes) == PK_OK);
    MUST(first_bytes <= pk_batch_header_limit(SPANS));
    MUST(pk_batch_read(store, &again, first, first_bytes, payload_bytes) == PK_OK);
    MUST(pk_batch_write(&again, second, sizeof second, &second_bytes) == PK_OK);
    MUST(second_bytes == first_bytes && memcmp(first, second, first_bytes) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static pk_batch_store *store; /* as in a stage: made once */
    uint64_t payload_bytes = fuzz_number(&data, &size);
    pk_batch batch;
    if (!store)
        MUST(pk_batch_store_open(&store, (pk_batch_limits){.spans = SPANS, .payload_bytes = PAYLOAD_BYTES}) == PK_OK);
    pk_err err = pk_batch_read(store, &batch, data, size, (size_t)payload_bytes);
    if (err) {
        fuzz_refused(err);
        return 0;
    }
    check_batch(&batch, (size_t)payload_bytes);
    check_round_trip(store, &batch, (size_t)payload_bytes);
    return 0;
}
