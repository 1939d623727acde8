#include "loader/synth.h"

#include "loader/config.h"
#include "loader/draft.h"
#include "loader/names.h"
#include "loader/safetensors_writer.h"
#include "loader/synth_fill.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BUFFER_BYTES = 4 << 20 };

struct planned {
    char *name;
    pk_tensor_spec spec; /* its name is the one above */
    float center, spread;
    uint64_t bytes;
    size_t shard;
};

/* A checkpoint on its way. */
struct synth {
    const pk_synth_options *options;
    pk_model_config config;
    char *config_text;
    size_t config_bytes;
    struct planned *tensors;
    size_t count, shard_count;
    uint64_t total_bytes, done_bytes;
    pk_draft *draft;
    void *buffer;
};

pk_synth_options pk_synth_defaults(void)
{
    return (pk_synth_options){
        .hidden = 256,
        .layers = 8,
        .heads = 8,
        .head_dim = 32,
        .kv_heads = 2,
        .rotary_dim = 16,
        .inner = 128,
        .experts = 8,
        .experts_per_token = 2,
        .vocab = 4096,
        .max_positions = 1 << 20,
        .softmax_every = 8,
        .postnorm = true,
        .beta = 1.0,
        .rope_theta = 1e7,
        .rms_norm_eps = 1e-5,
        .eos_id = -1,
        .dtype = PK_BF16,
        .shard_bytes = UINT64_C(2) << 30,
    };
}

static const char *torch_name(pk_dtype dtype)
{
    return dtype == PK_BF16 ? "bfloat16" : dtype == PK_F16 ? "float16" : "float32";
}

static void print_attention(FILE *out, const pk_synth_options *o)
{
    fprintf(out, "  \"hidden_size\": %zu,\n  \"num_hidden_layers\": %zu,\n  \"num_attention_heads\": %zu,\n", o->hidden,
            o->layers, o->heads);
    fprintf(out, "  \"head_dim\": %zu,\n  \"num_key_value_heads\": %zu,\n  \"rotary_dim\": %zu,\n", o->head_dim,
            o->kv_heads, o->rotary_dim);
    fprintf(out, "  \"rope_theta\": %.17g,\n  \"attn_type_list\": [", o->rope_theta);
    for (size_t layer = 0; layer < o->layers && layer <= PK_MODEL_LAYERS_MAX; layer++)
        fprintf(out, "%s%d", layer ? ", " : "", o->softmax_every && (layer + 1) % o->softmax_every == 0);
    fputs("],\n  \"attention_dropout\": 0.0,\n  \"sliding_window\": null,\n", out);
}

static void print_residuals(FILE *out, const pk_synth_options *o)
{
    static const char *const kinds[] = {"linear_attention", "full_attention", "mlp"};
    double alpha = o->alpha == 0.0 ? sqrt(sqrt(2.0 * (double)o->layers)) : o->alpha;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        fprintf(out, "  \"layernorm_%s_alpha\": %.17g,\n  \"layernorm_%s_beta\": %.17g,\n", kinds[i], alpha, kinds[i],
                o->beta);
    fprintf(out, "  \"postnorm\": %s,\n  \"rms_norm_eps\": %.17g,\n", o->postnorm ? "true" : "false", o->rms_norm_eps);
}

static void print_mlp(FILE *out, const pk_synth_options *o)
{
    fprintf(out, "  \"hidden_act\": \"silu\",\n  \"intermediate_size\": %zu,\n  \"num_local_experts\": %zu,\n",
            o->inner, o->experts);
    fprintf(out, "  \"num_experts_per_tok\": %zu,\n  \"shared_intermediate_size\": %zu,\n", o->experts_per_token,
            o->shared_inner);
    fputs("  \"shared_moe_mode\": \"sigmoid\",\n  \"output_router_logits\": false,\n"
          "  \"router_aux_loss_coef\": 0.001,\n  \"router_jitter_noise\": 0.0,\n",
          out);
}

static void print_vocabulary(FILE *out, const pk_synth_options *o)
{
    char eos[24] = "null";
    if (o->eos_id != -1)
        snprintf(eos, sizeof eos, "%" PRId64, o->eos_id);
    fprintf(out, "  \"vocab_size\": %zu,\n  \"max_position_embeddings\": %zu,\n", o->vocab, o->max_positions);
    fprintf(out, "  \"tie_word_embeddings\": %s,\n", o->tie_word_embeddings ? "true" : "false");
    fprintf(out, "  \"bos_token_id\": null,\n  \"eos_token_id\": %s,\n  \"pad_token_id\": null\n", eos);
}

static pk_err print_config(struct synth *synth)
{
    FILE *out = open_memstream(&synth->config_text, &synth->config_bytes);
    if (!out)
        return pk_fail_errno(PK_NOMEM, "config.json");
    fprintf(out,
            "{\n  \"architectures\": [\"MiniMaxM1ForCausalLM\"],\n  \"model_type\": \"minimax_m1\",\n"
            "  \"torch_dtype\": \"%s\",\n  \"initializer_range\": 0.02,\n  \"use_cache\": true,\n",
            torch_name(synth->options->dtype));
    print_attention(out, synth->options);
    print_residuals(out, synth->options);
    print_mlp(out, synth->options);
    print_vocabulary(out, synth->options);
    fputs("}\n", out);
    return ferror(out) | fclose(out) ? pk_fail(PK_NOMEM, "no memory for config.json") : PK_OK;
}

