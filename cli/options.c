#include "cli/options.h"

#include "pipeline/scalar.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { OPTIONS_MAX = 64, HELP_COLUMN = 30, HELP_WIDTH = 100 };

struct parser {
    const pk_option *options;
    char **argv;
    int argc, at;
    void *values;
    pk_words *operands;
};

void pk_words_fini(pk_words *words)
{
    free(words->items);
    *words = (pk_words){0};
}

static pk_err append_word(pk_words *words, const char *word)
{
    const char **items = realloc(words->items, (words->count + 1) * sizeof *items);
    if (!items)
        return pk_fail(PK_NOMEM, "no memory for an argument");
    words->items = items;
    words->items[words->count++] = word;
    return PK_OK;
}

void pk_option_choices(const pk_option *option, char room[PK_CHOICES_BYTES], const char *words[PK_CHOICES_MAX + 1])
{
    size_t count = 0;
    char *rest = NULL;
    snprintf(room, PK_CHOICES_BYTES, "%s", option->argument);
    for (char *word = strtok_r(room, "|", &rest); word && count < PK_CHOICES_MAX; word = strtok_r(NULL, "|", &rest))
        words[count++] = word;
    words[count] = NULL;
}

static pk_err refuse_value(const pk_option *option, const char *expected, const char *found)
{
    return pk_fail(PK_INVALID, "--%s: expected %s, found \"%s\"", option->name, expected, found);
}

/* "a or b or c" */
static void join_choices(char out[PK_CHOICES_BYTES], const char *const *words)
{
    size_t length = 0;
    for (size_t i = 0; words[i] && length < PK_CHOICES_BYTES; ++i)
        length += (size_t)snprintf(out + length, PK_CHOICES_BYTES - length, "%s%s", i ? " or " : "", words[i]);
}

static pk_err store_choice(const pk_option *option, const char *word, const char **out)
{
    char room[PK_CHOICES_BYTES], expected[PK_CHOICES_BYTES];
    const char *words[PK_CHOICES_MAX + 1];
    pk_option_choices(option, room, words);
    for (size_t i = 0; words[i]; ++i)
        if (!strcmp(words[i], word)) {
            *out = word;
            return PK_OK;
        }
    const char *nearest = pk_scalar_nearest(word, words);
    join_choices(expected, words);
    pk_err err = refuse_value(option, expected, word);
    return nearest ? pk_fail(err, "%s; did you mean %s?", pk_error_text(), nearest) : err;
}

static bool in_range(const pk_option *option, uint64_t value)
{
    return value >= option->minimum && (!option->maximum || value <= option->maximum);
}

static pk_err store_whole(const pk_option *option, const char *word, uint64_t *out)
{
    char expected[96];
    if (pk_scalar_whole(word, out) && in_range(option, *out))
        return PK_OK;
    if (option->maximum)
        snprintf(expected, sizeof expected, "a whole number from %" PRIu64 " to %" PRIu64, option->minimum,
                 option->maximum);
    else if (option->minimum)
        snprintf(expected, sizeof expected, "a whole number of at least %" PRIu64, option->minimum);
    else
        snprintf(expected, sizeof expected, "a whole number");
    return refuse_value(option, expected, word);
}

static pk_err store_bytes(const pk_option *option, const char *word, uint64_t *out)
{
    char expected[96];
    if (pk_scalar_bytes(word, out) && in_range(option, *out))
        return PK_OK;
    if (option->maximum)
        snprintf(expected, sizeof expected, "a size such as 5GB from %" PRIu64 " to %" PRIu64 " bytes", option->minimum,
                 option->maximum);
    else
        snprintf(expected, sizeof expected, "a size such as 5GB or 512MiB of at least %" PRIu64 " bytes",
                 option->minimum);
    return refuse_value(option, expected, word);
}

/* Stores a word as the option's value. */
static pk_err store_value(const pk_option *option, const char *word, void *values)
{
    void *field = (char *)values + option->offset;
    switch (option->type) {
    case PK_OPTION_FLAG:
        *(bool *)field = true;
        return PK_OK;
    case PK_OPTION_TEXT:
        *(const char **)field = word;
        return PK_OK;
    case PK_OPTION_CHOICE:
        return store_choice(option, word, field);
    case PK_OPTION_WHOLE:
        return store_whole(option, word, field);
    case PK_OPTION_BYTES:
        return store_bytes(option, word, field);
    case PK_OPTION_REAL:
        return pk_scalar_real(word, field) ? PK_OK : refuse_value(option, "a number", word);
    case PK_OPTION_LIST:
        return append_word(field, word);
    }
    return pk_fail(PK_INVALID, "--%s: an option of no type", option->name);
}

static pk_err store_standards(const pk_option *options, void *values)
{
    pk_err err = PK_OK;
    for (; !err && options->name; ++options)
        if (options->standard)
            err = store_value(options, options->standard, values);
    return err;
}

static pk_err refuse_unknown(const pk_option *options, const char *name, size_t length)
{
    const char *words[OPTIONS_MAX + 1] = {0};
    char word[64];
    if (!strncmp(name, "help=", strlen("help=")))
        return pk_fail(PK_INVALID, "--help takes no value, found \"%s\"", name + strlen("help="));
    snprintf(word, sizeof word, "%.*s", (int)length, name);
    for (size_t i = 0; i < OPTIONS_MAX && options[i].name; ++i)
        words[i] = options[i].name;
    const char *nearest = pk_scalar_nearest(word, words);
    if (nearest)
        return pk_fail(PK_INVALID, "unknown option --%s; did you mean --%s?", word, nearest);
    return pk_fail(PK_INVALID, "unknown option --%s; --help lists what there is", word);
}

