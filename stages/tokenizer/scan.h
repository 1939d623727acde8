/* scan.h - a cursor over JSON text, for what is too large for a tree.
 *
 * A vocabulary and its merges are a million strings and numbers; a tree of them takes half a second and a hundred
 * megabytes, going over the text once takes milliseconds. Every small part of a file is read with loader/json.h
 * instead. The functions skip blanks in front of what they read. Errors are PK_CORRUPT and name the byte. */
#ifndef PK_STAGES_TOKENIZER_SCAN_H
#define PK_STAGES_TOKENIZER_SCAN_H

#include "stages/tokenizer/vocabulary.h"

typedef struct {
    const char *text;
    size_t bytes, at;
    pk_text unescaped; /* of the last string that had escapes; released by the caller */
} pk_scan;

/* Takes `wanted` if it comes next. */
bool pk_scan_takes(pk_scan *scan, char wanted);

/* Takes `wanted`, which must come next. */
pk_err pk_scan_expect(pk_scan *scan, char wanted);

/* Takes a string: what it says, escapes undone; not checked to be UTF-8. A NUL in it is refused. The view is valid
 * until the next string is taken. */
pk_err pk_scan_string(pk_scan *scan, pk_view *out);

/* Takes a whole number from 0 to INT32_MAX. */
pk_err pk_scan_natural(pk_scan *scan, int32_t *out);

/* Passes over one value and says where it stands. Only strings and brackets are looked at: whoever reads the value
 * checks the rest. Nesting is bounded by PK_SCAN_DEPTH. */
enum { PK_SCAN_DEPTH = 64 };
pk_err pk_scan_skip(pk_scan *scan, pk_view *out);

/* After a member or an item: true when another follows, false when `closing` ended the list. */
pk_err pk_scan_more(pk_scan *scan, char closing, bool *more);

/* The end of the text must come next. */
pk_err pk_scan_end(pk_scan *scan);

#endif
