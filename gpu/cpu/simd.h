/* simd.h - what the files of the SIMD kernels offer each other: the entries of the table in simd.c, and the product of
 * plain row-major float32 matrices that both attentions are made of. PK_SIMD makes a name of one of the two builds. */
#ifndef PK_GPU_CPU_SIMD_H
#define PK_GPU_CPU_SIMD_H

#include "gpu/cpu/simd_lanes.h"

enum { PK_SIMD_MATMUL_SCRATCH = 512 * PK_PANEL * 4 }; /* bytes: an expanded block */

void PK_SIMD(matmul)(float *y, const float *x, size_t rows, const pk_matrix *w, size_t panel, size_t panels,
                        float *scratch);

size_t PK_SIMD(lightning_scratch)(size_t dim);
void PK_SIMD(lightning)(const pk_lightning *, const pk_lightning_span *, size_t head, float *scratch);
void PK_SIMD(lightning_state)(float *out, const pk_lightning_state *, size_t tail_rows, const float *decay,
                                 size_t head, size_t dim, float *scratch);

size_t PK_SIMD(softmax_scratch)(size_t rows, size_t group, size_t dim);
void PK_SIMD(softmax)(const pk_softmax *, const pk_softmax_span *, size_t kv_head, size_t first, size_t rows,
                         float *scratch);

/* y [rows, columns] (+)= x [rows, count] w [count, columns], strides in floats from row to row.
 * resume: the chains go on from what stands in y. diagonal: row r has count + r terms. scale: row r's result is
 * multiplied by scale[r]; may be NULL. w and y are read and written in `columns` columns only. */
typedef struct {
    const float *x, *w;
    float *y;
    size_t x_stride, w_stride, y_stride;
    size_t rows, count, columns;
    const float *scale;
    bool resume, diagonal;
} pk_cpu_product;

void PK_SIMD(product)(const pk_cpu_product *);

#endif