/* The value of an option that was written without '=': the next argument. */
static pk_err take_value(struct parser *parser, const pk_option *option, const char **out)
{
    const char *next = parser->at < parser->argc ? parser->argv[parser->at] : NULL;
    if (!next)
        return pk_fail(PK_INVALID, "--%s: expected %s behind it, found nothing", option->name, option->argument);
    if (!strncmp(next, "--", 2))
        return pk_fail(PK_INVALID, "--%s: expected %s behind it, found \"%s\" (write --%s=%s if that is meant)",
                       option->name, option->argument, next, option->name, next);
    ++parser->at;
    *out = next;
    return PK_OK;
}

static pk_err parse_long(struct parser *parser, const char *name)
{
    size_t length = strcspn(name, "=");
    const char *value = name[length] ? name + length + 1 : NULL;
    const pk_option *option = parser->options;
    while (option->name && (strlen(option->name) != length || memcmp(option->name, name, length)))
        ++option;
    if (!option->name)
        return refuse_unknown(parser->options, name, length);
    if (option->type == PK_OPTION_FLAG && value)
        return pk_fail(PK_INVALID, "--%s takes no value, found \"%s\"", option->name, value);
    pk_err err = option->type == PK_OPTION_FLAG || value ? PK_OK : take_value(parser, option, &value);
    return err ? err : store_value(option, value, parser->values);
}

static pk_err parse_letter(struct parser *parser, const char *word)
{
    const pk_option *option = parser->options;
    const char *value = word[1] ? word + 1 : NULL;
    while (option->name && option->letter != word[0])
        ++option;
    if (!option->name)
        return pk_fail(PK_INVALID, "unknown option -%.32s; --help lists what there is", word);
    if (option->type == PK_OPTION_FLAG && value)
        return pk_fail(PK_INVALID, "-%c takes no value, found \"%s\"", option->letter, value);
    pk_err err = option->type == PK_OPTION_FLAG || value ? PK_OK : take_value(parser, option, &value);
    return err ? err : store_value(option, value, parser->values);
}

static pk_err parse_words(struct parser *parser)
{
    pk_err err = PK_OK;
    bool only_operands = false;
    while (!err && parser->at < parser->argc) {
        const char *word = parser->argv[parser->at++];
        if (only_operands || word[0] != '-' || !word[1])
            err = append_word(parser->operands, word);
        else if (!strcmp(word, "--"))
            only_operands = true;
        else
            err = word[1] == '-' ? parse_long(parser, word + 2) : parse_letter(parser, word + 1);
    }
    return err;
}

pk_err pk_options_parse(const pk_option *options, int argc, char **argv, void *values, pk_words *operands)
{
    struct parser parser = {.options = options, .argv = argv, .argc = argc, .values = values, .operands = operands};
    pk_err err = store_standards(options, values);
    return err ? err : parse_words(&parser);
}

void pk_options_free(const pk_option *options, void *values, pk_words *operands)
{
    for (; options->name; ++options)
        if (options->type == PK_OPTION_LIST)
            pk_words_fini((pk_words *)((char *)values + options->offset));
    pk_words_fini(operands);
}

/* Words from column HELP_COLUMN on, broken before HELP_WIDTH; the cursor stands at `column`. */
static void print_wrapped(FILE *out, const char *text, size_t column)
{
    while (*(text += strspn(text, " "))) {
        size_t length = strcspn(text, " ");
        if (column < HELP_COLUMN || column + 1 + length > HELP_WIDTH) {
            if (column >= HELP_COLUMN)
                fputc('\n', out), column = 0;
            fprintf(out, "%*s", HELP_COLUMN - (int)column, "");
            column = HELP_COLUMN;
        } else
            fputc(' ', out), ++column;
        fwrite(text, 1, length, out);
        column += length;
        text += length;
    }
    fputc('\n', out);
}

static void print_option(const pk_option *option, FILE *out)
{
    char names[128], help[512];
    const char *argument = option->argument ? option->argument : "";
    int column = option->letter
                     ? snprintf(names, sizeof names, "  -%c, --%s %s", option->letter, option->name, argument)
                     : snprintf(names, sizeof names, "      --%s %s", option->name, argument);
    fputs(names, out);
    /* A blank between name and help also where the name is too long for its column. */
    if (column >= HELP_COLUMN) {
        fputc('\n', out);
        column = 0;
    }
    snprintf(help, sizeof help, option->standard ? "%s (default: %s)" : "%s", option->help, option->standard);
    print_wrapped(out, help, (size_t)column);
}

static bool group_begins(const pk_option *options, size_t at)
{
    for (size_t i = 0; i < at; ++i)
        if (!strcmp(options[i].group, options[at].group))
            return false;
    return true;
}

void pk_options_print(const pk_option *options, FILE *out)
{
    for (size_t first = 0; options[first].name; ++first) {
        if (!group_begins(options, first))
            continue;
        fprintf(out, "\n%s:\n", options[first].group);
        for (size_t i = first; options[i].name; ++i)
            if (!strcmp(options[i].group, options[first].group))
                print_option(&options[i], out);
    }
}
