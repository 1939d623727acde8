/* source.h - where a command takes its pipeline from: a pipeline file or none, -m, --set; the same for all that run
 * one.
 *
 *     struct values { pk_source source; … };
 *     static const pk_option options[] = {PK_SOURCE_OPTIONS(struct values, source), …, {0}};
 */
#ifndef PK_CLI_SOURCE_H
#define PK_CLI_SOURCE_H

#include "cli/exit.h"
#include "cli/options.h"
#include "loader/config.h"
#include "pipeline/resolve.h"

typedef struct {
    const char *model; /* over the file's `model:` */
    pk_words set;
} pk_source;

#define PK_SOURCE_OPTIONS(owner, member)                                                                               \
    {.name = "model",                                                                                                  \
     .letter = 'm',                                                                                                    \
     .type = PK_OPTION_TEXT,                                                                                           \
     .argument = "DIR",                                                                                                \
     .group = "Pipeline",                                                                                              \
     .help = "checkpoint directory, as published on the Hub (over the file's model:)",                                 \
     PK_OPTION_INTO(owner, member.model)},                                                                             \
    {                                                                                                                  \
        .name = "set", .type = PK_OPTION_LIST, .argument = "PATH=VALUE", .group = "Pipeline",                          \
        .help = "override a key of the pipeline file, such as limits.batch_rows=64; may be given several times",       \
        PK_OPTION_INTO(owner, member.set)                                                                              \
    }

/* For commands that look at a pipeline and do not run it: which command it is meant for. The value is a const char *.
 */
#define PK_PURPOSE_OPTION(owner, member)                                                                               \
    {                                                                                                                  \
        .name = "for", .type = PK_OPTION_CHOICE, .argument = "run|logits", .standard = "run", .group = "Pipeline",     \
        .help = "the command that the pipeline is meant for; logits needs no tokenize and detokenize stage",           \
        PK_OPTION_INTO(owner, member)                                                                                  \
    }

pk_purpose pk_purpose_of(const char *word);

/* --trace, the same for all that run a pipeline. */
#define PK_TRACE_OPTION(owner, member)                                                                                 \
    {                                                                                                                  \
        .name = "trace", .type = PK_OPTION_TEXT, .argument = "FILE", .group = "Output",                                \
        .help = "a timeline for Perfetto: a row for each process, a slice for each batch",                             \
        PK_OPTION_INTO(owner, member)                                                                                  \
    }

/* Reads `file` (NULL: none, a pipeline for this machine is to be made), applies -m and --set, and reads the model's
 * config. On failure says why on stderr and returns the exit code. The caller owns what is in *pipeline in both cases
 * (pk_pipeline_fini; it is initialised here). */
pk_exit pk_source_read(const pk_source *source, const char *file, pk_pipeline *pipeline, pk_model_config *model);

/* The same, and resolves for this machine; says on stderr by what figures stages were chosen, where nobody said them.
 */
pk_exit pk_source_resolve(const pk_source *source, const char *file, pk_purpose purpose, pk_pipeline *pipeline,
                          pk_model_config *model);

/* Says on stderr by what figures the stages were chosen, where nobody said them. */
void pk_source_tell_choice(const pk_pipeline *pipeline);

#endif
