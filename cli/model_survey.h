/* model_survey.h - what `model inspect` and `model verify` both say of a survey. */
#ifndef PK_CLI_MODEL_SURVEY_H
#define PK_CLI_MODEL_SURVEY_H

#include "loader/survey.h"
#include "pipeline/json_text.h"

/* Why this version cannot compute with it, or (text) read and answer documents with it; false where it can. */
enum { PK_WHY_NOT_BYTES = 512 };
bool pk_survey_why_not(const pk_survey *survey, bool text, char why[PK_WHY_NOT_BYTES]);

/* Appends `, "faults": [{"kind", "where", "what"}]`. */
void pk_survey_json_faults(pk_json_text *out, const pk_survey *survey);

#endif
