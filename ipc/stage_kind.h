/* stage_kind.h - the kinds of stage that a pipeline is made of. The codes travel in control messages; the names are
 * what a pipeline file says and what the stage programs are called (penstock-NAME). */
#ifndef PK_IPC_STAGE_KIND_H
#define PK_IPC_STAGE_KIND_H

#define PK_STAGE_KINDS(X)                                                                                              \
    X(TOKENIZE, 1, "tokenize", "text to token ids")                                                                    \
    X(LAYERS, 2, "layers", "a contiguous group of layers; the first group also embeds")                                \
    X(HEAD, 3, "head", "final norm, LM head, sampling")                                                                \
    X(DETOKENIZE, 4, "detokenize", "token ids to text")

typedef enum {
#define X(name, code, word, text) PK_STAGE_##name = code,
    PK_STAGE_KINDS(X)
#undef X
} pk_stage_kind;

#endif
