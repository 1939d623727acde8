#include "stages/workspace.h"

enum { ALIGNMENT = 64 };

/* Cuts arrays off a block; with no block only counts. */
typedef struct {
    char *data;
    size_t bytes;
} cutter;

static void *cut(cutter *from, size_t count, size_t size)
{
    void *array = from->data ? from->data + from->bytes : NULL;
    from->bytes += (count * size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    return array;
}

static void lay_out(pk_workspace *w, cutter *from, const pk_model_config *model, size_t rows, size_t shared)
{
    size_t attention = model->heads * model->head_dim, shared_rows = shared ? rows : 0;
    size_t chosen = model->experts_per_token;
    w->y = cut(from, rows * model->hidden, sizeof(float));
    w->branch = cut(from, rows * model->hidden, sizeof(float));
    w->wide = cut(from, rows * 3 * attention, sizeof(float)); /* kv_heads are at most heads */
    w->mixed = cut(from, rows * attention, sizeof(float));
    w->gate = cut(from, rows * attention, sizeof(float));
    w->logits = cut(from, rows * model->experts, sizeof(float));
    w->ids = cut(from, rows * chosen, sizeof(int32_t));
    w->weights = cut(from, rows * chosen, sizeof(float));
    w->shared_gate = cut(from, rows * shared, sizeof(float));
    w->shared_up = cut(from, rows * shared, sizeof(float));
    w->mlp = cut(from, shared_rows * model->hidden, sizeof(float));
    w->coefficient = cut(from, shared_rows, sizeof(float));
    w->rope_inverse = cut(from, model->rotary_dim / 2, sizeof(float));
    w->lightning = cut(from, rows, sizeof(pk_lightning_span));
    w->softmax = cut(from, rows, sizeof(pk_softmax_span));
}

pk_err pk_workspace_init(pk_workspace *workspace, pk_device *device, const pk_model_config *model, size_t rows,
                         size_t shared_inner)
{
    cutter from = {0};
    lay_out(workspace, &from, model, rows, shared_inner);
    *workspace = (pk_workspace){.device = device, .bytes = from.bytes};
    if (!(workspace->data = pk_device_ops(device)->alloc(device, from.bytes)))
        return pk_fail(PK_NOMEM, "%zu bytes to compute %zu rows in", from.bytes, rows);
    from = (cutter){.data = workspace->data};
    lay_out(workspace, &from, model, rows, shared_inner);
    pk_rope_inverse(workspace->rope_inverse, model->rope_theta, model->rotary_dim);
    return PK_OK;
}

void pk_workspace_fini(pk_workspace *workspace)
{
    if (workspace->data)
        pk_device_ops(workspace->device)->free(workspace->device, workspace->data, workspace->bytes);
    *workspace = (pk_workspace){0};
}