/* What we write is checked by what will read it. */
static pk_err check_options(struct synth *synth)
{
    const pk_synth_options *o = synth->options;
    pk_err err = print_config(synth);
    if (err)
        return err;
    if (o->dtype != PK_BF16 && o->dtype != PK_F16 && o->dtype != PK_F32)
        return pk_fail(PK_INVALID, "dtype is %s, expected BF16, F16 or F32", pk_dtype_name(o->dtype));
    if (o->shared_inner > PK_MODEL_INNER_MAX)
        return pk_fail(PK_INVALID, "shared_intermediate_size is %zu, expected at most %d", o->shared_inner,
                       PK_MODEL_INNER_MAX);
    err = pk_config_parse(&synth->config, "config.json", synth->config_text, synth->config_bytes);
    return err == PK_CORRUPT ? PK_INVALID : err;
}

/* Uniform numbers of a standard deviation of 1/√inputs have a spread of √(3 / inputs). */
static void choose_values(struct planned *tensor, pk_weight_role role)
{
    double inputs = (double)tensor->spec.shape[1];
    if (tensor->spec.rank == 1) {
        tensor->center = 1.0f;
        tensor->spread = 0.125f;
    } else
        tensor->spread = role == PK_WEIGHT_EMBED ? 1.75f : (float)sqrt(3.0 / inputs);
}

static pk_err plan_tensor(struct synth *synth, pk_weight weight, struct planned *out)
{
    pk_weight_spec about = pk_weight_describe(&synth->config, weight);
    if (!(out->name = strdup(about.name)))
        return pk_fail(PK_NOMEM, "no memory for a name");
    out->spec = (pk_tensor_spec){.name = out->name, .rank = about.rank};
    out->spec.dtype = weight.role == PK_WEIGHT_ROUTER ? PK_F32 : synth->options->dtype;
    for (unsigned i = 0; i < about.rank; i++)
        out->spec.shape[i] = about.shape[i] ? about.shape[i] : synth->options->shared_inner;
    choose_values(out, weight.role);
    return pk_tensor_spec_bytes(&out->bytes, &out->spec);
}

static size_t count_weights(const pk_model_config *config)
{
    size_t count = 0;
    pk_weight weight;
    for (pk_weight_walk walk = {0}; pk_weight_next(config, &walk, &weight);)
        count++;
    return count;
}

static pk_err plan_tensors(struct synth *synth)
{
    pk_err err;
    uint64_t shard_bytes = 0;
    pk_weight weight;
    size_t count = count_weights(&synth->config);
    if (count > PK_SAFETENSORS_TENSORS_MAX)
        return pk_fail(PK_INVALID, "the model has %zu tensors, expected at most %d", count, PK_SAFETENSORS_TENSORS_MAX);
    if (!(synth->tensors = calloc(count, sizeof *synth->tensors)))
        return pk_fail(PK_NOMEM, "no memory for %zu tensors", count);
    for (pk_weight_walk walk = {0}; pk_weight_next(&synth->config, &walk, &weight);) {
        struct planned *tensor = &synth->tensors[synth->count++];
        if ((err = plan_tensor(synth, weight, tensor)))
            return err;
        if (!synth->shard_count || tensor->bytes > synth->options->shard_bytes ||
            shard_bytes > synth->options->shard_bytes - tensor->bytes) {
            synth->shard_count++;
            shard_bytes = 0;
        }
        tensor->shard = synth->shard_count - 1;
        shard_bytes += tensor->bytes;
        synth->total_bytes += tensor->bytes;
    }
    if (synth->shard_count > PK_CHECKPOINT_SHARDS_MAX)
        return pk_fail(PK_INVALID, "shards of %" PRIu64 " bytes would be %zu files, expected at most %d",
                       synth->options->shard_bytes, synth->shard_count, PK_CHECKPOINT_SHARDS_MAX);
    return PK_OK;
}

static pk_err synth_init(struct synth *synth, const pk_synth_options *options)
{
    *synth = (struct synth){.options = options};
    pk_err err = check_options(synth);
    return err ? err : plan_tensors(synth);
}

static void synth_fini(struct synth *synth)
{
    for (size_t i = 0; i < synth->count; i++)
        free(synth->tensors[i].name);
    free(synth->tensors);
    free(synth->config_text);
    pk_draft_close(&synth->draft);
    free(synth->buffer);
}

pk_err pk_synth_bytes(const pk_synth_options *options, uint64_t *out)
{
    struct synth synth;
    pk_err err = synth_init(&synth, options);
    *out = synth.total_bytes;
    synth_fini(&synth);
    return err;
}

