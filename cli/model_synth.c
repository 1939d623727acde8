/* model_synth.c - penstock model synth: a random checkpoint of any shape. */
#include "cli/command.h"
#include "cli/progress.h"
#include "loader/config.h"
#include "loader/synth.h"

#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

/* 0 of a whole number of the shape: the preset's. */
struct values {
    const char *preset, *dtype, *tokenizer;
    uint64_t hidden, layers, softmax_every, heads, head_dim, kv_heads, rotary_dim, inner, experts, chosen, shared,
        vocab, positions;
    double alpha, beta, theta, epsilon;
    uint64_t seed, shard_bytes;
    bool prenorm, tie;
};

#define SHAPE(word, member, most, sentence)                                                                            \
    {                                                                                                                  \
        .name = word, .type = PK_OPTION_WHOLE, .argument = "N", .minimum = 1, .maximum = (most), .group = "Shape",     \
        .help = sentence, PK_OPTION_INTO(struct values, member)                                                        \
    }
#define CONSTANT(word, member, usual, sentence)                                                                        \
    {                                                                                                                  \
        .name = word, .type = PK_OPTION_REAL, .argument = "X", .standard = usual, .group = "Architecture",             \
        .help = sentence, PK_OPTION_INTO(struct values, member)                                                        \
    }

static const pk_option options[] = {
    {.name = "preset",
     .letter = 'p',
     .type = PK_OPTION_CHOICE,
     .argument = "tiny|bench|m1",
     .standard = "tiny",
     .group = "Shape",
     .help = "the shape to begin with",
     PK_OPTION_INTO(struct values, preset)},
    SHAPE("hidden", hidden, PK_MODEL_HIDDEN_MAX, "width of the residual stream"),
    SHAPE("layers", layers, PK_MODEL_LAYERS_MAX, "layers of both kinds"),
    SHAPE("softmax-every", softmax_every, PK_MODEL_LAYERS_MAX + 1,
          "every Nth layer is a softmax layer, the others are lightning; more than --layers: none"),
    SHAPE("heads", heads, PK_MODEL_HEADS_MAX, "attention heads"),
    SHAPE("head-dim", head_dim, PK_MODEL_HEAD_DIM_MAX, "width of a head"),
    SHAPE("kv-heads", kv_heads, PK_MODEL_HEADS_MAX, "key/value heads of softmax layers"),
    SHAPE("rotary-dim", rotary_dim, PK_MODEL_HEAD_DIM_MAX, "rotated part of a head in softmax layers; even"),
    SHAPE("inner", inner, PK_MODEL_INNER_MAX, "inner width of an expert"),
    SHAPE("experts", experts, PK_MODEL_EXPERTS_MAX, "experts of a layer"),
    SHAPE("experts-per-token", chosen, PK_MODEL_CHOSEN_MAX, "experts that each token is routed to"),
    SHAPE("shared-inner", shared, PK_MODEL_INNER_MAX, "inner width of a shared expert in each layer; unsaid: none"),
    SHAPE("vocab", vocab, PK_MODEL_VOCAB_MAX, "token ids"),
    SHAPE("positions", positions, 0, "the longest context that the model claims"),
    CONSTANT("alpha", alpha, "0", "weight of the residual; 0: the fourth root of twice the layers"),
    CONSTANT("beta", beta, "1", "weight of what is added to the residual"),
    CONSTANT("rope-theta", theta, "1e7", "base of the rotary frequencies"),
    CONSTANT("rms-norm-eps", epsilon, "1e-5", "epsilon of the norms"),
    {.name = "prenorm",
     .type = PK_OPTION_FLAG,
     .group = "Architecture",
     .help = "the residual is a norm's input, not its output (postnorm false)",
     PK_OPTION_INTO(struct values, prenorm)},
    {.name = "tie",
     .type = PK_OPTION_FLAG,
     .group = "Architecture",
     .help = "use the embedding as head",
     PK_OPTION_INTO(struct values, tie)},
    {.name = "dtype",
     .type = PK_OPTION_CHOICE,
     .argument = "bf16|f16|f32",
     .standard = "bf16",
     .group = "Files",
     .help = "type of the weights; router gates are f32, as published",
     PK_OPTION_INTO(struct values, dtype)},
    {.name = "seed",
     .type = PK_OPTION_WHOLE,
     .argument = "N",
     .standard = "0",
     .group = "Files",
     .help = "the same seed and shape give the same bytes",
     PK_OPTION_INTO(struct values, seed)},
    {.name = "shard-size",
     .type = PK_OPTION_BYTES,
     .argument = "SIZE",
     .minimum = 1,
     .standard = "2GB",
     .group = "Files",
     .help = "a file is closed when the next tensor would exceed this",
     PK_OPTION_INTO(struct values, shard_bytes)},
    {.name = "tokenizer",
     .type = PK_OPTION_TEXT,
     .argument = "FILE",
     .group = "Files",
     .help = "copy this tokenizer.json, and a tokenizer_config.json beside it, into the checkpoint",
     PK_OPTION_INTO(struct values, tokenizer)},
    {0},
};

