/* files.h - finds the files of a tokenizer, and makes one of older files that say less than a tokenizer.json. */
#ifndef PK_STAGES_TOKENIZER_FILES_H
#define PK_STAGES_TOKENIZER_FILES_H

#include "stages/tokenizer/format.h"

/* What pk_tokenizer_open promises of `path`. Fills `tokenizer`, which is zeroed; what a failure leaves in it,
 * pk_tokenizer_close releases. */
pk_err pk_tokenizer_files_read(pk_tokenizer *tokenizer, const char *path);

#endif
