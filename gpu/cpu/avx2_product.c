/* The product of row-major float32 matrices that both attentions are made of. A panel of sixteen columns of w stays in
 * the first-level cache while all rows pass over it; a single row takes four panels to have chains enough. */
#include "gpu/cpu/avx2.h"
#include "gpu/cpu/avx2_tile.h"

TILE_INLINE void step(const tile *t, size_t rows, const bool masked, const bool diagonal)
{
    switch (rows) {
    case 1: tile_run(t, 1, 1, PK_F32, masked, diagonal, 0); break;
    case 2: tile_run(t, 2, 1, PK_F32, masked, diagonal, 0); break;
    case 3: tile_run(t, 3, 1, PK_F32, masked, diagonal, 0); break;
    case 4: tile_run(t, 4, 1, PK_F32, masked, diagonal, 0); break;
    case 5: tile_run(t, 5, 1, PK_F32, masked, diagonal, 0); break;
    default: tile_run(t, 6, 1, PK_F32, masked, diagonal, 0); break;
    }
}

static void step_whole(const tile *t, size_t rows)
{
    step(t, rows, false, false);
}

static void step_diagonal(const tile *t, size_t rows)
{
    step(t, rows, false, true);
}

static void step_masked(const tile *t, size_t rows)
{
    step(t, rows, true, false);
}

static void step_masked_diagonal(const tile *t, size_t rows)
{
    step(t, rows, true, true);
}

static void wide(const tile *t, size_t rows, size_t panels)
{
    if (rows == 1)
        tile_run(t, 1, 4, PK_F32, false, false, 0);
    else if (rows == 2 && panels >= 3)
        tile_run(t, 2, 3, PK_F32, false, false, 0);
    else if (rows == 2)
        tile_run(t, 2, 2, PK_F32, false, false, 0);
    else
        tile_run(t, 3, 2, PK_F32, false, false, 0);
}

/* Panels taken at once from `columns` columns by all the rows there are. */
static size_t panels_at_once(const pk_cpu_product *p, size_t columns)
{
    if (p->rows == 1 && columns >= 4 * PK_PANEL)
        return 4;
    if (p->rows == 2 && !p->diagonal && columns >= 3 * PK_PANEL)
        return 3;
    return (p->rows == 2 || p->rows == 3) && !p->diagonal && columns >= 2 * PK_PANEL ? 2 : 1;
}

/* All rows over the one panel of columns that `first`, the tile of row 0, stands at. */
static void one_panel(const pk_cpu_product *p, tile first)
{
    void (*const run)(const tile *, size_t) = first.columns == PK_PANEL ? (p->diagonal ? step_diagonal : step_whole)
                                              : p->diagonal             ? step_masked_diagonal
                                                                        : step_masked;
    for (size_t row = 0, height; row < p->rows; row += height) {
        tile t = first;
        height = p->rows - row >= 2 * TILE_ROWS ? TILE_ROWS : tile_height(p->rows - row);
        t.x += row * p->x_stride;
        t.y += row * p->y_stride;
        t.scale = p->scale ? p->scale + row : NULL;
        t.count += p->diagonal ? row : 0;
        run(&t, height);
    }
}

void pk_cpu_avx2_product(const pk_cpu_product *p)
{
    for (size_t column = 0, panels; column < p->columns; column += panels * PK_PANEL) {
        size_t left = p->columns - column;
        tile t = {.x = p->x, .x_stride = p->x_stride, .count = p->count, .w = p->w + column, .w_stride = p->w_stride,
                  .w_step = PK_PANEL, .y = p->y + column, .y_stride = p->y_stride, .scale = p->scale,
                  .columns = left < PK_PANEL ? left : PK_PANEL, .resume = p->resume};
        panels = panels_at_once(p, left);
        if (panels > 1)
            wide(&t, p->rows, panels);
        else
            one_panel(p, t);
    }
}
