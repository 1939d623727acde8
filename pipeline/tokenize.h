/* tokenize.h - texts to token ids through a tokenize stage, for `penstock tokenize`. */
#ifndef PK_PIPELINE_TOKENIZE_H
#define PK_PIPELINE_TOKENIZE_H

#include "pipeline/file.h"

#include <stddef.h>

typedef struct {
    const char *text; /* UTF-8; view */
    size_t bytes;
} pk_text_view;

/* Called once for each text, in order; ids are a view, valid during the call. */
typedef pk_err (*pk_tokenize_ids)(void *context, size_t index, const int32_t *ids, size_t count);

/* The pipeline's model names the tokenizer. Errors as pk_fleet_open and pk_engine_step, or the handler's. */
pk_err pk_tokenize(const pk_pipeline *pipeline, const pk_text_view *texts, size_t count, pk_tokenize_ids taken,
                   void *context);

#endif
