/* graph_json.c - a pipeline as nodes and links for other programs. */
#include "pipeline/graph_chain.h"

#include "pipeline/json_text.h"

#include <inttypes.h>

static void put_stage(pk_json_text *text, const pk_stage_spec *stage)
{
    pk_json_text_raw(text, ", \"kind\": \"%s\", \"process\": \"penstock-%s\"", pk_stage_kind_word(stage->kind),
                     pk_stage_kind_word(stage->kind));
    if (stage->kind == PK_STAGE_LAYERS)
        pk_json_text_raw(text, ", \"first_layer\": %" PRIu32 ", \"last_layer\": %" PRIu32, stage->first_layer,
                         stage->last_layer);
    pk_json_text_raw(text, ", \"threads\": %" PRIu32 ", \"device\": \"%s\"", stage->threads, stage->device);
}

static void put_node(pk_json_text *text, const pk_graph_node *node)
{
    pk_json_text_raw(text, "{\"id\": \"%s\", \"name\": ", node->id);
    pk_json_text_word(text, node->lines[0]);
    if (node->stage)
        put_stage(text, node->stage);
    else if (node->kind == PK_NODE_COORDINATOR)
        pk_json_text_raw(text, ", \"kind\": \"coordinator\", \"process\": \"penstock\"");
    else
        pk_json_text_raw(text, ", \"kind\": \"files\"");
    for (int i = PK_GRAPH_STILL_LINES; i < node->line_count && node->kind != PK_NODE_END; ++i) {
        pk_json_text_raw(text, i == PK_GRAPH_STILL_LINES ? ", \"live\": [" : ", ");
        pk_json_text_word(text, node->lines[i]);
        pk_json_text_raw(text, i + 1 == node->line_count ? "]" : "");
    }
    pk_json_text_raw(text, "}");
}

static void put_graph(pk_json_text *text, const pk_pipeline *pipeline, const pk_graph_chain *chain)
{
    const pk_limits *limits = &pipeline->limits;
    pk_json_text_raw(text, "{\n  \"model\": ");
    pk_json_text_word(text, pipeline->model ? pipeline->model : "");
    pk_json_text_raw(text,
                     ",\n  \"limits\": {\"context\": %" PRIu32 ", \"batch_rows\": %" PRIu32 ", \"sequences\": %" PRIu32
                     ", \"window\": %" PRIu32 "},\n  \"nodes\": [",
                     limits->context, limits->batch_rows, limits->sequences, limits->window);
    for (uint32_t i = 0; i < chain->count; ++i) {
        if (!pk_graph_chain_new(chain, i))
            continue;
        pk_json_text_raw(text, "%s\n    ", i ? "," : "");
        put_node(text, &chain->nodes[i]);
    }
    pk_json_text_raw(text, "\n  ],\n  \"links\": [");
    for (uint32_t i = 1; i < chain->count; ++i)
        pk_json_text_raw(text, "%s\n    {\"from\": \"%s\", \"to\": \"%s\", \"carries\": \"%s\"}", i > 1 ? "," : "",
                         chain->nodes[i - 1].id, chain->nodes[i].id, chain->nodes[i].carries);
    pk_json_text_raw(text, "\n  ]\n}\n");
}

pk_err pk_graph_json(const pk_pipeline *pipeline, const pk_graph_chain *chain, FILE *out)
{
    pk_json_text text = {0};
    put_graph(&text, pipeline, chain);
    pk_err err = pk_json_text_check(&text);
    if (!err)
        fwrite(text.bytes, 1, text.used, out);
    pk_json_text_fini(&text);
    return err;
}
