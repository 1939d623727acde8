#include "cli/model_survey.h"

#include <stdio.h>

bool pk_survey_why_not(const pk_survey *s, bool text, char why[PK_WHY_NOT_BYTES])
{
    const char *more = s->fault_count > 1 ? " (and more)" : "";
    if (s->fault_count)
        snprintf(why, PK_WHY_NOT_BYTES, "not: %s%s", s->faults[0].what, more);
    else if (s->absent_count)
        snprintf(why, PK_WHY_NOT_BYTES, "not here: %zu of %zu files with weights are somewhere else", s->absent_count,
                 s->shard_count);
    else if (text && !s->tokenizer_file_count)
        snprintf(why, PK_WHY_NOT_BYTES, "not: there is no tokenizer: neither tokenizer.json nor merges.txt");
    else
        return false;
    return true;
}

void pk_survey_json_faults(pk_json_text *out, const pk_survey *s)
{
    pk_json_text_raw(out, ", \"faults\": [");
    for (size_t i = 0; i < s->fault_count; i++) {
        pk_json_text_raw(out, "%s{\"kind\": \"%s\", \"where\": ", i ? ", " : "",
                         pk_survey_fault_word(s->faults[i].kind));
        pk_json_text_word(out, s->faults[i].where);
        pk_json_text_raw(out, ", \"what\": ");
        pk_json_text_word(out, s->faults[i].what);
        pk_json_text_raw(out, "}");
    }
    pk_json_text_raw(out, "]");
}
