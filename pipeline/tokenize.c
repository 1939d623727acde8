#include "pipeline/tokenize.h"
#include "pipeline/engine.h"

#include <stdlib.h>
#include <string.h>

enum { POLL_MS = 1000 };

typedef struct {
    pk_tokenize_ids taken;
    void *context;
    size_t done;
} job;

static pk_err take_ids(void *context, uint32_t text_id, const int32_t *ids, size_t count, uint32_t too_many)
{
    job *j = context;
    if (text_id != j->done)
        return pk_fail(PK_PEER, "ids of text %u came where those of text %zu were expected", text_id, j->done);
    if (too_many)
        return pk_fail(PK_INVALID, "text %u has %u tokens, which is more than one answer holds", text_id, too_many);
    j->done++;
    return j->taken(j->context, text_id, ids, count);
}

static pk_err encode(pk_engine *engine, uint32_t id, const pk_text_view *text)
{
    char *copy = malloc(text->bytes + 1);
    if (!copy)
        return pk_fail(PK_NOMEM, "a text of %zu bytes", text->bytes);
    memcpy(copy, text->text, text->bytes);
    return pk_engine_encode(engine, id, copy, text->bytes, UINT32_MAX, false);
}

static pk_err work(job *j, pk_fleet *fleet, pk_engine *engine, const pk_text_view *texts, size_t count)
{
    int last_signal = 0;
    pk_err err = PK_OK;
    for (size_t i = 0; !err && i < count; i++) {
        err = encode(engine, (uint32_t)i, &texts[i]);
        while (!err && j->done == i) { /* one at a time: answers come in order */
            err = pk_engine_step(engine, POLL_MS);
            if (!err && pk_fleet_interrupts(fleet, &last_signal))
                err = pk_fail(PK_CLOSED, "interrupted");
        }
    }
    return err;
}

pk_err pk_tokenize(const pk_pipeline *pipeline, const pk_text_view *texts, size_t count, pk_tokenize_ids taken,
                   void *context)
{
    job j = {.taken = taken, .context = context};
    pk_fleet *fleet = NULL;
    pk_engine *engine = NULL;
    pk_err err = pk_fleet_open(&fleet, (pk_fleet_options){.pipeline = pipeline, .kinds = 1u << PK_STAGE_TOKENIZE});
    if (!err)
        err = pk_engine_open(&engine, (pk_engine_options){.fleet = fleet,
                                                          .pipeline = pipeline,
                                                          .handlers = {.context = &j, .encoded = take_ids}});
    if (!err)
        err = work(&j, fleet, engine, texts, count);
    if (!err)
        err = pk_fleet_drain(fleet);
    pk_engine_close(&engine);
    pk_fleet_close(&fleet);
    return err;
}
