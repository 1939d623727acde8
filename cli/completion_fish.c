/* completion_fish.c - the completion of fish: a line for each thing that may be said, with where. */
#include "cli/completion.h"

/* In single quotes of fish. */
static void put_quoted(FILE *out, const char *text)
{
    fputc('\'', out);
    for (; *text; ++text) {
        if (*text == '\'' || *text == '\\')
            fputc('\\', out);
        fputc(*text, out);
    }
    fputc('\'', out);
}

/* complete -c penstock, where the command's words have been said. */
static void put_fish_condition(FILE *out, const pk_command *command)
{
    size_t length = pk_completion_first(command->name);
    fprintf(out, "complete -c penstock -n '__fish_seen_subcommand_from %.*s", (int)length, command->name);
    if (command->name[length])
        fprintf(out, "; and __fish_seen_subcommand_from %s", command->name + length + 1);
    fputc('\'', out);
}

static void put_fish_option(FILE *out, const pk_command *command, const pk_option *option)
{
    put_fish_condition(out, command);
    fprintf(out, " -l %s", option->name);
    if (option->letter)
        fprintf(out, " -s %c", option->letter);
    switch (pk_completion_offer(option)) {
    case PK_OFFER_NOTHING:
        fputs(option->type == PK_OPTION_FLAG ? "" : " -x", out);
        break;
    case PK_OFFER_FILES:
        fputs(" -r -F", out);
        break;
    case PK_OFFER_FOLDERS:
        fputs(" -x -a '(__fish_complete_directories)'", out);
        break;
    case PK_OFFER_WORDS:
        fputs(" -x -a '", out);
        pk_completion_words(out, option->argument);
        fputc('\'', out);
        break;
    }
    fputs(" -d ", out);
    put_quoted(out, option->help);
    fputc('\n', out);
}

static void put_fish_command(FILE *out, const pk_command *command)
{
    for (const pk_option *option = command->options; option->name; ++option)
        put_fish_option(out, command, option);
    put_fish_condition(out, command);
    if (command->operand_words) {
        fputs(" -f -a '", out);
        pk_completion_words(out, command->operand_words);
        fputs("'\n", out);
    } else
        fputs(command->maximum ? " -F\n" : " -f\n", out);
}

void pk_completion_fish(FILE *out)
{
    fputs("# Completion of penstock for fish; made by `penstock completion fish`.\n"
          "complete -c penstock -n __fish_use_subcommand -f -l help\n"
          "complete -c penstock -n __fish_use_subcommand -f -l version\n",
          out);
    for (size_t i = 0; pk_commands[i]; ++i) {
        const char *name = pk_commands[i]->name;
        bool whole = !name[pk_completion_first(name)];
        if (!pk_completion_begins(i))
            continue;
        fprintf(out, "complete -c penstock -n __fish_use_subcommand -f -a %.*s", (int)pk_completion_first(name), name);
        fputs(whole ? " -d " : "\n", out);
        if (whole) {
            put_quoted(out, pk_commands[i]->summary);
            fputc('\n', out);
        }
    }
    pk_completion_families(out, "complete -c penstock -f -n '__fish_seen_subcommand_from ", "' -a '", "'\n");
    for (size_t i = 0; pk_commands[i]; ++i)
        put_fish_command(out, pk_commands[i]);
}
