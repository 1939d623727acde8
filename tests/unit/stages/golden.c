#include "golden.h"

#include <math.h>
#include <stdio.h>

golden_tensor golden_read(const char *model, const char *name)
{
    char path[512];
    pk_safetensors *file = NULL;
    snprintf(path, sizeof path, GOLDEN "%s/expected.safetensors", model);
    assert_ok(pk_safetensors_open(&file, path));
    const pk_tensor_entry *entry = pk_safetensors_find(file, name);
    FILE *stream = fopen(path, "rb");
    assert_non_null(entry);
    assert_non_null(stream);
    golden_tensor tensor = {.count = entry->bytes / 4};
    tensor.f32 = malloc(entry->bytes);
    assert_non_null(tensor.f32);
    assert_int_equal(fseek(stream, (long)entry->offset, SEEK_SET), 0);
    assert_int_equal(fread(tensor.f32, 4, tensor.count, stream), tensor.count);
    fclose(stream);
    pk_safetensors_close(&file);
    return tensor;
}

double largest_difference(const float *a, const float *b, size_t count)
{
    double largest = 0;
    for (size_t i = 0; i < count; i++) {
        double difference = fabs((double)a[i] - (double)b[i]);
        largest = difference > largest || isnan(difference) ? difference : largest;
    }
    return largest;
}
