/* golden.h - expected values of the golden vectors, and the pipeline of stages that must reproduce them. */
#ifndef PK_TESTS_UNIT_STAGES_GOLDEN_H
#define PK_TESTS_UNIT_STAGES_GOLDEN_H

#include "fixture.h"
#include "loader/safetensors.h"

/* Elements of one tensor of MODEL/expected.safetensors, 4 bytes each; free(). */
typedef struct {
    union {
        float *f32;
        int32_t *i32;
    };
    size_t count;
} golden_tensor;

golden_tensor golden_read(const char *model, const char *name);

/* Largest |a - b|. */
double largest_difference(const float *a, const float *b, size_t count);

#endif
