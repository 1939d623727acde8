/* The file of token ids that `penstock logits` reads. */
#include "fuzz.h"
#include "pipeline/ids_file.h"

enum { VOCABULARY = 100 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    pk_id_lists lists;
    pk_err err = pk_ids_file_read(&lists, fuzz_file(data, size), VOCABULARY);
    if (err) {
        fuzz_refused(err);
        MUST(lists.count == 0 && lists.lists == NULL);
        return 0;
    }
    MUST(lists.count >= 1);
    for (size_t i = 0; i < lists.count; i++) {
        MUST(lists.lists[i].count >= 1);
        for (uint32_t k = 0; k < lists.lists[i].count; k++)
            MUST(lists.lists[i].ids[k] >= 0 && lists.lists[i].ids[k] < VOCABULARY);
    }
    pk_id_lists_fini(&lists);
    return 0;
}
