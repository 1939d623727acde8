/* The product of row-major float32 matrices that both attentions are made of. One panel of columns of w, or two, stays
 * in the first-level cache while all rows pass over it; a single row takes four panels to have chains enough. */
#include "gpu/cpu/simd.h"
#include "gpu/cpu/simd_tile.h"

static void steps(const tile *t, size_t rows, size_t panels, tile_kind kind)
{
    if (TILE_PANELS > 1 && panels == TILE_PANELS) {
        if (kind == TILE_DIAGONAL)
            tile_rows(t, rows, TILE_PANELS, PK_F32, TILE_DIAGONAL);
        else
            tile_rows(t, rows, TILE_PANELS, PK_F32, TILE_PLAIN);
    } else if (kind == TILE_PLAIN) {
        tile_rows(t, rows, 1, PK_F32, TILE_PLAIN);
    } else if (kind == TILE_BOUNDED) {
        tile_rows(t, rows, 1, PK_F32, TILE_BOUNDED);
    } else if (kind == TILE_DIAGONAL) {
        tile_rows(t, rows, 1, PK_F32, TILE_DIAGONAL);
    } else {
        tile_rows(t, rows, 1, PK_F32, TILE_BOUNDED_DIAGONAL);
    }
}

/* So few rows over TILE_STREAMS panels at once. */
static void few(const tile *t, size_t rows)
{
    switch (rows) {
    case 1: tile_run(t, 1, TILE_STREAMS(1), PK_F32, TILE_PLAIN, 0); break;
    case 2: tile_run(t, 2, TILE_STREAMS(2), PK_F32, TILE_PLAIN, 0); break;
    case 3: tile_run(t, 3, TILE_STREAMS(3), PK_F32, TILE_PLAIN, 0); break;
    default: tile_run(t, 4, TILE_STREAMS(4), PK_F32, TILE_PLAIN, 0); break;
    }
}

/* Panels taken at once from `columns` columns by all the rows there are. */
static size_t panels_at_once(const pk_cpu_product *p, size_t columns)
{
    if (p->rows <= 4 && (p->rows == 1 || !p->diagonal) && columns >= TILE_STREAMS(p->rows) * PK_PANEL)
        return TILE_STREAMS(p->rows);
    return columns >= TILE_PANELS * PK_PANEL ? TILE_PANELS : 1;
}

/* All rows over the panels of columns that `first`, the tile of row 0, stands at. */
static void all_rows(const pk_cpu_product *p, tile first, size_t panels)
{
    const bool bounded = first.columns < PK_PANEL;
    const tile_kind kind = p->diagonal ? (bounded ? TILE_BOUNDED_DIAGONAL : TILE_DIAGONAL)
                                       : (bounded ? TILE_BOUNDED : TILE_PLAIN);
    for (size_t row = 0, height; row < p->rows; row += height) {
        tile t = first;
        height = tile_height(p->rows - row);
        t.x += row * p->x_stride;
        t.y += row * p->y_stride;
        t.scale = p->scale ? p->scale + row : NULL;
        t.count += p->diagonal ? row : 0;
        steps(&t, height, panels, kind);
    }
}

void PK_SIMD(product)(const pk_cpu_product *p)
{
    for (size_t column = 0, panels; column < p->columns; column += panels * PK_PANEL) {
        size_t left = p->columns - column;
        tile t = {.x = p->x, .x_stride = p->x_stride, .count = p->count, .w = p->w + column, .w_stride = p->w_stride,
                  .w_step = PK_PANEL * sizeof *p->w, .y = p->y + column, .y_stride = p->y_stride, .scale = p->scale,
                  .columns = left < PK_PANEL ? left : PK_PANEL, .resume = p->resume};
        panels = panels_at_once(p, left);
        if (panels > TILE_PANELS)
            few(&t, p->rows);
        else
            all_rows(p, t, panels);
    }
}
