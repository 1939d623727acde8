/* graph_dot.c - a pipeline in the languages of Graphviz and Mermaid: nodes, then links. */
#include "pipeline/graph_chain.h"

#include "pipeline/markup.h"

typedef void put_text(FILE *out, const char *text);

/* The box's lines, joined by `line_break`, each escaped. */
static void put_lines(const pk_graph_node *node, const char *line_break, put_text *put, FILE *out)
{
    const char *between = "";
    for (int i = 0; i < PK_GRAPH_LINES; ++i) {
        if (!*node->lines[i])
            continue;
        fputs(between, out);
        put(out, node->lines[i]);
        between = line_break;
    }
}

/* In a label of DOT a backslash begins an escape and an ampersand an entity of HTML; a control character is blank. */
static void put_dot(FILE *out, const char *text)
{
    for (; *text; ++text) {
        if (*text == '"' || *text == '\\')
            fputc('\\', out);
        fputc((unsigned char)*text < ' ' || *text == 127 ? ' ' : *text, out);
        if (*text == '&')
            fputs("amp;", out);
    }
}

void pk_graph_dot(const pk_pipeline *pipeline, const pk_graph_chain *chain, FILE *out)
{
    char limits[160];
    pk_graph_limits(pipeline, limits, sizeof limits);
    fputs("digraph pipeline {\n  rankdir=LR;\n  labelloc=t;\n  label=\"model ", out);
    pk_markup_mended(out, pipeline->model ? pipeline->model : "(none)", put_dot);
    fprintf(out, "\\n%s\";\n  node [shape=box, style=rounded, fontname=\"sans-serif\"];\n", limits);
    fputs("  edge [fontname=\"sans-serif\", fontsize=10];\n", out);
    for (uint32_t i = 0; i < chain->count; ++i) {
        const pk_graph_node *node = &chain->nodes[i];
        if (!pk_graph_chain_new(chain, i))
            continue;
        fprintf(out, "  %s [label=\"", node->id);
        put_lines(node, "\\n", put_dot, out);
        fprintf(out, "\"%s];\n", node->kind == PK_NODE_END ? ", shape=plaintext" : "");
    }
    for (uint32_t i = 1; i < chain->count; ++i)
        fprintf(out, "  %s -> %s [label=\"%s\"];\n", chain->nodes[i - 1].id, chain->nodes[i].id,
                chain->nodes[i].carries);
    fputs("}\n", out);
}

/* Mermaid takes a label in quotes, with entities as #NAME; or #NUMBER; - everything that it may read as its own syntax
 * or as HTML goes so. */
static void put_mermaid(FILE *out, const char *text)
{
    for (; *text; ++text) {
        unsigned char byte = (unsigned char)*text;
        bool plain = byte >= 128 || byte == ' ' || (byte >= '0' && byte <= '9') || (byte >= 'a' && byte <= 'z') ||
                     (byte >= 'A' && byte <= 'Z') || byte == '-' || byte == '.' || byte == ',' || byte == '/';
        fprintf(out, plain ? "%c" : byte < ' ' || byte == 127 ? " " : "#%u;", byte);
    }
}

void pk_graph_mermaid(const pk_pipeline *pipeline, const pk_graph_chain *chain, FILE *out)
{
    char limits[160];
    pk_graph_limits(pipeline, limits, sizeof limits);
    fputs("flowchart LR\n  subgraph pipeline [\"model ", out);
    pk_markup_mended(out, pipeline->model ? pipeline->model : "(none)", put_mermaid);
    fputs("<br/>", out);
    put_mermaid(out, limits);
    fputs("\"]\n", out);
    for (uint32_t i = 0; i < chain->count; ++i) {
        const pk_graph_node *node = &chain->nodes[i];
        if (!pk_graph_chain_new(chain, i))
            continue;
        fprintf(out, "    %s%s\"", node->id, node->kind == PK_NODE_END ? "([" : "[");
        put_lines(node, "<br/>", put_mermaid, out);
        fprintf(out, "\"%s\n", node->kind == PK_NODE_END ? "])" : "]");
    }
    for (uint32_t i = 1; i < chain->count; ++i)
        fprintf(out, "    %s -->|\"%s\"| %s\n", chain->nodes[i - 1].id, chain->nodes[i].carries, chain->nodes[i].id);
    fputs("  end\n", out);
}
