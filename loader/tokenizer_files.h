/* tokenizer_files.h - which files of a model's folder are its tokenizer. What is in them a stage reads
 * (stages/tokenizer/files.h); here they only count as part of the model. */
#ifndef PK_LOADER_TOKENIZER_FILES_H
#define PK_LOADER_TOKENIZER_FILES_H

#include <stddef.h>

enum { PK_TOKENIZER_FILES_MAX = 2 };

/* tokenizer.json; without one vocab.json and merges.txt, or merges.txt alone. How many; 0: there is no tokenizer. The
 * names are static. */
size_t pk_tokenizer_files(const char *dir, const char *names[PK_TOKENIZER_FILES_MAX]);

#endif
