#include "loader/tokenizer_files.h"

#include "loader/file.h"

size_t pk_tokenizer_files(const char *dir, const char *names[PK_TOKENIZER_FILES_MAX])
{
    size_t count = 0;
    if (pk_file_is_there(dir, "tokenizer.json"))
        names[count++] = "tokenizer.json";
    else if (pk_file_is_there(dir, "merges.txt")) {
        if (pk_file_is_there(dir, "vocab.json"))
            names[count++] = "vocab.json";
        names[count++] = "merges.txt";
    }
    return count;
}
