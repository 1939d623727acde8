/* texts.h - texts on their way through a text stage: cut into pieces, and put together from the pieces that come back.
 * Free of I/O.
 *
 * A text is kept until its answer is complete, so that after a reset, when the stage has forgotten everything, it is
 * sent once more from its first byte. Pieces go in order, each text's behind those of the text before. One thread. */
#ifndef PK_PIPELINE_TEXTS_H
#define PK_PIPELINE_TEXTS_H

#include "ipc/wire.h"

#include <stddef.h>

typedef struct pk_texts pk_texts;

/* To a tokenize stage go bytes and come back ids; to a detokenize stage the other way round. */
typedef enum { PK_TEXTS_ENCODE, PK_TEXTS_DECODE } pk_texts_way;

/* A complete answer: bytes of text, or int32_t ids. */
typedef struct {
    uint32_t id;
    const void *data;
    size_t elements;
    uint32_t argument; /* of END: encode: too many tokens, so many; else 0 */
} pk_text_answer;

pk_err pk_texts_open(pk_texts **out, pk_texts_way way);
void pk_texts_close(pk_texts **texts);

typedef struct {
    uint32_t argument; /* of START */
    bool markup;       /* PK_OP_MARKUP */
} pk_text_options;

/* A text to be sent: takes `data` (malloc'd), even on failure. Ids of texts under way are distinct. */
pk_err pk_texts_add(pk_texts *texts, uint32_t id, void *data, uint64_t elements, pk_text_options options);

/* Whether a piece waits to be sent. */
bool pk_texts_waiting(const pk_texts *texts);

/* The next piece, which pk_texts_waiting has promised, with its number; counts as sent. Views, valid until the next
 * call.
 */
void pk_texts_next(pk_texts *texts, pk_batch *head, const void **data);

/* A piece came back. *complete: with it the text's answer is, in *answer: view, valid until the next call. PK_PEER: it
 * is no piece of a text that is under way, or does not follow. PK_NOMEM. */
pk_err pk_texts_take(pk_texts *texts, const pk_batch *head, const void *payload, pk_text_answer *answer,
                     bool *complete);

/* The stage has forgotten everything: all texts under way are to be sent again, and what came of them does not count.
 */
void pk_texts_reset(pk_texts *texts);

#endif
