#include "stages/protocol.h"

#include <inttypes.h>

static void begin(pk_stage_protocol *protocol, uint64_t epoch)
{
    pk_stream_begin(&protocol->in, (uint32_t)epoch);
    protocol->last_out = 0;
}

static pk_err check_epoch(const pk_control *message)
{
    uint64_t epoch = message->assignment.epoch;
    return epoch >= 1 && epoch <= UINT32_MAX ? PK_OK
                                             : pk_fail(PK_PEER, "control message %s: epoch %" PRIu64 " does not exist",
                                                       pk_control_word(message->kind), epoch);
}

static pk_err take_assign(pk_stage_protocol *protocol, const pk_control *message, pk_duty *duty)
{
    pk_err err = check_epoch(message);
    if (err)
        return err;
    protocol->assigned = true;
    begin(protocol, message->assignment.epoch);
    *duty = PK_DUTY_OPEN;
    return PK_OK;
}

static pk_err take_reset(pk_stage_protocol *protocol, const pk_control *message, pk_duty *duty)
{
    pk_err err = check_epoch(message);
    if (err)
        return err;
    uint64_t epoch = message->assignment.epoch;
    *duty = epoch > protocol->in.epoch ? PK_DUTY_RESET : epoch == protocol->in.epoch ? PK_DUTY_ANSWER : PK_DUTY_NONE;
    if (*duty == PK_DUTY_RESET)
        begin(protocol, epoch);
    return PK_OK;
}

pk_err pk_stage_protocol_control(pk_stage_protocol *protocol, const pk_control *message, pk_duty *duty)
{
    *duty = PK_DUTY_NONE;
    if (protocol->leaving)
        return PK_OK;
    if (message->kind == PK_CONTROL_ASSIGN && !protocol->assigned)
        return take_assign(protocol, message, duty);
    if (message->kind == PK_CONTROL_RESET && protocol->assigned)
        return take_reset(protocol, message, duty);
    if (message->kind != PK_CONTROL_DRAIN)
        return pk_fail(PK_PEER, "control message %s does not belong here", pk_control_word(message->kind));
    protocol->leaving = true;
    *duty = PK_DUTY_LEAVE;
    return PK_OK;
}

pk_err pk_stage_protocol_batch(pk_stage_protocol *protocol, const pk_batch *head, pk_duty *duty)
{
    pk_err err = pk_stream_take(&protocol->in, head);
    *duty = err == PK_AGAIN ? PK_DUTY_DROP : PK_DUTY_STEP;
    return err == PK_AGAIN ? PK_OK : err;
}

void pk_stage_protocol_sent(pk_stage_protocol *protocol, const pk_batch *head)
{
    protocol->last_out = head->number;
}

void pk_stage_protocol_count(const pk_stage_protocol *protocol, pk_stage_counters *counters)
{
    counters->epoch = protocol->in.epoch;
    counters->last_in = protocol->in.last;
    counters->last_out = protocol->last_out;
    counters->dropped = protocol->in.dropped;
}
