/* stage.c - a stage program that goes wrong on purpose, for tests/e2e/faults.py.
 *
 * Built for each stage and each fault with PK_STAGE_HEADER, PK_STAGE_OPS and PK_STAGE_SELF of the real one, and
 *
 *     PK_FAULT_HANG    the step of the third batch never returns, while the helper thread beats on
 *     PK_FAULT_FLOOD   the first batches each write FLOOD_BYTES of lines to the log */
#include PK_STAGE_HEADER

#include <stdint.h>
#include <unistd.h>

#if defined(PK_FAULT_HANG)
enum { GOOD_BATCHES = 2 };

static void go_wrong(void)
{
    static unsigned batches;
    if (++batches > GOOD_BATCHES)
        for (;;)
            pause();
}
#elif defined(PK_FAULT_FLOOD)
enum { FLOOD_BYTES = 8 << 20, FLOODS = 4 };

static void go_wrong(void)
{
    static const char line[] = "info flood water=rising water=rising water=rising water=rising\n";
    static unsigned batches;
    if (++batches > FLOODS)
        return;
    for (size_t done = 0; done < FLOOD_BYTES; done += sizeof line - 1)
        if (write(STDERR_FILENO, line, sizeof line - 1) < 0)
            return;
}
#endif

static pk_err step(void *self, const pk_batch *in, pk_buffer *payload, pk_outbox *outbox)
{
    go_wrong();
    return PK_STAGE_OPS.step(self, in, payload, outbox);
}

int main(int argc, char **argv)
{
    static PK_STAGE_SELF self;
    pk_stage_ops ops = PK_STAGE_OPS;
    ops.step = step;
    return pk_stage_main(argc, argv, &ops, &self);
}
