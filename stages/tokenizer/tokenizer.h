/* tokenizer.h - text to token ids and back: byte-level BPE as a Hugging Face tokenizer.json describes it.
 *
 * Text is cut into pieces by the file's pre-tokenizer, each piece starts as one token per byte, and neighbours are
 * merged in the order of the file's merges, lowest first, leftmost among equals, until no merge applies. The answer
 * equals that of Hugging Face `tokenizers` for everything that is accepted here; what is not known to be equal is
 * refused at open, by name (docs/tokenizer.md lists both).
 *
 * Text becomes an added token, such as "<end_of_sentence>", only where the caller says so (pk_added): in a document it
 * is encoded as ordinary bytes, so that a document cannot end a conversation or open another role. Whoever renders a
 * prompt encodes his own words with PK_ADDED_ALL, or asks pk_tokenizer_added_id and puts the ids in himself. Nothing is
 * added around the text: no bos, no eos.
 *
 * The files are hostile until checked: size, depth, types, ids, merges and patterns. An open tokenizer never changes,
 * so any number of threads may use it at once, each with an encoder of its own. */
#ifndef PK_STAGES_TOKENIZER_TOKENIZER_H
#define PK_STAGES_TOKENIZER_TOKENIZER_H

#include "ipc/error.h"
#include "ipc/utf8.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    PK_TOKENIZER_FILE_BYTES = 256 << 20, /* the largest tokenizer.json that is read; known ones are below 35 MB */
    PK_TOKENIZER_IDS = 1 << 20,          /* every id is below this; known vocabularies end at 262,144 */
    PK_TOKENIZER_TEXT_BYTES = 1 << 30,   /* the longest text of one encode */
    PK_TOKENIZER_PIECE_BYTES =
        256 << 20, /* the longest piece; merging it takes up to 20 bytes of memory for each byte */
};

typedef struct pk_tokenizer pk_tokenizer;

/* Token ids, growing as needed. Zeroed is empty; the memory is released by pk_ids_fini, which zeroes it again. */
typedef struct {
    int32_t *ids;
    size_t count;
    size_t capacity;
} pk_ids;

/* Text or bytes, growing as needed, not NUL-terminated. Zeroed is empty; released by pk_text_fini. */
typedef struct {
    char *bytes;
    size_t count;
    size_t capacity;
} pk_text;

/* Turns ids into text piece by piece. Zeroed is the start of a text; holds no memory of its own. */
typedef struct {
    pk_utf8_stream stream; /* the bytes of a character whose rest has not come yet */
    bool keep_special;     /* write special tokens too; false leaves them out */
} pk_detokenizer;

/* Reads `path`: a tokenizer.json, or a folder with one, or without one with vocab.json and merges.txt, or with
 * merges.txt alone. A tokenizer_config.json beside them names the eos token. PK_IO: cannot be read. PK_CORRUPT: a file
 * is not what it claims. PK_INVALID: in order, but asks for something that is not supported; the message names it.
 * After PK_OK the caller owns *out. */
pk_err pk_tokenizer_open(pk_tokenizer **out, const char *path);

/* The same from the text of a tokenizer.json in memory, without a config. */
pk_err pk_tokenizer_open_text(pk_tokenizer **out, const char *text, size_t bytes);

/* What the files do not say and was assumed, one line for a log; "" for a tokenizer.json, which says everything. View,
 * valid until close. */
const char *pk_tokenizer_assumed(const pk_tokenizer *tokenizer);

/* One more than the largest id. Ids below it may be without a token (holes). */
size_t pk_tokenizer_count(const pk_tokenizer *tokenizer);

/* The bytes of one token: of an added token its content, of any other what it stands for. They need not be UTF-8 alone.
 * NULL and *bytes = 0 where there is no such token. View, valid until close. */
const void *pk_tokenizer_bytes(const pk_tokenizer *tokenizer, int32_t id, size_t *bytes);

/* Whether `id` is an added token marked special. */
bool pk_tokenizer_is_special(const pk_tokenizer *tokenizer, int32_t id);

/* The id of the added token with exactly this content, or -1. */
int32_t pk_tokenizer_added_id(const pk_tokenizer *tokenizer, const char *content);

/* The ids that end an answer, *count of them; 0 when the files name none. View, valid until close. They are the
 * eos_token of tokenizer_config.json or, without one, the first of the usual names that is an added token. */
const int32_t *pk_tokenizer_eos(const pk_tokenizer *tokenizer, size_t *count);

/* Which added tokens a text may become. */
typedef enum {
    PK_ADDED_NONE,     /* none: for documents */
    PK_ADDED_ORDINARY, /* those that are not special: `tokenizers` with encode_special_tokens = True */
    PK_ADDED_ALL,      /* all: `tokenizers` as it comes */
} pk_added;

/* What one thread keeps from text to text: the words that it has met, memory for pieces of up to 1 MiB (4 MiB at
 * least, 24 at most). The tokenizer must stay open. */
typedef struct pk_encoder pk_encoder;
pk_err pk_encoder_open(pk_encoder **out, const pk_tokenizer *tokenizer);
void pk_encoder_close(pk_encoder **encoder);

/* From here on *progress is bumped now and then while a text is encoded: who looks at it sees that the work goes on,
 * however long the text is. The caller's, for the encoder's life. */
void pk_encoder_watch(pk_encoder *encoder, _Atomic uint64_t *progress);

/* Appends the ids of `text`, which must be UTF-8 (NULs are text like any other; a BOM is kept). PK_CORRUPT with the
 * byte offset when it is not; PK_INVALID when it is over PK_TOKENIZER_TEXT_BYTES; PK_NOMEM when memory is short or a
 * piece is over PK_TOKENIZER_PIECE_BYTES. After an error `out` is as it was. Time is n log n in the longest piece at
 * worst. */
pk_err pk_encoder_run(pk_encoder *encoder, pk_added added, const void *text, size_t bytes, pk_ids *out);

/* An encoder for one text, with PK_ADDED_NONE. */
pk_err pk_tokenizer_encode(const pk_tokenizer *tokenizer, const void *text, size_t bytes, pk_ids *out);

/* Appends the text of `ids` to `out`, always whole characters: what is unfinished waits in `state` for the next call.
 * Bytes that are not UTF-8 become U+FFFD, one for each maximal ill-formed part, as in Hugging Face's decoder. An id
 * without a token adds nothing, as there; a negative id is PK_INVALID. Joined together, the text does not depend on how
 * the ids were cut into calls. */
pk_err pk_tokenizer_decode(const pk_tokenizer *tokenizer, pk_detokenizer *state, const int32_t *ids, size_t count,
                           pk_text *out);

/* Ends the text: an unfinished character becomes U+FFFD. `state` is ready for the next text. */
pk_err pk_tokenizer_decode_end(pk_detokenizer *state, pk_text *out);

void pk_tokenizer_close(pk_tokenizer **tokenizer);

/* Append, or make room for `more` behind `count`; PK_NOMEM leaves the vector as it was. */
pk_err pk_ids_append(pk_ids *ids, int32_t id);
pk_err pk_ids_reserve(pk_ids *ids, size_t more);
pk_err pk_text_append(pk_text *text, const void *bytes, size_t count);
pk_err pk_text_reserve(pk_text *text, size_t more);
void pk_ids_fini(pk_ids *ids);
void pk_text_fini(pk_text *text);

#endif
