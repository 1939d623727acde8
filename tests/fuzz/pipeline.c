/* The pipeline file: read, resolved for a model of 16 layers, printed, and read again. */
#include "fuzz.h"
#include "pipeline/file.h"
#include "pipeline/resolve.h"

#include <stdlib.h>
#include <string.h>

static pk_err resolve(pk_pipeline *pipeline)
{
    static const pk_machine machine = {.cores = 4, .memory_bytes = UINT64_C(8) << 30};
    pk_model_config model = {.layers = 16, .heads = 4, .head_dim = 32, .kv_heads = 2, .max_positions = 100000};
    model.kind[7] = model.kind[15] = PK_LAYER_SOFTMAX;
    return pk_pipeline_resolve(pipeline, (pk_resolve_options){.model = &model, .machine = &machine});
}

static char *print(const pk_pipeline *pipeline, size_t *bytes)
{
    char *text = NULL;
    FILE *out = open_memstream(&text, bytes);
    MUST(out != NULL);
    pk_err err = pk_pipeline_print(pipeline, out);
    MUST(fclose(out) == 0);
    if (!err)
        return text;
    MUST(err == PK_INVALID); /* the model's path is not UTF-8 */
    free(text);
    return NULL;
}

/* `text` reads as what it was printed from. */
static void check_printed(const char *text, size_t bytes)
{
    pk_pipeline again;
    size_t again_bytes = 0;
    pk_pipeline_init(&again);
    MUST(pk_pipeline_parse(&again, "printed", text, bytes) == PK_OK);
    char *second = print(&again, &again_bytes);
    MUST(second && again_bytes == bytes && memcmp(text, second, bytes) == 0);
    free(second);
    pk_pipeline_fini(&again);
}

static void check_resolved(const pk_pipeline *p)
{
    uint32_t layer = 0;
    MUST(p->limits.context >= 1 && p->limits.batch_rows >= 1 && p->limits.sequences >= 1 && p->limits.window >= 1);
    MUST(p->limits.context <= PK_LIMIT_CONTEXT && p->limits.batch_rows <= PK_LIMIT_BATCH_ROWS);
    MUST(p->limits.sequences <= PK_LIMIT_SEQUENCES && p->limits.window <= PK_LIMIT_WINDOW);
    for (uint32_t i = 0; i < p->stage_count; i++) {
        const pk_stage_spec *stage = &p->stages[i];
        MUST(stage->threads >= 1 && stage->threads <= PK_LIMIT_THREADS && stage->name[0]);
        if (stage->kind != PK_STAGE_LAYERS)
            continue;
        MUST(stage->first_layer == layer && stage->last_layer >= layer);
        layer = stage->last_layer + 1;
    }
    MUST(layer == 16);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    pk_pipeline pipeline;
    size_t bytes = 0;
    pk_pipeline_init(&pipeline);
    pk_err err = pk_pipeline_parse(&pipeline, "fuzz.yaml", data, size);
    if (err || (err = resolve(&pipeline))) {
        fuzz_refused(err);
    } else {
        check_resolved(&pipeline);
        char *text = print(&pipeline, &bytes);
        if (text)
            check_printed(text, bytes);
        free(text);
    }
    pk_pipeline_fini(&pipeline);
    return 0;
}
