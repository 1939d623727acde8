/* graph_svg.c - a pipeline as SVG: the same rows of boxes as in text, light and dark as the reader's screen is. */
#include "pipeline/graph_chain.h"

#include "pipeline/markup.h"

#include <string.h>

/* In pixels. The width of a letter is a guess on the wide side: the reader's font is not known here. */
enum { LETTER = 7, COLUMN = 8, LINE = 16, PADDING = 12, GAP = 88, ROW_GAP = 24, HEADING = 48, MARGIN = 8 };

static const char style[] =
    "<style>.pk-graph{font:12px system-ui,sans-serif}.pk-graph text{fill:#1f2328}.pk-graph .name{font-weight:600}"
    ".pk-graph .quiet{fill:#59636e}.pk-graph .label{fill:#59636e;font-size:11px;text-anchor:middle}"
    ".pk-graph rect{fill:#f6f8fa;stroke:#8c959f}.pk-graph .tokenize,.pk-graph .detokenize{fill:#fff1e5;stroke:#c2693d}"
    ".pk-graph .layers{fill:#ddf4ff;stroke:#2c79c1}.pk-graph .head{fill:#fbefff;stroke:#8a4fc4}"
    ".pk-graph .link{stroke:#59636e;fill:none}.pk-graph .tip{fill:#59636e}"
    "@media (prefers-color-scheme:dark){.pk-graph text{fill:#e6edf3}.pk-graph .quiet,.pk-graph .label,.pk-graph "
    ".tip{fill:#9198a1}"
    ".pk-graph rect{fill:#212830;stroke:#656c76}.pk-graph .tokenize,.pk-graph .detokenize{fill:#3a2416;stroke:#db8a5c}"
    ".pk-graph .layers{fill:#12304d;stroke:#4493f8}.pk-graph .head{fill:#2f1f45;stroke:#ab7df8}"
    ".pk-graph .link{stroke:#9198a1}}</style>\n";

static uint32_t box_width(const pk_graph_node *node)
{
    size_t letters = 0;
    for (int i = 0; i < PK_GRAPH_LINES; ++i)
        if (strlen(node->lines[i]) > letters)
            letters = strlen(node->lines[i]);
    return (uint32_t)letters * LETTER + 2 * PADDING;
}

static uint32_t box_height(const pk_graph_node *node)
{
    return (uint32_t)(node->line_count * LINE + PADDING);
}

/* Where a node stands. */
struct spot {
    uint32_t x, y, width, height;
};

/* Rows from left to right, each begun by an arrow but the first. */
static struct spot place(const pk_graph_node *node, struct spot before, uint32_t widest)
{
    struct spot spot = {
        .x = before.x + before.width + GAP, .y = before.y, .width = box_width(node), .height = before.height};
    if (spot.x + spot.width > widest && before.width) {
        spot.x = MARGIN + GAP;
        spot.y += spot.height + ROW_GAP;
    }
    return spot;
}

static struct spot first_spot(const pk_graph_node *node)
{
    return (struct spot){.x = MARGIN, .y = HEADING, .width = box_width(node), .height = box_height(node)};
}

static void draw_link(const char *carries, struct spot to, FILE *out)
{
    uint32_t middle = to.y + to.height / 2;
    fprintf(out,
            "<path class=\"link\" d=\"M%u %uH%u\"/><path class=\"tip\" d=\"M%u %ul-8 -4v8z\"/>"
            "<text class=\"label\" x=\"%u\" y=\"%u\">%s</text>\n",
            to.x - GAP + 4, middle, to.x - 10, to.x - 3, middle, to.x - GAP / 2 - 3, middle - 7, carries);
}

static void draw_lines(const pk_graph_node *node, struct spot at, FILE *out)
{
    for (int i = 0; i < PK_GRAPH_LINES; ++i) {
        if (!*node->lines[i])
            continue;
        fprintf(out, "<text class=\"%s\" x=\"%u\" y=\"%u\">", i ? "quiet" : "name", at.x + PADDING,
                at.y + (uint32_t)(i + 1) * LINE);
        pk_markup_text(out, node->lines[i]);
        fputs("</text>", out);
    }
    fputc('\n', out);
}

static void draw_node(const pk_graph_node *node, struct spot at, FILE *out)
{
    if (node->kind == PK_NODE_END) {
        fprintf(out, "<text class=\"name\" x=\"%u\" y=\"%u\">", at.x + PADDING, at.y + at.height / 2 + 4);
        pk_markup_text(out, node->lines[0]);
        fputs("</text>\n", out);
        return;
    }
    fprintf(out, "<rect class=\"%s\" x=\"%u\" y=\"%u\" width=\"%u\" height=\"%u\" rx=\"6\"%s/>\n",
            node->stage ? pk_stage_kind_word(node->stage->kind) : "coordinator", at.x, at.y, at.width, at.height,
            node->stage ? "" : " stroke-dasharray=\"4 3\"");
    draw_lines(node, at, out);
}

/* The picture's size: how far right its boxes go, and how far down. */
static struct spot measure(const pk_graph_chain *chain, uint32_t widest)
{
    struct spot at = first_spot(&chain->nodes[0]), size = {.x = at.x + at.width};
    for (uint32_t i = 1; i < chain->count; ++i) {
        at = place(&chain->nodes[i], at, widest);
        if (at.x + at.width > size.x)
            size.x = at.x + at.width;
    }
    return (struct spot){.x = size.x + MARGIN, .y = at.y + at.height + MARGIN};
}

static void draw_heading(const pk_pipeline *pipeline, FILE *out)
{
    char limits[160];
    pk_graph_limits(pipeline, limits, sizeof limits);
    fprintf(out, "<title>pipeline of %u stages</title>\n<text class=\"quiet\" x=\"%d\" y=\"%d\">model ",
            pipeline->stage_count, MARGIN, LINE);
    pk_markup_text(out, pipeline->model ? pipeline->model : "(none)");
    fprintf(out, "</text><text class=\"quiet\" x=\"%d\" y=\"%d\">%s</text>\n", MARGIN, 2 * LINE, limits);
}

void pk_graph_svg(const pk_pipeline *pipeline, const pk_graph_chain *chain, pk_graph_options options, FILE *out)
{
    uint32_t widest = options.columns * COLUMN;
    struct spot size = measure(chain, widest), at = first_spot(&chain->nodes[0]);
    fprintf(out,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"pk-graph\" role=\"img\" width=\"%u\" height=\"%u\" "
            "viewBox=\"0 0 %u %u\">\n%s",
            size.x, size.y, size.x, size.y, style);
    draw_heading(pipeline, out);
    for (uint32_t i = 0; i < chain->count; ++i) {
        if (i) {
            at = place(&chain->nodes[i], at, widest);
            draw_link(chain->nodes[i].carries, at, out);
        }
        draw_node(&chain->nodes[i], at, out);
    }
    fputs("</svg>\n", out);
}
