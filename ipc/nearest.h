/* nearest.h - how far two words are apart, for messages that offer the right one. */
#ifndef PK_IPC_NEAREST_H
#define PK_IPC_NEAREST_H

#include <stddef.h>

enum { PK_NEAREST_LETTERS = 96 };

/* Letters inserted, dropped, changed, or swapped with their neighbour; SIZE_MAX where a word is longer than
 * PK_NEAREST_LETTERS. */
size_t pk_edit_distance(const char *a, const char *b);

#endif
