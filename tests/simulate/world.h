/* world.h - one simulated run: the coordinator's cores (protocol, scheduler) and some stages, over links that delay,
 * lose and double, with processes that die, stop and hang; all of it drawn from one seed.
 *
 * After every event the invariants are looked at: no batch goes twice into a state, none of another epoch, no row but
 * behind the rows before it, the window is never exceeded, nobody hears of an epoch that is not persisted, every
 * request ends once and with the tokens of the model. When the faults are over the run must end, within bounded virtual
 * time. In half of the runs a fault is answered by a recovery and everything must be done at the end; in the other
 * half, as in the product today, it may be the clean end of the run. Pauses that are no fault (resets, short stops) end
 * no run. */
#ifndef PK_TESTS_SIMULATE_WORLD_H
#define PK_TESTS_SIMULATE_WORLD_H

#include <stdbool.h>
#include <stdint.h>

typedef struct {
    uint64_t events, virtual_ns;
    uint32_t epochs, deaths, recoveries;
    bool failed_clean;   /* it ended by a fault, as it may */
    char violation[256]; /* "": all invariants held */
} world_report;

/* trace: every event is printed as it happens. On a violation the last events are printed on stderr. */
void world_run(uint64_t seed, bool trace, world_report *report);

#endif
