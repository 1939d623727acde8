/* A line of a request file. */
#include "fuzz.h"
#include "ipc/utf8.h"
#include "pipeline/request_line.h"

#include <math.h>
#include <string.h>

static void check_generation(const pk_generation *g)
{
    MUST(g->max_tokens >= 1 && g->max_tokens <= PK_LIMIT_CONTEXT);
    MUST(isfinite(g->temperature) && g->temperature >= 0 && g->top_p >= 0 && g->top_p <= 1);
    MUST(g->min_p >= 0 && g->min_p <= 1);
}

static void check_line(const pk_request_line *line)
{
    MUST(*line->custom_id && line->choices >= 1 && line->choices <= PK_ANSWERS_MAX);
    MUST((line->prompt != NULL) != (line->ids != NULL));
    MUST(!line->prompt || (line->prompt_bytes && pk_utf8_check(line->prompt, line->prompt_bytes, NULL)));
    MUST(!line->ids || (!line->chat && line->id_count));
    for (uint32_t i = 0; i < line->id_count; i++)
        MUST(line->ids[i] >= 0);
    MUST(line->chat || !line->calls);
    check_generation(&line->generation);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const pk_generation defaults = {.max_tokens = 8, .top_p = 1};
    pk_request_line line;
    const char *code = NULL;
    pk_err err = pk_request_line_read(&line, (const char *)data, size, &defaults, &code);
    MUST(memchr(line.custom_id, 0, sizeof line.custom_id) != NULL);
    MUST(pk_utf8_check(line.custom_id, strlen(line.custom_id), NULL));
    if (err) {
        fuzz_refused(err);
        MUST(code && *code);
    } else
        check_line(&line);
    pk_request_line_fini(&line);
    return 0;
}
