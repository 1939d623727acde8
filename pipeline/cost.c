#include "pipeline/cost.h"

#include "pipeline/footprint.h"

#include <math.h>

/* Operations of one layer for one batch, each a call that the compute threads divide: stages/layer.c, stages/experts.c.
 */
enum { CALLS = 16 };

pk_layer_cost pk_layer_cost_of(const pk_model_config *model, const pk_census *census, size_t layer)
{
    double hidden = (double)model->hidden, heads = (double)model->heads, dim = (double)model->head_dim;
    double width = heads * dim, kv = (double)model->kv_heads * dim, chosen = (double)model->experts_per_token;
    double shared = census ? (double)census->shared_inner : 0;
    pk_layer_cost cost = {.dense_flops = 2 * hidden * ((double)model->experts + 3 * shared),
                          .expert_flops = 2 * chosen * 3 * hidden * (double)model->inner};
    if (model->kind[layer] == PK_LAYER_LIGHTNING) {
        cost.dense_flops += 2 * hidden * 5 * width;
        /* Query times boundary matrix, half a block of keys and values, the block's part of the next matrix. */
        cost.mixing_flops = heads * (4 * dim * dim + 2 * PK_BLOCK_TOKENS * dim);
        /* The matrix is read for each row and read and written at each boundary; half a tail on average. */
        cost.slot_bytes =
            sizeof(float) * heads * dim * (dim * (1 + 2.0 / PK_BLOCK_TOKENS) + (double)PK_BLOCK_TOKENS + 2);
    } else {
        cost.dense_flops += 2 * hidden * 2 * (width + kv);
        cost.slope_flops = 4 * width;
        cost.slope_bytes = sizeof(float) * 2 * kv;
    }
    return cost;
}

double pk_head_flops(const pk_model_config *model)
{
    return 2 * (double)model->vocab * (double)model->hidden;
}

double pk_experts_met(const pk_model_config *model, double rows)
{
    double experts = (double)model->experts, chosen = (double)model->experts_per_token;
    return experts > 0 ? experts * (1 - pow(1 - chosen / experts, rows)) : 0;
}

/* Flops at a rate in GFLOP/s, or bytes at one in GB/s. */
static double seconds(double amount, double rate)
{
    return amount * 1e-9 / rate;
}

double pk_layer_seconds(const pk_layer_cost *cost, const pk_model_config *model, const pk_speeds *speeds,
                        uint32_t threads, pk_rows rows)
{
    double all = rows.rows_each * rows.sequences, met = pk_experts_met(model, all);
    double per_expert = met > 0 ? all * (double)model->experts_per_token / met : all;
    double before = rows.position + (rows.rows_each - 1) / 2;
    double time = seconds(all * cost->dense_flops, pk_speeds_product(speeds, all, threads)) +
                  seconds(all * cost->expert_flops, pk_speeds_product(speeds, per_expert, threads));
    /* Attention: the slower of its arithmetic and of what it must read, a state or cache once for the chunk. */
    time += fmax(seconds(all * cost->mixing_flops, pk_speed_at(speeds->lightning, speeds->threads, threads)),
                 seconds(rows.sequences * cost->slot_bytes, pk_speed_at(speeds->read, speeds->threads, threads)));
    time += fmax(seconds(all * cost->slope_flops * before, pk_speed_at(speeds->softmax, speeds->threads, threads)),
                 seconds(rows.sequences * cost->slope_bytes * before,
                         pk_speed_at(speeds->softmax_read, speeds->threads, threads)));
    return time + CALLS * 1e-3 / pk_speed_at(speeds->calls, speeds->threads, threads);
}

double pk_head_seconds(const pk_model_config *model, const pk_speeds *speeds, uint32_t threads, double rows)
{
    return seconds(rows * pk_head_flops(model), pk_speeds_product(speeds, rows, threads));
}

double pk_batch_bytes(const pk_model_config *model, const pk_census *census, pk_rows rows)
{
    double all = rows.rows_each * rows.sequences,
           part = model->experts ? pk_experts_met(model, all) / (double)model->experts : 0;
    double bytes = (double)census->head.stored_bytes + all * (double)model->hidden * 2;
    for (size_t layer = 0; layer < model->layers; layer++) {
        pk_layer_cost cost = pk_layer_cost_of(model, census, layer);
        double experts = (double)census->layer[layer].expert_bytes;
        bytes += (double)census->layer[layer].stored_bytes - experts + part * experts;
        bytes += rows.sequences * (cost.slot_bytes + cost.slope_bytes * (rows.position + rows.rows_each / 2));
    }
    return bytes;
}

double pk_row_flops(const pk_model_config *model, const pk_census *census, double position)
{
    double flops = 0;
    for (size_t layer = 0; layer < model->layers; layer++) {
        pk_layer_cost cost = pk_layer_cost_of(model, census, layer);
        flops += cost.dense_flops + cost.expert_flops + cost.mixing_flops + cost.slope_flops * position;
    }
    return flops;
}
