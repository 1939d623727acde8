/* expect.h - is a batch what this stage works on?
 *
 * The link has checked that a header agrees with itself and its payload; here the stage says which kind it is for. */
#ifndef PK_STAGES_EXPECT_H
#define PK_STAGES_EXPECT_H

#include "ipc/wire.h"

/* Payloads hold the host's own numbers; the wire says little-endian. */
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "payloads are little-endian");

/* PK_PEER names what came and what was expected. */
pk_err pk_expect_batch(const pk_batch *in, pk_batch_kind kind, pk_dtype dtype, uint64_t width);

/* Refuses a batch of more than `most` rows. PK_PEER. */
pk_err pk_expect_rows(const pk_batch *in, uint64_t most);

/* Whether an op of this code stands on span `span`; *argument (may be NULL) is that of the first. */
bool pk_batch_has_op(const pk_batch *in, uint32_t span, pk_op_code code, uint32_t *argument);

#endif
