#include "stages/tokenizer/character.h"

#include <stdlib.h>
#include <string.h>

pk_err pk_character_classes(uint8_t **out)
{
    uint8_t *classes = malloc(PK_CHARACTER_COUNT);
    if (!classes)
        return pk_fail(PK_NOMEM, "no memory for the classes of characters");
    for (size_t i = 0; i < pk_character_range_count; i++) {
        size_t first = pk_character_ranges[i] >> 8;
        size_t end = i + 1 < pk_character_range_count ? pk_character_ranges[i + 1] >> 8 : PK_CHARACTER_COUNT;
        memset(classes + first, (int)(pk_character_ranges[i] & 0xFF), end - first);
    }
    *out = classes;
    return PK_OK;
}
