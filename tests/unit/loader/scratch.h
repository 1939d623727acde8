/* scratch.h - a directory for one test's files, and assertions about errors. Include after cmocka.h. */
#ifndef PK_TEST_LOADER_SCRATCH_H
#define PK_TEST_LOADER_SCRATCH_H

#include "ipc/error.h"

#include <stddef.h>
#include <stdint.h>

#define PK_GOLDEN PK_SOURCE_DIR "/tests/golden"

/* A fresh directory under TMPDIR or /tmp; view, valid until scratch_close, which removes it and all that is in it. */
const char *scratch_open(void);
void scratch_close(void);

/* "<scratch>/<name>"; view, valid until four calls later. */
const char *scratch_path(const char *name);

void scratch_write(const char *name, const void *data, size_t bytes);
void scratch_append(const char *name, const void *data, size_t bytes);

/* The whole file; the caller frees it. */
char *scratch_read(const char *path, size_t *bytes);

/* A safetensors file with this header and `data_bytes` zero bytes behind it. */
void scratch_safetensors(const char *name, const char *header, size_t data_bytes);

/* Fails the test unless err is `expected` and the thread's error text contains `words`. */
void assert_refused(pk_err err, pk_err expected, const char *words);

/* Fails the test, showing the error's text, unless err is PK_OK. */
void assert_ok(pk_err err);

#endif
