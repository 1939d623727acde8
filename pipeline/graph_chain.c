#include "pipeline/graph_chain.h"

#include <stdlib.h>
#include <string.h>

/* The coordinator behind each stage that answers to it, before the first stage, and both ends: a bound. */
static size_t nodes_max(const pk_pipeline *pipeline)
{
    return 2 * (size_t)pipeline->stage_count + 4;
}

static pk_graph_node *add(pk_graph_chain *chain, pk_graph_node_kind kind, const char *id, const char *carries)
{
    pk_graph_node *node = &chain->nodes[chain->count++];
    node->kind = kind;
    node->carries = carries;
    snprintf(node->id, sizeof node->id, "%s", id);
    return node;
}

static void add_end(pk_graph_chain *chain, const char *id, const char *word, const char *carries)
{
    pk_graph_node *node = add(chain, PK_NODE_END, id, carries);
    snprintf(node->lines[0], sizeof node->lines[0], "%s", word);
}

static void add_coordinator(pk_graph_chain *chain, const char *carries)
{
    pk_graph_node *node = add(chain, PK_NODE_COORDINATOR, "c", carries);
    snprintf(node->lines[0], sizeof node->lines[0], "coordinator");
    snprintf(node->lines[1], sizeof node->lines[1], "penstock");
}

static void add_stage(pk_graph_chain *chain, const pk_stage_spec *stage, uint32_t index, const char *carries)
{
    char id[PK_GRAPH_ID_BYTES];
    snprintf(id, sizeof id, "s%u", index);
    pk_graph_node *node = add(chain, PK_NODE_STAGE, id, carries);
    node->stage = stage;
    snprintf(node->lines[0], sizeof node->lines[0], "%s", stage->name);
    snprintf(node->lines[1], sizeof node->lines[1], "penstock-%s", pk_stage_kind_word(stage->kind));
    if (stage->kind == PK_STAGE_LAYERS)
        snprintf(node->lines[2], sizeof node->lines[2], "layers %u-%u", stage->first_layer, stage->last_layer);
    if (stage->threads) /* a text stage says none in a file */
        snprintf(node->lines[3], sizeof node->lines[3], "%u thread%s, %s", stage->threads,
                 stage->threads == 1 ? "" : "s", stage->device);
}

/* What comes to a stage, whether from the coordinator or from the layers before it. */
static const char *input_of(const pk_stage_spec *stage, bool from_layers)
{
    switch (stage->kind) {
    case PK_STAGE_TOKENIZE:
        return "text";
    case PK_STAGE_LAYERS:
        return from_layers ? "activations" : "token ids";
    case PK_STAGE_HEAD:
        return from_layers ? "wanted rows" : "token ids";
    case PK_STAGE_DETOKENIZE:
        return "token ids";
    }
    return "";
}

/* What a stage gives back to the coordinator; NULL: it hands on to the next stage. */
static const char *answer_of(const pk_stage_spec *stage)
{
    switch (stage->kind) {
    case PK_STAGE_TOKENIZE:
        return "token ids";
    case PK_STAGE_LAYERS:
        return NULL;
    case PK_STAGE_HEAD:
        return "answers";
    case PK_STAGE_DETOKENIZE:
        return "text";
    }
    return NULL;
}

/* The lines that tell what a node's process does. */
static void add_live(pk_graph_node *node, const pk_graph_options *options)
{
    const char *name = node->stage ? node->stage->name : node->kind == PK_NODE_COORDINATOR ? "penstock" : "";
    for (size_t i = 0; i < options->live_count; ++i)
        if (!strcmp(options->live[i].name, name))
            memcpy(node->lines[PK_GRAPH_STILL_LINES], options->live[i].lines, sizeof options->live[i].lines);
}

pk_err pk_graph_chain_init(pk_graph_chain *out, const pk_pipeline *pipeline, const pk_graph_options *options)
{
    bool text = pipeline->stage_count && pipeline->stages[0].kind == PK_STAGE_TOKENIZE, from_layers = false;
    *out = (pk_graph_chain){.nodes = calloc(nodes_max(pipeline), sizeof *out->nodes)};
    if (!out->nodes)
        return pk_fail(PK_NOMEM, "no memory to draw %u stages", pipeline->stage_count);
    add_end(out, "in", text ? "documents" : "ids", NULL);
    add_coordinator(out, text ? "files" : "file");
    for (uint32_t i = 0; i < pipeline->stage_count; ++i) {
        const pk_stage_spec *stage = &pipeline->stages[i];
        add_stage(out, stage, i, input_of(stage, from_layers));
        from_layers = stage->kind == PK_STAGE_LAYERS;
        if (answer_of(stage))
            add_coordinator(out, answer_of(stage));
    }
    add_end(out, "out", text ? "answers" : "logits", text ? "files" : "file");
    for (uint32_t i = 0; i < out->count; ++i) {
        out->nodes[i].line_count = options->live ? PK_GRAPH_LINES : PK_GRAPH_STILL_LINES;
        add_live(&out->nodes[i], options);
    }
    return PK_OK;
}

void pk_graph_chain_fini(pk_graph_chain *chain)
{
    free(chain->nodes);
    *chain = (pk_graph_chain){0};
}

bool pk_graph_chain_new(const pk_graph_chain *chain, uint32_t index)
{
    for (uint32_t i = 0; i < index; ++i)
        if (!strcmp(chain->nodes[i].id, chain->nodes[index].id))
            return false;
    return true;
}

void pk_graph_limits(const pk_pipeline *pipeline, char *out, size_t bytes)
{
    snprintf(out, bytes, "%u batches of at most %u rows in flight; %u sequences of at most %u tokens",
             pipeline->limits.window, pipeline->limits.batch_rows, pipeline->limits.sequences,
             pipeline->limits.context);
}