static char *shard_name(const struct synth *synth, size_t shard)
{
    char *name = NULL;
    return asprintf(&name, "model-%05zu-of-%05zu.safetensors", shard, synth->shard_count) < 0 ? NULL : name;
}

static pk_err write_index(const struct synth *synth)
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    if (!out)
        return pk_fail_errno(PK_NOMEM, "index");
    fprintf(out, "{\n  \"metadata\": {\n    \"total_size\": %" PRIu64 "\n  },\n  \"weight_map\": {",
            synth->total_bytes);
    for (size_t i = 0; i < synth->count; i++)
        fprintf(out, "%s\n    \"%s\": \"model-%05zu-of-%05zu.safetensors\"", i ? "," : "", synth->tensors[i].name,
                synth->tensors[i].shard, synth->shard_count);
    fputs("\n  }\n}\n", out);
    pk_err err = ferror(out) | fclose(out) ? pk_fail(PK_NOMEM, "no memory for an index")
                                           : pk_draft_write(synth->draft, "model.safetensors.index.json", text, bytes);
    free(text);
    return err;
}

static pk_err write_tensor(struct synth *synth, pk_safetensors_writer *writer, const struct planned *tensor)
{
    pk_err err = PK_OK;
    pk_synth_tensor about = {
        .key = pk_synth_key(synth->options->seed, tensor->name),
        .dtype = tensor->spec.dtype,
        .center = tensor->center,
        .spread = tensor->spread,
    };
    size_t element = pk_dtype_bytes(about.dtype);
    for (uint64_t done = 0, now; done < tensor->bytes && !err; done += now) {
        now = tensor->bytes - done < BUFFER_BYTES ? tensor->bytes - done : BUFFER_BYTES;
        pk_synth_fill(&about, done / element, (size_t)now / element, synth->buffer);
        err = pk_safetensors_writer_write(writer, synth->buffer, (size_t)now);
        synth->done_bytes += now;
        if (!err && synth->options->progress)
            synth->options->progress(synth->options->progress_context, synth->done_bytes, synth->total_bytes);
    }
    return err;
}

static pk_err open_shard(const struct synth *synth, size_t first, size_t count, pk_safetensors_writer **writer)
{
    pk_err err = PK_OK;
    char *path = NULL, *name = shard_name(synth, synth->tensors[first].shard);
    pk_tensor_spec *specs = calloc(count, sizeof *specs);
    if (!specs || !name || asprintf(&path, "%s/%s", pk_draft_path(synth->draft), name) < 0) {
        path = NULL;
        err = pk_fail(PK_NOMEM, "no memory for a shard of %zu tensors", count);
        goto out;
    }
    for (size_t i = 0; i < count; i++)
        specs[i] = synth->tensors[first + i].spec;
    err = pk_safetensors_writer_open(writer, path, specs, count);
out:
    free(specs);
    free(path);
    free(name);
    return err;
}

static pk_err write_shard(struct synth *synth, size_t first, size_t count)
{
    pk_safetensors_writer *writer = NULL;
    pk_err err = open_shard(synth, first, count, &writer);
    for (size_t i = 0; i < count && !err; i++)
        err = write_tensor(synth, writer, &synth->tensors[first + i]);
    if (!err)
        err = pk_safetensors_writer_finish(&writer);
    pk_safetensors_writer_close(&writer);
    return err;
}

static pk_err write_shards(struct synth *synth)
{
    pk_err err = PK_OK;
    for (size_t begin = 0, end; begin < synth->count && !err; begin = end) {
        for (end = begin + 1; end < synth->count && synth->tensors[end].shard == synth->tensors[begin].shard;)
            end++;
        err = write_shard(synth, begin, end - begin);
    }
    return err;
}

static pk_err copy_tokenizer(const struct synth *synth)
{
    static const char config_name[] = "tokenizer_config.json";
    const char *from = synth->options->tokenizer, *slash = from ? strrchr(from, '/') : NULL;
    char *beside = NULL;
    if (!from)
        return PK_OK;
    pk_err err = pk_draft_copy(synth->draft, from, "tokenizer.json");
    if (err)
        return err;
    if (asprintf(&beside, "%.*s%s", slash ? (int)(slash - from) + 1 : 0, from, config_name) < 0)
        return pk_fail(PK_NOMEM, "no memory for a path");
    if (!access(beside, F_OK))
        err = pk_draft_copy(synth->draft, beside, config_name);
    free(beside);
    return err;
}

pk_err pk_synth(const pk_synth_options *options)
{
    struct synth synth;
    pk_err err = synth_init(&synth, options);
    if (err || (err = pk_draft_open(&synth.draft, options->dir)))
        goto out;
    if (!(synth.buffer = malloc(BUFFER_BYTES))) {
        err = pk_fail(PK_NOMEM, "no memory for a buffer");
        goto out;
    }
    if (!(err = pk_draft_write(synth.draft, "config.json", synth.config_text, synth.config_bytes)) &&
        !(err = copy_tokenizer(&synth)) && !(err = write_shards(&synth)) && !(err = write_index(&synth)))
        err = pk_draft_publish(synth.draft);
out:
    synth_fini(&synth);
    return err;
}
