#include "pipeline/graph.h"

#include "pipeline/graph_chain.h"

static pk_err draw(const pk_pipeline *pipeline, const pk_graph_chain *chain, pk_graph_options options, FILE *out)
{
    switch (options.format) {
    case PK_GRAPH_TEXT:
        pk_graph_text(pipeline, chain, options, out);
        return PK_OK;
    case PK_GRAPH_DOT:
        pk_graph_dot(pipeline, chain, out);
        return PK_OK;
    case PK_GRAPH_MERMAID:
        pk_graph_mermaid(pipeline, chain, out);
        return PK_OK;
    case PK_GRAPH_SVG:
        pk_graph_svg(pipeline, chain, options, out);
        return PK_OK;
    case PK_GRAPH_JSON:
        return pk_graph_json(pipeline, chain, out);
    }
    return pk_fail(PK_INVALID, "a drawing of no format");
}

pk_err pk_graph_draw(const pk_pipeline *pipeline, pk_graph_options options, FILE *out)
{
    pk_graph_chain chain;
    pk_err err = pk_graph_chain_init(&chain, pipeline, &options);
    if (!err)
        err = draw(pipeline, &chain, options, out);
    if (!err && (fflush(out) || ferror(out)))
        err = pk_fail_errno(PK_IO, "draw the pipeline");
    pk_graph_chain_fini(&chain);
    return err;
}
