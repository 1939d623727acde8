/* probe.h - asks penstock-probe, the program beside the stages that links kernels and looks for drivers. */
#ifndef PK_PIPELINE_PROBE_H
#define PK_PIPELINE_PROBE_H

#include "loader/json.h"
#include "pipeline/speeds.h"

/* Runs `penstock-probe WHAT [THREADS]` (threads 0: left out) and reads its answer, an object; the caller closes *out.
 * Its standard error is ours. PK_IO: it cannot be started, failed, or gave no answer within 60 s. */
pk_err pk_probe_ask(pk_json **out, const char *what, uint32_t threads);

/* Measures with one thread and with as many as cores; `device` gets the kernels' name. */
pk_err pk_probe_speeds(pk_speeds *out, uint32_t cores, char device[PK_SPEED_NAME_BYTES]);

#endif
