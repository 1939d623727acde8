/* expand.h - ${VAR}, ${VAR:-default}, ${VAR:?message} and $$ in a value. */
#ifndef PK_PIPELINE_EXPAND_H
#define PK_PIPELINE_EXPAND_H

#include "ipc/error.h"

#include <stdbool.h>

/* The value of `text` with variables replaced from the environment, in *out, which the caller frees; *changed says
 * whether there were any. As in a shell, :- and :? also act on a variable that is set to nothing. $$ is one $, and a $
 * before anything else stands for itself. A default or message is taken as it is: no variables inside. PK_INVALID: a
 * variable that is not set and has no default, or a malformed ${; the trail says which, without a place. */
pk_err pk_expand(const char *text, char **out, bool *changed);

/* Writes `text` with each $ doubled, so that expanding gives it back; the caller frees. NULL: no memory. */
char *pk_expand_escape(const char *text);

#endif
