/* main.c - finds the command, parses its options, runs it. */
#include "cli/command.h"
#include "pipeline/scalar.h"

#include <stdlib.h>
#include <signal.h>
#include <string.h>

enum { COMMANDS_MAX = 64 };

static bool is_word(const char *argument, const char *letter, const char *name)
{
    return !strcmp(argument, letter) || !strcmp(argument, name);
}

/* Whether --help is asked for: anywhere before "--", also among options that are wrong. */
static bool wants_help(int argc, char **argv)
{
    for (int i = 0; i < argc && strcmp(argv[i], "--"); ++i)
        if (is_word(argv[i], "-h", "--help"))
            return true;
    return false;
}

/* Output that did not arrive is a failure, also of --help. */
static pk_exit finish_output(pk_exit code)
{
    if (fflush(stdout) || ferror(stdout))
        return code ? code : pk_exit_report(PK_DOING_OUTPUT, pk_fail_errno(PK_IO, "standard output"));
    return code;
}

static pk_err check_operands(const pk_command *command, const pk_words *operands)
{
    if (operands->count < command->minimum)
        return pk_fail(PK_INVALID, "%s: expected %s, found %s", command->name, command->operands,
                       operands->count ? operands->items[operands->count - 1] : "nothing");
    if (operands->count > command->maximum)
        return pk_fail(PK_INVALID, "%s: \"%s\" is one argument too many, expected %s", command->name,
                       operands->items[command->maximum], *command->operands ? command->operands : "none");
    return PK_OK;
}

static pk_exit run_command(const pk_command *command, int argc, char **argv)
{
    pk_words operands = {0};
    void *values = calloc(1, command->values_bytes + 1); /* of a command without options nothing */
    if (!values)
        return pk_exit_report(PK_DOING_USAGE, pk_fail(PK_NOMEM, "no memory for the options"));
    pk_err err = pk_options_parse(command->options, argc, argv, values, &operands);
    if (!err)
        err = check_operands(command, &operands);
    pk_exit code = err ? pk_exit_report(PK_DOING_USAGE, err) : command->run(values, &operands);
    pk_options_free(command->options, values, &operands);
    free(values);
    return code;
}

/* "model" alone: the commands of two words that begin with it; "" where there are none. */
static void list_family(char *out, size_t bytes, const char *word)
{
    size_t length = strlen(word), used = 0;
    out[0] = 0;
    for (size_t i = 0; pk_commands[i] && used < bytes; ++i)
        if (!strncmp(pk_commands[i]->name, word, length) && pk_commands[i]->name[length] == ' ')
            used += (size_t)snprintf(out + used, bytes - used, "%s%s", used ? ", " : "", pk_commands[i]->name);
}

static const char *nearest_command(const char *name)
{
    const char *words[COMMANDS_MAX + 1] = {0};
    for (size_t i = 0; i < COMMANDS_MAX && pk_commands[i]; ++i)
        words[i] = pk_commands[i]->name;
    return pk_scalar_nearest(name, words);
}

/* second: the word behind it, which may be the slip: "model snyth". NULL: none. */
static pk_exit refuse_command(const char *name, const char *second)
{
    char family[256], both[64];
    list_family(family, sizeof family, name);
    snprintf(both, sizeof both, "%s %s", name, second ? second : "");
    const char *nearest = nearest_command(name), *nearest_of_two = second ? nearest_command(both) : NULL;
    if (*family || !nearest)
        nearest = nearest_of_two;
    pk_err err = nearest   ? pk_fail(PK_INVALID, "unknown command %s; did you mean %s?",
                                   nearest == nearest_of_two ? both : name, nearest)
                 : *family ? pk_fail(PK_INVALID, "%s: expected a second word, found %s; there are: %s", name,
                                     second ? second : "nothing", family)
                           : pk_fail(PK_INVALID, "unknown command %s; penstock --help lists them", name);
    return pk_exit_report(PK_DOING_USAGE, err);
}

static pk_exit dispatch(int argc, char **argv)
{
    int words = 0;
    if (!argc || is_word(argv[0], "-h", "--help")) {
        pk_command_list(stdout);
        return PK_EXIT_OK;
    }
    if (is_word(argv[0], "-V", "--version")) {
        puts("penstock " PK_VERSION);
        return PK_EXIT_OK;
    }
    const pk_command *command = pk_command_find(argc, argv, &words);
    if (!command)
        return refuse_command(argv[0], argc > 1 ? argv[1] : NULL);
    if (wants_help(argc - words, argv + words)) {
        pk_command_help(command, stdout);
        return PK_EXIT_OK;
    }
    return run_command(command, argc - words, argv + words);
}

int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN); /* a reader that is gone is an error that a command reports, not a silent end */
    return (int)finish_output(dispatch(argc - 1, argv + 1));
}
