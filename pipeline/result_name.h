/* result_name.h - the file name of a request's readable result.
 *
 * {path with / as __}.{question}.md, from the custom_id `path#question`; where a request has several answers,
 * {path}.{question}.{answer}.md. A name that two requests could share, that a
 * file system would refuse, or that would be hidden (a leading dot becomes _) gets a digest of the custom_id before its
 * ending: `a__b.txt.1~0123456789abcdef.md`. So the name depends on nothing but the custom_id, and no result ever writes
 * over another. */
#ifndef PK_PIPELINE_RESULT_NAME_H
#define PK_PIPELINE_RESULT_NAME_H

#include <stddef.h>

enum { PK_RESULT_NAME_BYTES = 256 }; /* with its NUL */

/* `custom_id` is UTF-8. answer: from 1; 0: the only one. */
void pk_result_name(char out[PK_RESULT_NAME_BYTES], const char *custom_id, size_t answer);

#endif
