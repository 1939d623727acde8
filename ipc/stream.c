#include "ipc/stream.h"

#include <inttypes.h>

void pk_stream_begin(pk_stream *stream, uint32_t epoch)
{
    stream->epoch = epoch;
    stream->last = 0;
}

pk_err pk_stream_take(pk_stream *stream, const pk_batch *head)
{
    if (head->epoch != stream->epoch) {
        stream->dropped++;
        return PK_AGAIN;
    }
    if (head->number != stream->last + 1)
        return pk_fail(PK_PEER, "batch %" PRIu64 " came after batch %" PRIu64 ": batches were lost", head->number,
                       stream->last);
    stream->last += head->kind != PK_KIND_LOGITS;
    return PK_OK;
}
