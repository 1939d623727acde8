/* breaks.c - one guard of the product, broken: negative controls of the simulator, one for each build. */
#include "pipeline/protocol.h"
#include "pipeline/scheduler.h"
#include "stages/slots.h"

#ifdef BREAK_EPOCH
/* A batch of any epoch is one of this epoch. */
pk_err __real_pk_stream_take(pk_stream *stream, const pk_batch *head);
pk_err __wrap_pk_stream_take(pk_stream *stream, const pk_batch *head);
pk_err __wrap_pk_stream_take(pk_stream *stream, const pk_batch *head)
{
    pk_batch changed = *head;
    changed.epoch = stream->epoch;
    return __real_pk_stream_take(stream, &changed);
}
#endif

#if defined BREAK_NUMBERS || defined BREAK_TWICE
/* Rows go in wherever they say. */
pk_err __wrap_pk_slots_follow(const pk_slots *slots, const pk_span *span, size_t *slot);
pk_err __wrap_pk_slots_follow(const pk_slots *slots, const pk_span *span, size_t *slot)
{
    return pk_slots_find(slots, span->sequence, slot);
}

void __wrap_pk_slots_advance(pk_slots *slots, size_t slot, uint32_t count);
void __wrap_pk_slots_advance(pk_slots *slots, size_t slot, uint32_t count)
{
    (void)slots, (void)slot, (void)count;
}
#endif

#ifdef BREAK_NUMBERS
/* Whatever number comes is the next one. */
pk_err __wrap_pk_stream_take(pk_stream *stream, const pk_batch *head);
pk_err __wrap_pk_stream_take(pk_stream *stream, const pk_batch *head)
{
    if (head->epoch != stream->epoch)
        return PK_AGAIN;
    stream->last = head->number;
    return PK_OK;
}
#endif

#ifdef BREAK_WINDOW
/* One batch more than allowed. */
pk_err __real_pk_scheduler_open(pk_scheduler **out, pk_scheduler_options options);
pk_err __wrap_pk_scheduler_open(pk_scheduler **out, pk_scheduler_options options);
pk_err __wrap_pk_scheduler_open(pk_scheduler **out, pk_scheduler_options options)
{
    options.window++;
    return __real_pk_scheduler_open(out, options);
}
#endif

#ifdef BREAK_TWICE
/* A reset forgets nothing, and a sequence that is here goes on: its tokens come in twice. */
bool __wrap_pk_slots_give_next(pk_slots *slots, size_t *slot);
bool __wrap_pk_slots_give_next(pk_slots *slots, size_t *slot)
{
    (void)slots, (void)slot;
    return false;
}

pk_err __real_pk_slots_take(pk_slots *slots, uint32_t sequence, uint32_t room, size_t *slot);
pk_err __wrap_pk_slots_take(pk_slots *slots, uint32_t sequence, uint32_t room, size_t *slot);
pk_err __wrap_pk_slots_take(pk_slots *slots, uint32_t sequence, uint32_t room, size_t *slot)
{
    return pk_slots_find(slots, sequence, slot) ? __real_pk_slots_take(slots, sequence, room, slot) : PK_OK;
}
#endif

#ifdef BREAK_REPLAY
/* After a reset the scheduler goes on as if nothing had been. */
void __wrap_pk_scheduler_reset(pk_scheduler *scheduler);
void __wrap_pk_scheduler_reset(pk_scheduler *scheduler)
{
    (void)scheduler;
}
#endif

#ifdef BREAK_BARRIER
/* Batches flow at any time. */
bool __wrap_pk_protocol_flowing(const pk_protocol *protocol);
bool __wrap_pk_protocol_flowing(const pk_protocol *protocol)
{
    (void)protocol;
    return true;
}
#endif
