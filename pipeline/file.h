/* file.h - the pipeline file: what a person may write about a pipeline, read strictly and kept as plain values.
 *
 * A pk_pipeline is filled in three steps by one thread: pk_pipeline_read (the YAML file, or nothing), pk_pipeline_set
 * (each --set, in order), pk_pipeline_resolve (resolve.h: what was left open becomes a decision for this machine and
 * model, and the whole is checked). Before the last step 0, NULL and "" mean "not said".
 *
 * Nothing of a file is believed: at most 1 MiB, nesting and scalars bounded, no anchors, aliases or tags, no key twice,
 * every value of its type and range. A refusal reads `file:line:column: path.of.key: what is wrong, what was expected`.
 * In values ${VAR}, ${VAR:-default} and ${VAR:?message} are replaced from the environment after the YAML was parsed,
 * so that a variable can never add keys; $$ is one dollar sign. A key that the design has but this version
 * has not is refused as "not in this version". */
#ifndef PK_PIPELINE_FILE_H
#define PK_PIPELINE_FILE_H

#include "ipc/error.h"
#include "ipc/stage_kind.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum {
    PK_STAGE_NAME_BYTES = 33,   /* [a-z0-9-]{1,32} and the end */
    PK_STAGE_DEVICE_BYTES = 16, /* "cpu", "cpu:plain", "cpu:avx2", "cpu:avx512" */
    PK_PIPELINE_FILE_BYTES = 1 << 20,
    PK_PIPELINE_STAGES = 1027,  /* at most: a `layers` stage for each of 1,024 layers, and the other three */
    PK_LIMIT_CONTEXT = 1 << 30, /* what each key of `limits:` may say at most */
    PK_LIMIT_BATCH_ROWS = 65536,
    PK_LIMIT_SEQUENCES = 4096,
    PK_LIMIT_WINDOW = 4096,
    PK_LIMIT_THREADS = 1024,
    PK_LIMIT_SECONDS = 24 * 60 * 60,
    PK_SILENT_SECONDS = 10, /* where a file says nothing */
    PK_HUNG_SECONDS = 30,
};

/* How a stage reads its weights. The words are what a file says; auto tries io_uring and falls back to pread. */
#define PK_STAGE_IOS(X) X(AUTO, 0, "auto") X(URING, 1, "uring") X(PREAD, 2, "pread")

typedef enum {
#define X(name, code, word) PK_STAGE_IO_##name = code,
    PK_STAGE_IOS(X)
#undef X
} pk_stage_io;

typedef struct {
    uint32_t context;        /* tokens of one sequence, prompt and answer together */
    uint32_t batch_rows;     /* rows (tokens) of one batch */
    uint32_t sequences;      /* state slots: sequences alive at one time */
    uint32_t window;         /* batches inside the stages at one time */
    uint64_t kv_tokens;      /* no key, resolving says it: positions of KV cache that all sequences together may hold */
    uint32_t silent_seconds; /* without a beat: the stage is silent */
    uint32_t hung_seconds;   /* without progress while it does not wait: it hangs */
} pk_limits;

typedef struct {
    uint32_t max_tokens; /* sampled tokens of one answer */
    float temperature;   /* 0: greedy */
    float top_p;         /* of the tokens, the most likely that together have this probability; 1: all */
    uint32_t top_k;      /* of the tokens, this many; 0: all */
    float min_p;         /* of the tokens, those at least this likely, as a part of the likeliest; 0: all */
    uint64_t seed;
} pk_generation;

typedef struct {
    char name[PK_STAGE_NAME_BYTES]; /* unique in a resolved pipeline */
    pk_stage_kind kind;
    uint32_t first_layer, last_layer;   /* inclusive; `layers` stages only, else 0 */
    uint32_t threads;                   /* `layers` and `head` only; else 0 before and 1 after resolving */
    char device[PK_STAGE_DEVICE_BYTES]; /* `layers` and `head` only; else "" before and "cpu" after resolving */
    pk_stage_io io;                     /* `layers` and `head` only */
    uint32_t line, column;              /* where the file has it, from 1; 0: not from a file */
} pk_stage_spec;

typedef struct {
    char *model; /* directory, a path as the shell would take it; owned; NULL: not said */
    pk_limits limits;
    pk_generation generation;
    pk_stage_spec *stages; /* owned */
    uint32_t stage_count;
    bool chosen;      /* resolving made the stages */
    char *source;     /* the file's name as messages say it; owned; NULL: no file */
    char **overrides; /* owned; the --set of stages that exist only once resolved */
    uint32_t override_count;
} pk_pipeline;

/* An empty pipeline: nothing said. Every other function wants it initialised; fini leaves it empty again. */
void pk_pipeline_init(pk_pipeline *pipeline);
void pk_pipeline_fini(pk_pipeline *pipeline);

/* Reads the file at `path` ("-": standard input) into an empty pipeline. PK_IO: it cannot be read; PK_INVALID: it is no
 * pipeline of this version. On failure the pipeline is to be finished, its contents are unspecified. */
pk_err pk_pipeline_read(pk_pipeline *pipeline, const char *path);

/* The same from memory; `name` is what messages call it. Text needs no zero at its end. */
pk_err pk_pipeline_parse(pk_pipeline *pipeline, const char *name, const void *text, size_t bytes);

/* Overrides the model's directory as it is, no ${} in it. PK_NOMEM. */
pk_err pk_pipeline_set_model(pk_pipeline *pipeline, const char *dir);

/* Overrides one key: "model=DIR", "limits.batch_rows=64", "generation.seed=7", "stages.NAME.threads=2". Values are as
 * in the file without quotes, ${} included. Where the pipeline has no stages of its own, stages.NAME.… is
 * kept until resolving has made them. PK_INVALID: malformed, unknown, or of the wrong type. */
pk_err pk_pipeline_set(pk_pipeline *pipeline, const char *assignment);

/* Applies the kept overrides to the stages that there are now; PK_INVALID names one that meets no stage. */
pk_err pk_pipeline_set_kept(pk_pipeline *pipeline);

/* Writes the pipeline as a YAML file that reads back to the same values. PK_INVALID: the model's path is not UTF-8 and
 * so cannot stand in YAML; PK_IO: writing failed. */
pk_err pk_pipeline_print(const pk_pipeline *pipeline, FILE *out);

/* The word of a kind and of an io, as files say it; static. */
const char *pk_stage_kind_word(pk_stage_kind kind);
const char *pk_stage_io_word(pk_stage_io io);

/* All words of kinds, ended by NULL: the i-th is that of kind i + 1. And what a kind does, in a few words. Static. */
const char *const *pk_stage_kind_words(void);
const char *pk_stage_kind_about(pk_stage_kind kind);

#endif
