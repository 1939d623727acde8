/* graph.h - a pipeline drawn: one box a process, arrows for the links.
 *
 * Every format is made from the same way of a document through the pipeline (graph_chain.h). SVG is drawn here, not by
 * Graphviz: it stands in reports, on machines that have none. Text that a person chose (the model's path, names) is
 * escaped for each format. */
#ifndef PK_PIPELINE_GRAPH_H
#define PK_PIPELINE_GRAPH_H

#include "pipeline/file.h"

#include <stdbool.h>

#define PK_GRAPH_FORMATS(X) X(TEXT, "text") X(DOT, "dot") X(MERMAID, "mermaid") X(SVG, "svg") X(JSON, "json")

typedef enum {
#define X(name, word) PK_GRAPH_##name,
    PK_GRAPH_FORMATS(X)
#undef X
} pk_graph_format;

enum { PK_GRAPH_LIVE_LINES = 2, PK_GRAPH_LINE_BYTES = 40 };

/* What a process does just now: lines more for its box. */
typedef struct {
    char name[64]; /* of the stage; "penstock": the coordinator */
    char lines[PK_GRAPH_LIVE_LINES][PK_GRAPH_LINE_BYTES];
} pk_graph_live;

typedef struct {
    pk_graph_format format;
    uint32_t columns;          /* text and SVG: the widest line, in columns of a terminal; at least one box a line */
    bool ascii;                /* text: boxes and arrows of ASCII only */
    const pk_graph_live *live; /* of those processes that have any; view; NULL: a pipeline that does not run */
    size_t live_count;
} pk_graph_options;

/* Draws a resolved pipeline. SVG is one element, which is a file or stands in a page; it is light or dark as the
 * reader prefers. PK_NOMEM; PK_IO: writing failed. */
pk_err pk_graph_draw(const pk_pipeline *pipeline, pk_graph_options options, FILE *out);

#endif
