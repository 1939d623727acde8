/* graph_chain.h - the way of a document through a pipeline, node by node: what every drawing of it is made from.
 *
 * The coordinator stands in it several times, as everything comes back to it. Only the graph_*.c include this. */
#ifndef PK_PIPELINE_GRAPH_CHAIN_H
#define PK_PIPELINE_GRAPH_CHAIN_H

#include "pipeline/graph.h"

/* Lines of a box; the last PK_GRAPH_LIVE_LINES only where the pipeline runs. */
enum { PK_GRAPH_STILL_LINES = 4, PK_GRAPH_LINES = PK_GRAPH_STILL_LINES + PK_GRAPH_LIVE_LINES, PK_GRAPH_ID_BYTES = 16 };

typedef enum { PK_NODE_END, PK_NODE_COORDINATOR, PK_NODE_STAGE } pk_graph_node_kind; /* END: of the way, no process */

typedef struct {
    pk_graph_node_kind kind;
    const pk_stage_spec *stage;                      /* view; NULL: not a stage */
    const char *carries;                             /* by the link that leads here; NULL for the first node */
    char id[PK_GRAPH_ID_BYTES];                      /* letters and digits: "in", "out", "c", "s3" */
    char lines[PK_GRAPH_LINES][PK_GRAPH_LINE_BYTES]; /* what stands in the box; name first, some may be empty */
    int line_count;                                  /* of these, the same for all nodes of a chain */
} pk_graph_node;

typedef struct {
    pk_graph_node *nodes; /* owned */
    uint32_t count;
} pk_graph_chain;

/* PK_NOMEM. Free it with fini in any case. */
pk_err pk_graph_chain_init(pk_graph_chain *out, const pk_pipeline *pipeline, const pk_graph_options *options);
void pk_graph_chain_fini(pk_graph_chain *chain);

/* Whether it is the first of those with its id: the coordinator is one process. */
bool pk_graph_chain_new(const pk_graph_chain *chain, uint32_t index);

/* "7 batches of at most 512 rows in flight; …" */
void pk_graph_limits(const pk_pipeline *pipeline, char *out, size_t bytes);

/* One format each; the chain is that of the pipeline. Whether writing failed is for the caller to ask. */
void pk_graph_text(const pk_pipeline *pipeline, const pk_graph_chain *chain, pk_graph_options options, FILE *out);
void pk_graph_svg(const pk_pipeline *pipeline, const pk_graph_chain *chain, pk_graph_options options, FILE *out);
void pk_graph_dot(const pk_pipeline *pipeline, const pk_graph_chain *chain, FILE *out);
void pk_graph_mermaid(const pk_pipeline *pipeline, const pk_graph_chain *chain, FILE *out);
pk_err pk_graph_json(const pk_pipeline *pipeline, const pk_graph_chain *chain, FILE *out); /* PK_NOMEM */

#endif
