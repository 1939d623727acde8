/* check.h - what the tests of the pipeline share: cmocka, and a refusal with its whole message. */
#ifndef PK_TESTS_PIPELINE_CHECK_H
#define PK_TESTS_PIPELINE_CHECK_H

#include "pipeline/file.h"
#include "tests/unit/cmocka_all.h"

#include <stdlib.h>
#include <string.h>

static inline pk_err parse(pk_pipeline *pipeline, const char *text)
{
    pk_pipeline_init(pipeline);
    return pk_pipeline_parse(pipeline, "p.yaml", text, strlen(text));
}

static inline void parse_good(pk_pipeline *pipeline, const char *text)
{
    if (parse(pipeline, text))
        fail_msg("refused: %s", pk_error_text());
}

#define assert_error(call, code, message)                                                                              \
    do {                                                                                                               \
        assert_int_equal((call), (code));                                                                              \
        assert_string_equal(pk_error_text(), (message));                                                               \
    } while (0)

#endif