/* A layer of MiniMax-M1 with fewer, smaller experts: big enough to measure the processor, small enough to make anew. */
static void shape_bench(pk_synth_options *synth)
{
    synth->hidden = 1024;
    synth->layers = 8;
    synth->heads = 16;
    synth->head_dim = 64;
    synth->kv_heads = 4;
    synth->rotary_dim = 32;
    synth->inner = 1024;
    synth->experts = 8;
    synth->experts_per_token = 2;
    synth->vocab = 8192;
    synth->max_positions = 1048576;
    synth->softmax_every = 8;
}

/* docs/model.md, section 1: 912 GB with all its layers, 11 GB a layer. */
static void shape_m1(pk_synth_options *synth)
{
    synth->hidden = 6144;
    synth->layers = 80;
    synth->heads = 64;
    synth->head_dim = 128;
    synth->kv_heads = 8;
    synth->rotary_dim = 64;
    synth->inner = 9216;
    synth->experts = 32;
    synth->experts_per_token = 2;
    synth->vocab = 200064;
    synth->max_positions = 10240000;
    synth->softmax_every = 8;
}

static void override_size(size_t *size, uint64_t value)
{
    if (value)
        *size = (size_t)value;
}

static void override_shape(pk_synth_options *synth, const struct values *values)
{
    override_size(&synth->hidden, values->hidden);
    override_size(&synth->layers, values->layers);
    override_size(&synth->softmax_every, values->softmax_every);
    override_size(&synth->heads, values->heads);
    override_size(&synth->head_dim, values->head_dim);
    override_size(&synth->kv_heads, values->kv_heads);
    override_size(&synth->rotary_dim, values->rotary_dim);
    override_size(&synth->inner, values->inner);
    override_size(&synth->experts, values->experts);
    override_size(&synth->experts_per_token, values->chosen);
    override_size(&synth->shared_inner, values->shared);
    override_size(&synth->vocab, values->vocab);
    override_size(&synth->max_positions, values->positions);
}

static pk_dtype dtype_of(const char *word)
{
    return !strcmp(word, "f32") ? PK_F32 : !strcmp(word, "f16") ? PK_F16 : PK_BF16;
}

static pk_synth_options synth_of(const struct values *values)
{
    pk_synth_options synth = pk_synth_defaults();
    if (!strcmp(values->preset, "bench"))
        shape_bench(&synth);
    else if (!strcmp(values->preset, "m1"))
        shape_m1(&synth);
    override_shape(&synth, values);
    synth.alpha = values->alpha;
    synth.beta = values->beta;
    synth.rope_theta = values->theta;
    synth.rms_norm_eps = values->epsilon;
    synth.postnorm = !values->prenorm;
    synth.tie_word_embeddings = values->tie;
    synth.dtype = dtype_of(values->dtype);
    synth.seed = values->seed;
    synth.shard_bytes = values->shard_bytes;
    synth.tokenizer = values->tokenizer;
    return synth;
}

/* Whether the disk has room, asked before an hour of writing. A folder that does not exist is left for the writer to
 * name. */
static pk_err check_room(const char *dir, uint64_t bytes)
{
    struct statvfs disk;
    char *copy = strdup(dir);
    if (!copy)
        return pk_fail(PK_NOMEM, "no memory for a path");
    int unknown = statvfs(dirname(copy), &disk);
    free(copy);
    uint64_t room = unknown ? UINT64_MAX : (uint64_t)disk.f_bavail * disk.f_frsize;
    if (bytes <= room)
        return PK_OK;
    return pk_fail(PK_NOMEM, "%s: the checkpoint takes %.2f GB, the disk has %.2f GB left", dir, (double)bytes / 1e9,
                   (double)room / 1e9);
}

static pk_exit synth(const void *parsed, const pk_words *operands)
{
    pk_progress progress;
    pk_synth_options synth = synth_of(parsed);
    uint64_t bytes = 0;
    synth.dir = operands->items[0];
    synth.progress = pk_progress_update;
    synth.progress_context = &progress;
    pk_err err = pk_synth_bytes(&synth, &bytes);
    if (err)
        return pk_exit_report(PK_DOING_USAGE, err);
    if (!(err = check_room(synth.dir, bytes))) {
        pk_progress_begin(&progress, synth.dir);
        err = pk_synth(&synth);
    }
    if (!err)
        pk_progress_end(&progress);
    return pk_exit_report(PK_DOING_OUTPUT, err);
}

const pk_command pk_command_model_synth = {
    .name = "model synth",
    .group = "Models",
    .summary = "write a random checkpoint of any shape, for measuring and testing",
    .operands = "DIR",
    .minimum = 1,
    .maximum = 1,
    .details =
        "Presets: tiny, 8 layers of width 256; bench, 8 layers of width 1024; m1, the shape of MiniMax-M1 (912 GB,\n"
        "so take few of its --layers). Whatever is given besides overrides the preset. DIR must be new or empty.",
    .options = options,
    .values_bytes = sizeof(struct values),
    .examples = {"penstock model synth /tmp/tiny --tokenizer examples/tokenizer/tokenizer.json --vocab 4096",
                 "penstock model synth /data/slice --preset m1 --layers 2 --shard-size 5GB"},
    .run = synth,
};
