/* command.h - the commands of `penstock`, all of one shape, in one table.
 *
 * A command is one file cli/NAME.c that exports one pk_command; the table in command.c lists it, and nothing else needs
 * to know. main.c finds the command, parses its options into a zeroed struct of `values_bytes`, answers --help, and
 * calls `run` with views that live until it returns. stdout carries data only; everything said to a person goes to
 * stderr. */
#ifndef PK_CLI_COMMAND_H
#define PK_CLI_COMMAND_H

#include "cli/exit.h"
#include "cli/options.h"

typedef struct {
    const char *name;          /* "check", "model synth" */
    const char *group;         /* heading in the list of commands */
    const char *summary;       /* one line in the list and on top of --help */
    const char *operands;      /* as --help writes them: "[PIPELINE.yaml]"; "" for none */
    uint32_t minimum, maximum; /* number of operands */
    const char *operand_words; /* what an operand may be, "one|two"; NULL: a path, for the completion of shells */
    const char *details;       /* paragraphs under the usage line, or NULL */
    const pk_option *options;  /* ends with a row without a name; --help is added to every command */
    size_t values_bytes;       /* of the struct that the options point into; 0: there are none */
    const char *examples[2];   /* real command lines */
    pk_exit (*run)(const void *values, const pk_words *operands);
} pk_command;

/* Every command, ended by NULL, in the order of the list. */
extern const pk_command *const pk_commands[];

/* The command that argv[0..argc) begins with, and how many words its name took; NULL where there is none. */
const pk_command *pk_command_find(int argc, char **argv, int *words);

/* The list of commands by group; `penstock NAME --help` for one. */
void pk_command_list(FILE *out);
void pk_command_help(const pk_command *command, FILE *out);

#endif
