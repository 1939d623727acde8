/* fuzz.h - what the fuzz targets share. A target is one parser of outside bytes and what must hold of whatever it
 * accepts; libFuzzer drives it (tests/fuzz/fuzz.py), and corpus_main.c makes a plain test of it. */
#ifndef PK_TEST_FUZZ_H
#define PK_TEST_FUZZ_H

#include "ipc/error.h"

#include <stddef.h>
#include <stdint.h>

/* Reads `size` hostile bytes; what it takes it gives back. Returns 0, always. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Ends the process, naming the place, unless `fact` holds: also where assert is compiled out. */
#define MUST(fact)                                                                                                     \
    do {                                                                                                               \
        if (!(fact))                                                                                                   \
            fuzz_broken(__FILE__, __LINE__, #fact);                                                                    \
    } while (0)
_Noreturn void fuzz_broken(const char *file, int line, const char *fact);

/* What must hold of every refusal: it has words, and none of them speaks to a terminal (no control character). */
void fuzz_refused(pk_err err);

/* The path of a regular file with this content, for parsers that want a file; view, until the next call. */
const char *fuzz_file(const uint8_t *data, size_t size);

/* The first eight bytes as a little-endian number, and the rest as the input: for what a parser is told beside it.
 * Fewer bytes are the number 0 and an empty rest. */
uint64_t fuzz_number(const uint8_t **data, size_t *size);

#endif
