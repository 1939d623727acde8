/* model.h - the two large parts of a tokenizer: its vocabulary and its merges, as JSON or as the lines of merges.txt.
 */
#ifndef PK_STAGES_TOKENIZER_MODEL_H
#define PK_STAGES_TOKENIZER_MODEL_H

#include "stages/tokenizer/format.h"
#include "stages/tokenizer/scan.h"

/* Puts one token of a vocabulary. What is not spelled in the byte alphabet stands for its own text, as in Hugging
 * Face's decoder: special tokens are often listed there too. */
pk_err pk_model_put(pk_tokenizer *tokenizer, pk_view spelling, int32_t id);

/* Reads {"token": id, …}. */
pk_err pk_model_read_vocab(pk_tokenizer *tokenizer, pk_scan *scan);

/* After the vocabulary: finds the token of each byte. Every byte must have one, so any text has ids and an unknown
 * token cannot occur. */
pk_err pk_model_find_bytes(pk_tokenizer *tokenizer);

/* After the vocabulary: reads ["a b", ["a", "b"], …]. Parts and results must be in the vocabulary. */
pk_err pk_model_read_merges(pk_tokenizer *tokenizer, pk_scan *scan);

/* After the added tokens: refuses merges from or to a special token, since text would become it. */
pk_err pk_model_check_merges(const pk_tokenizer *tokenizer);

/* Reads merges.txt: "a b" on each line, and on the first a comment "#version…", or none. With `vocabulary` each result
 * is in the vocabulary already; without it each becomes the next token behind those that are there. */
pk_err pk_model_read_lines(pk_tokenizer *tokenizer, pk_view text, bool vocabulary);

#endif
