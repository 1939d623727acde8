/* choose.h - where to cut the layers, how many threads each stage gets, and how many rows a batch: what the predicted
 * time of a workload is least with.
 *
 * Every number of stages is tried, with as many threads as the cores allow and halves of that, and rows in powers of
 * two; for each the cut is the one whose heaviest stage is lightest, with each layer weighed by its predicted seconds
 * over the document (a softmax layer weighs more the longer that is). Among layouts of nearly equal time it is the one
 * of more stages. A pure function: the same model, machine and speeds give the same choice. Row purity lets it be free:
 * no choice changes an answer. */
#ifndef PK_PIPELINE_CHOOSE_H
#define PK_PIPELINE_CHOOSE_H

#include "loader/config.h"
#include "pipeline/cost.h"
#include "pipeline/file.h"

#include <stdbool.h>

/* What the time is predicted for: documents of one length that come one after the other, an answer to each. */
typedef struct {
    uint32_t documents, prompt_tokens, answer_tokens;
} pk_workload;

/* Four documents of 32,768 tokens, or as many as the context leaves beside the answer; answers of max_tokens. */
pk_workload pk_workload_usual(const pk_limits *limits, uint32_t max_tokens);

/* The compute side of a pipeline. */
typedef struct {
    uint32_t parts;                          /* `layers` stages */
    uint32_t first[PK_MODEL_LAYERS_MAX + 1]; /* first layer of each; behind the last, the number of layers */
    uint32_t threads;                        /* of each of them and of the head */
    uint32_t batch_rows;
} pk_layout;

/* Of a resolved pipeline; of different threads the fewest. */
pk_layout pk_layout_of(const pk_pipeline *pipeline);

typedef struct {
    const pk_model_config *model;
    const pk_speeds *speeds;
    pk_workload workload;
    uint32_t cores;
    uint32_t batch_rows; /* 0: to be chosen */
} pk_choose_options;

/* Into *out. With `fixed` only the rows are chosen: the layout's stages and threads stay. */
void pk_choose(pk_choose_options options, bool fixed, pk_layout *out);

/* Predicted seconds of a layout. */
typedef struct {
    double prefill; /* of all documents, one behind the other through the stages */
    double decode;  /* of all answers, in batches of a row for each document */
} pk_prediction;

pk_prediction pk_predict(pk_choose_options options, const pk_layout *layout);

#endif
