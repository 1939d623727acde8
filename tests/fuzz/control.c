/* A control message. */
#include "fuzz.h"
#include "ipc/control.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t first[PK_CONTROL_MESSAGE_BYTES], second[PK_CONTROL_MESSAGE_BYTES];
    size_t first_bytes = 0, second_bytes = 0;
    pk_control message, again;
    if (size > PK_CONTROL_MESSAGE_BYTES) /* the socket's limit */
        return 0;
    pk_err err = pk_control_read(&message, data, size);
    if (err) {
        fuzz_refused(err);
        return 0;
    }
    MUST(message.kind < PK_CONTROL_KIND_COUNT);
    MUST(pk_control_write(&message, first, sizeof first, &first_bytes) == PK_OK);
    MUST(pk_control_read(&again, first, first_bytes) == PK_OK);
    MUST(pk_control_write(&again, second, sizeof second, &second_bytes) == PK_OK);
    MUST(second_bytes == first_bytes && memcmp(first, second, first_bytes) == 0);
    return 0;
}
