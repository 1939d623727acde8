#include "stages/expect.h"

#include <inttypes.h>

static const char *kind_text(unsigned kind)
{
    switch (kind) {
    case PK_KIND_TOKENS:
        return "token ids";
    case PK_KIND_ACTIVATIONS:
        return "activations";
    case PK_KIND_ANSWERS:
        return "answers";
    case PK_KIND_TEXT:
        return "text";
    case PK_KIND_TRACE:
        return "a trace";
    case PK_KIND_LOGITS:
        return "logits";
    default:
        return "something unknown";
    }
}

pk_err pk_expect_batch(const pk_batch *in, pk_batch_kind kind, pk_dtype dtype, uint64_t width)
{
    if (in->kind != kind)
        return pk_fail(PK_PEER, "%s (kind %u) came where %s (kind %u) were expected", kind_text(in->kind), in->kind,
                       kind_text(kind), kind);
    if (in->dtype != dtype || in->width != width)
        return pk_fail(PK_PEER, "%s came as %s of width %" PRIu32 ", expected %s of width %" PRIu64, kind_text(kind),
                       pk_dtype_name(in->dtype), in->width, pk_dtype_name(dtype), width);
    return PK_OK;
}

pk_err pk_expect_rows(const pk_batch *in, uint64_t most)
{
    uint64_t rows = pk_batch_rows(in);
    if (rows > most)
        return pk_fail(PK_PEER, "a batch of %" PRIu64 " rows, at most %" PRIu64 " were expected", rows, most);
    return PK_OK;
}

bool pk_batch_has_op(const pk_batch *in, uint32_t span, pk_op_code code, uint32_t *argument)
{
    for (uint32_t i = 0; i < in->op_count; i++)
        if (in->ops[i].span == span && in->ops[i].code == code) {
            if (argument)
                *argument = in->ops[i].argument;
            return true;
        }
    return false;
}
