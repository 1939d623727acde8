/* graph_text.c - a pipeline as a picture of characters. */
#include "pipeline/graph_chain.h"

#include <string.h>

enum { ARROW_LINE = 1 };

/* What is drawn with. Every string is as wide as its name says, in columns of a terminal. */
struct style {
    const char *top_left, *top_right, *bottom_left, *bottom_right, *across, *down; /* one */
    const char *arrow;                                                             /* four */
};

static const struct style lines_style = {"┌", "┐", "└", "┘", "─", "│", " ─► "};
static const struct style ascii_style = {"+", "+", "+", "+", "-", "|", " -> "};

/* What goes in or comes out has no frame: it is a word beside the arrow. */
static bool is_framed(const pk_graph_node *node)
{
    return node->kind != PK_NODE_END;
}

static uint32_t box_width(const pk_graph_node *node)
{
    size_t width = 0;
    for (int i = 0; i < PK_GRAPH_LINES; ++i)
        if (strlen(node->lines[i]) > width)
            width = strlen(node->lines[i]);
    return (uint32_t)width + (is_framed(node) ? 4 : 0);
}

static void repeat(FILE *out, const char *mark, uint32_t count)
{
    while (count--)
        fputs(mark, out);
}

/* One line of a box: -1 its upper edge, line_count its lower one. */
static void draw_line(const pk_graph_node *node, int line, const struct style *style, FILE *out)
{
    uint32_t width = box_width(node);
    if (!is_framed(node))
        fprintf(out, "%-*s", (int)width, line == ARROW_LINE ? node->lines[0] : "");
    else if (line < 0 || line == node->line_count) {
        fputs(line < 0 ? style->top_left : style->bottom_left, out);
        repeat(out, style->across, width - 2);
        fputs(line < 0 ? style->top_right : style->bottom_right, out);
    } else
        fprintf(out, "%s %-*s %s", style->down, (int)width - 4, node->lines[line], style->down);
}

/* A line of the word at the picture's right end that has nothing on it. */
static bool is_blank(const pk_graph_node *node, int line)
{
    return !is_framed(node) && line != ARROW_LINE;
}

/* Boxes side by side; an arrow leads to each but the very first of the picture. */
static void draw_row(const pk_graph_node *nodes, uint32_t count, bool first, const struct style *style, FILE *out)
{
    for (int line = -1; line <= nodes->line_count; ++line) {
        if (count == 1 && is_blank(nodes, line))
            continue;
        for (uint32_t i = 0; i < count && !(i && is_blank(&nodes[i], line)); ++i) {
            if (i || !first)
                fputs(line == ARROW_LINE ? style->arrow : "    ", out);
            draw_line(&nodes[i], line, style, out);
        }
        fputc('\n', out);
    }
}

/* As many of `nodes` as one row takes, at least one. */
static uint32_t fitting(const pk_graph_node *nodes, uint32_t count, uint32_t columns)
{
    uint32_t width = 4 + box_width(nodes), taken = 1;
    while (taken < count && (width += 4 + box_width(&nodes[taken])) <= columns)
        ++taken;
    return taken;
}

void pk_graph_text(const pk_pipeline *pipeline, const pk_graph_chain *chain, pk_graph_options options, FILE *out)
{
    const struct style *style = options.ascii ? &ascii_style : &lines_style;
    char limits[160];
    pk_graph_limits(pipeline, limits, sizeof limits);
    fprintf(out, "model   %s\nlimits  %s\n\n", pipeline->model ? pipeline->model : "(none)", limits);
    for (uint32_t at = 0, taken; at < chain->count; at += taken) {
        taken = fitting(chain->nodes + at, chain->count - at, options.columns);
        draw_row(chain->nodes + at, taken, !at, style, out);
    }
}
