/* Products with quantised weights. A group of a panel is expanded into the first-level cache once; tiles of six rows pass
 * over it, a chain each, and what they come to is chained with the group's scales into y. */
#include "gpu/cpu/avx2.h"
#include "gpu/cpu/avx2_tile.h"

static void expand_int8(float *to, const int8_t *from, size_t inputs)
{
    for (size_t i = 0; i < inputs * PK_PANEL; i += 8)
        _mm256_storeu_ps(to + i, _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i_u *)(from + i)))));
}

/* Both inputs of a pair; behind an odd number of inputs lies one more, which nobody reads. */
static void expand_int4(float *to, const uint8_t *from, size_t inputs)
{
    const __m256i eight = _mm256_set1_epi32(8), low = _mm256_set1_epi32(15);
    for (size_t k = 0; k < inputs; k += 2, from += PK_PANEL, to += 2 * PK_PANEL)
        for (size_t half = 0; half < PK_PANEL; half += 8) {
            __m256i pair = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i_u *)(from + half)));
            __m256i even = _mm256_sub_epi32(_mm256_and_si256(pair, low), eight);
            __m256i odd = _mm256_sub_epi32(_mm256_srli_epi32(pair, 4), eight);
            _mm256_storeu_ps(to + half, _mm256_cvtepi32_ps(even));
            _mm256_storeu_ps(to + PK_PANEL + half, _mm256_cvtepi32_ps(odd));
        }
}

/* One group of one panel, for some rows. */
typedef struct {
    const float *x, *w; /* w [inputs][PK_PANEL] */
    float *y;
    size_t x_stride, y_stride, inputs;
    const float *scales;
    size_t columns; /* valid ones */
    bool first;     /* y begins at +0 */
} group;

TILE_INLINE void group_tile(const group *g, const size_t rows)
{
    const __m256i mask[2] = {first_lanes(g->columns), first_lanes(g->columns > 8 ? g->columns - 8 : 0)};
    __m256 acc[TILE_ROWS][2];
#pragma GCC unroll 6
    for (size_t r = 0; r < rows; r++)
        acc[r][0] = acc[r][1] = _mm256_setzero_ps();
    for (size_t k = 0; k < g->inputs; k++) {
        const __m256 w[2] = {_mm256_loadu_ps(g->w + k * PK_PANEL), _mm256_loadu_ps(g->w + k * PK_PANEL + 8)};
#pragma GCC unroll 6
        for (size_t r = 0; r < rows; r++) {
            const __m256 value = _mm256_broadcast_ss(g->x + r * g->x_stride + k);
            acc[r][0] = _mm256_fmadd_ps(value, w[0], acc[r][0]);
            acc[r][1] = _mm256_fmadd_ps(value, w[1], acc[r][1]);
        }
    }
#pragma GCC unroll 6
    for (size_t r = 0; r < rows; r++)
        for (size_t half = 0; half < 2; half++) {
            float *y = g->y + r * g->y_stride + half * 8;
            __m256 sum = g->first ? _mm256_setzero_ps() : _mm256_maskload_ps(y, mask[half]);
            _mm256_maskstore_ps(y, mask[half],
                                _mm256_fmadd_ps(acc[r][half], _mm256_loadu_ps(g->scales + half * 8), sum));
        }
}

static void group_rows(group g, size_t rows)
{
    for (size_t height; rows; rows -= height) {
        height = rows >= 2 * TILE_ROWS ? TILE_ROWS : tile_height(rows);
        switch (height) {
        case 1: group_tile(&g, 1); break;
        case 2: group_tile(&g, 2); break;
        case 3: group_tile(&g, 3); break;
        case 4: group_tile(&g, 4); break;
        case 5: group_tile(&g, 5); break;
        default: group_tile(&g, 6); break;
        }
        g.x += height * g.x_stride;
        g.y += height * g.y_stride;
    }
}

void pk_cpu_avx2_matmul_quantised(float *y, const float *x, size_t rows, const pk_matrix *w, size_t panel,
                                  size_t panels, float *scratch)
{
    for (size_t p = panel; p < panel + panels; p++)
        for (size_t k = 0; k < w->inputs; k += PK_GROUP) {
            const float *scales = pk_cpu_group(w, p, k / PK_GROUP);
            size_t inputs = w->inputs - k < PK_GROUP ? w->inputs - k : PK_GROUP;
            size_t left = w->outputs - p * PK_PANEL;
            if (w->dtype == PK_I8)
                expand_int8(scratch, (const int8_t *)scales + PK_SCALES_BYTES, inputs);
            else
                expand_int4(scratch, (const uint8_t *)scales + PK_SCALES_BYTES, inputs);
            group_rows((group){.x = x + k, .x_stride = w->inputs, .w = scratch, .y = y + p * PK_PANEL,
                               .y_stride = w->outputs, .inputs = inputs, .scales = scales,
                               .columns = left < PK_PANEL ? left : PK_PANEL, .first = k == 0},
                       rows);
        }
}
