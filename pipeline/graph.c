#include "pipeline/graph.h"

#include <stdlib.h>
#include <string.h>

enum { BOX_LINES = 4, BOX_BYTES = 40, ARROW_LINE = 1 };
enum { EXTRA_BOXES = 5 }; /* the coordinator three times, and both ends */

/* What is drawn with. Every string is as wide as its name says, in columns of a terminal. */
struct style {
    const char *top_left, *top_right, *bottom_left, *bottom_right, *across, *down; /* one */
    const char *arrow;                                                             /* four */
};

/* One process, or, without a frame, what goes in or comes out. */
struct box {
    char lines[BOX_LINES][BOX_BYTES];
    bool frame;
};

static const struct style lines_style = {"┌", "┐", "└", "┘", "─", "│", " ─► "};
static const struct style ascii_style = {"+", "+", "+", "+", "-", "|", " -> "};

static uint32_t box_width(const struct box *box)
{
    size_t width = 0;
    for (int i = 0; i < BOX_LINES; ++i)
        if (strlen(box->lines[i]) > width)
            width = strlen(box->lines[i]);
    return (uint32_t)width + (box->frame ? 4 : 0);
}

static struct box word_box(const char *word)
{
    struct box box = {.frame = false};
    snprintf(box.lines[ARROW_LINE], BOX_BYTES, "%s", word);
    return box;
}

static struct box coordinator_box(void)
{
    return (struct box){.frame = true, .lines = {"coordinator", "penstock"}};
}

static struct box stage_box(const pk_stage_spec *stage)
{
    struct box box = {.frame = true};
    snprintf(box.lines[0], BOX_BYTES, "%s", stage->name);
    snprintf(box.lines[1], BOX_BYTES, "penstock-%s", pk_stage_kind_word(stage->kind));
    if (stage->kind == PK_STAGE_LAYERS)
        snprintf(box.lines[2], BOX_BYTES, "layers %u-%u", stage->first_layer, stage->last_layer);
    snprintf(box.lines[3], BOX_BYTES, "%u thread%s, %s", stage->threads, stage->threads == 1 ? "" : "s", stage->device);
    return box;
}

static void repeat(FILE *out, const char *mark, uint32_t count)
{
    while (count--)
        fputs(mark, out);
}

/* One line of a box: -1 its upper edge, BOX_LINES its lower one. */
static void draw_line(const struct box *box, int line, const struct style *style, FILE *out)
{
    uint32_t width = box_width(box);
    bool edge = line < 0 || line == BOX_LINES;
    if (!box->frame)
        fprintf(out, "%-*s", (int)width, edge ? "" : box->lines[line]);
    else if (edge) {
        fputs(line < 0 ? style->top_left : style->bottom_left, out);
        repeat(out, style->across, width - 2);
        fputs(line < 0 ? style->top_right : style->bottom_right, out);
    } else
        fprintf(out, "%s %-*s %s", style->down, (int)width - 4, box->lines[line], style->down);
}

/* A line of the word at the picture's right end that has nothing on it. */
static bool is_blank(const struct box *box, int line)
{
    return !box->frame && line != ARROW_LINE;
}

/* Boxes side by side; an arrow leads to each but the very first of the picture. */
static void draw_row(const struct box *boxes, uint32_t count, bool first, const struct style *style, FILE *out)
{
    for (int line = -1; line <= BOX_LINES; ++line) {
        if (count == 1 && is_blank(boxes, line))
            continue;
        for (uint32_t i = 0; i < count && !(i && is_blank(&boxes[i], line)); ++i) {
            if (i || !first)
                fputs(line == ARROW_LINE ? style->arrow : "    ", out);
            draw_line(&boxes[i], line, style, out);
        }
        fputc('\n', out);
    }
}

/* As many boxes of `boxes` as one row takes, at least one. */
static uint32_t fitting(const struct box *boxes, uint32_t count, uint32_t columns)
{
    uint32_t width = 4 + box_width(boxes), taken = 1;
    while (taken < count && (width += 4 + box_width(&boxes[taken])) <= columns)
        ++taken;
    return taken;
}

/* Fills `boxes`, which has EXTRA_BOXES more than there are stages, in the order in which a document passes them. */
static uint32_t collect(const pk_pipeline *pipeline, struct box *boxes)
{
    uint32_t count = 0;
    bool text = pipeline->stage_count && pipeline->stages[0].kind == PK_STAGE_TOKENIZE;
    boxes[count++] = word_box(text ? "documents" : "ids");
    boxes[count++] = coordinator_box();
    for (uint32_t i = 0; i < pipeline->stage_count; ++i) {
        const pk_stage_spec *stage = &pipeline->stages[i];
        boxes[count++] = stage_box(stage);
        if (stage->kind == PK_STAGE_TOKENIZE || stage->kind == PK_STAGE_HEAD)
            boxes[count++] = coordinator_box();
    }
    boxes[count++] = word_box(text ? "answers" : "logits");
    return count;
}

pk_err pk_graph_text(const pk_pipeline *pipeline, pk_graph_options options, FILE *out)
{
    const struct style *style = options.ascii ? &ascii_style : &lines_style;
    struct box *boxes = calloc((size_t)pipeline->stage_count + EXTRA_BOXES, sizeof *boxes);
    if (!boxes)
        return pk_fail(PK_NOMEM, "no memory to draw %u stages", pipeline->stage_count);
    uint32_t count = collect(pipeline, boxes);
    fprintf(out, "model   %s\n", pipeline->model ? pipeline->model : "(none)");
    fprintf(out, "limits  %u batches of at most %u rows in flight; %u sequences of at most %u tokens\n\n",
            pipeline->limits.window, pipeline->limits.batch_rows, pipeline->limits.sequences, pipeline->limits.context);
    for (uint32_t at = 0, taken; at < count; at += taken) {
        taken = fitting(boxes + at, count - at, options.columns);
        draw_row(boxes + at, taken, !at, style, out);
    }
    free(boxes);
    return fflush(out) || ferror(out) ? pk_fail_errno(PK_IO, "draw the pipeline") : PK_OK;
}
