/* graph.h - a resolved pipeline drawn as text: one box a process, arrows for the links. */
#ifndef PK_PIPELINE_GRAPH_H
#define PK_PIPELINE_GRAPH_H

#include "pipeline/file.h"

#include <stdbool.h>

/* Draws a resolved pipeline, no line wider than `columns` bytes of terminal (at least one box a line). Boxes and arrows
 * are UTF-8 or, with `ascii`, plain. PK_IO: writing failed. */
typedef struct {
    uint32_t columns;
    bool ascii;
} pk_graph_options;

pk_err pk_graph_text(const pk_pipeline *pipeline, pk_graph_options options, FILE *out);

#endif
