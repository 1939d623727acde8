/* options.h - the options of a command, as a table that the parser and --help both read.
 *
 * A command declares a struct for its values and a table of pk_option rows that point into it; a row without a name
 * ends the table. The parser is strict: an unknown option is refused with the nearest right name, abbreviations are not
 * guessed, a value is of its type or refused. Accepted forms: --name VALUE, --name=VALUE, -n VALUE, -nVALUE; options
 * and operands mix; after -- all are operands; - is an operand. A value that begins with -- must be given with =, so
 * that a forgotten value is not filled with the next option. Given twice, the last one counts (PK_OPTION_LIST keeps
 * all).
 *
 *     struct values { const char *model; uint64_t rows; };
 *     static const pk_option options[] = {
 *         {.name = "model", .letter = 'm', .type = PK_OPTION_TEXT, .argument = "DIR", .group = "Model",
 *          .help = "checkpoint directory", PK_OPTION_INTO(struct values, model)},
 *         {.name = "rows", .type = PK_OPTION_WHOLE, .argument = "N", .minimum = 1, .maximum = 65536, .standard = "512",
 *          .group = "Limits", .help = "rows of a batch", PK_OPTION_INTO(struct values, rows)},
 *         {0}}; */
#ifndef PK_CLI_OPTIONS_H
#define PK_CLI_OPTIONS_H

#include "ipc/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Words from the command line; the array is owned, the words are views into argv. */
typedef struct {
    const char **items;
    uint32_t count;
} pk_words;

void pk_words_fini(pk_words *words);

typedef enum {
    PK_OPTION_FLAG,   /* bool: given or not; takes no value */
    PK_OPTION_TEXT,   /* const char *: NULL where neither given nor standard; view into argv */
    PK_OPTION_CHOICE, /* const char *: one of the words of `argument`, which is written "one|two|three" */
    PK_OPTION_WHOLE,  /* uint64_t: minimum..maximum (maximum 0: no bound) */
    PK_OPTION_BYTES,  /* uint64_t: a size such as 5GB or 512MiB; minimum..maximum in bytes (maximum 0: no bound) */
    PK_OPTION_REAL,   /* double: finite */
    PK_OPTION_LIST,   /* pk_words: every occurrence, in order */
} pk_option_type;

typedef struct {
    const char *name; /* long name without dashes; NULL ends a table */
    char letter;      /* one-letter name, or 0 */
    pk_option_type type;
    const char *argument; /* what --help calls the value; NULL for a flag */
    uint64_t minimum, maximum;
    const char *standard; /* the value if not given, as one would type it; NULL: the zero of the type */
    const char *group;    /* heading in --help; rows of one group stand together */
    const char *help;     /* one sentence without a full stop; where NULL is the default it says what that means */
    size_t offset;        /* of the value in the command's struct */
} pk_option;

#define PK_OPTION_INTO(type, member) .offset = offsetof(type, member)

/* Fills `values` (zeroed by the caller, of the struct that the rows point into) with standards and then from
 * argv[0..argc). `operands` receives the other words. PK_INVALID: the trail says what is wrong. Also on failure the
 * caller frees with pk_options_free. */
pk_err pk_options_parse(const pk_option *options, int argc, char **argv, void *values, pk_words *operands);
void pk_options_free(const pk_option *options, void *values, pk_words *operands);

/* The options, grouped in table order, for a terminal of 100 columns. */
void pk_options_print(const pk_option *options, FILE *out);

enum { PK_CHOICES_BYTES = 128, PK_CHOICES_MAX = 16 };

/* The words of a PK_OPTION_CHOICE, ended by NULL; views into `room`. */
void pk_option_choices(const pk_option *option, char room[PK_CHOICES_BYTES], const char *words[PK_CHOICES_MAX + 1]);

#endif
