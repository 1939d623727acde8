/* completion.h - what a shell may offer when Tab is pressed, out of the parser's own tables.
 *
 * The scripts hold everything, so that a shell need not run the command to complete it. Whether writing failed is for
 * the caller to ask. Only completion*.c include this. */
#ifndef PK_CLI_COMPLETION_H
#define PK_CLI_COMPLETION_H

#include "cli/command.h"

/* What is offered for an option's value. */
typedef enum { PK_OFFER_NOTHING, PK_OFFER_FILES, PK_OFFER_FOLDERS, PK_OFFER_WORDS } pk_completion_offers;

pk_completion_offers pk_completion_offer(const pk_option *option);

/* "one|two" as "one two". */
void pk_completion_words(FILE *out, const char *words);

/* Bytes of a name's first word; whether a command is the first in the table with its first word; all first words. */
size_t pk_completion_first(const char *name);
bool pk_completion_begins(size_t index);
void pk_completion_first_words(FILE *out);

/* Of each first word that has second ones: before, the first, between, the second ones, after. */
void pk_completion_families(FILE *out, const char *before, const char *between, const char *after);

void pk_completion_bash(FILE *out);
void pk_completion_fish(FILE *out);

#endif
