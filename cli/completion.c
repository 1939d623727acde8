/* completion.c - penstock completion: a script that makes a shell complete this command. */
#include "cli/completion.h"

#include <string.h>

pk_completion_offers pk_completion_offer(const pk_option *option)
{
    const char *argument = option->argument ? option->argument : "";
    if (option->type == PK_OPTION_CHOICE)
        return PK_OFFER_WORDS;
    return !strncmp(argument, "DIR", 3)    ? PK_OFFER_FOLDERS
           : !strncmp(argument, "FILE", 4) ? PK_OFFER_FILES
                                           : PK_OFFER_NOTHING;
}

void pk_completion_words(FILE *out, const char *words)
{
    for (; *words; ++words)
        fputc(*words == '|' ? ' ' : *words, out);
}

size_t pk_completion_first(const char *name)
{
    return strcspn(name, " ");
}

bool pk_completion_begins(size_t index)
{
    const char *name = pk_commands[index]->name;
    size_t length = pk_completion_first(name);
    for (size_t i = 0; i < index; ++i)
        if (pk_completion_first(pk_commands[i]->name) == length && !strncmp(pk_commands[i]->name, name, length))
            return false;
    return true;
}

void pk_completion_first_words(FILE *out)
{
    for (size_t i = 0; pk_commands[i]; ++i)
        if (pk_completion_begins(i))
            fprintf(out, "%s%.*s", i ? " " : "", (int)pk_completion_first(pk_commands[i]->name), pk_commands[i]->name);
}

void pk_completion_families(FILE *out, const char *before, const char *between, const char *after)
{
    for (size_t i = 0; pk_commands[i]; ++i) {
        const char *name = pk_commands[i]->name, *space = "";
        size_t length = pk_completion_first(name);
        if (!name[length] || !pk_completion_begins(i))
            continue;
        fprintf(out, "%s%.*s%s", before, (int)length, name, between);
        for (size_t j = i; pk_commands[j]; ++j)
            if (!strncmp(pk_commands[j]->name, name, length + 1)) {
                fprintf(out, "%s%s", space, pk_commands[j]->name + length + 1);
                space = " ";
            }
        fputs(after, out);
    }
}

/* zsh reads bash's script, by the compatibility that it brings. */
static void put_zsh(FILE *out)
{
    fputs("#compdef penstock\nautoload -U +X bashcompinit && bashcompinit\n", out);
    pk_completion_bash(out);
}

static const struct {
    const char *name;
    void (*put)(FILE *out);
} shells[] = {{"bash", pk_completion_bash}, {"zsh", put_zsh}, {"fish", pk_completion_fish}};

static const pk_option options[] = {{0}};

static pk_exit run(const void *parsed, const pk_words *operands)
{
    const char *word = operands->items[0];
    (void)parsed;
    for (size_t i = 0; i < sizeof shells / sizeof *shells; ++i)
        if (!strcmp(shells[i].name, word)) {
            shells[i].put(stdout);
            return PK_EXIT_OK;
        }
    return pk_exit_report(PK_DOING_USAGE,
                          pk_fail(PK_INVALID, "completion: expected bash, zsh or fish, found \"%s\"", word));
}

const pk_command pk_command_completion = {
    .name = "completion",
    .group = "This command",
    .summary = "print a script that makes a shell complete this command",
    .operands = "SHELL",
    .minimum = 1,
    .maximum = 1,
    .operand_words = "bash|zsh|fish",
    .details = "SHELL is bash, zsh or fish. `cmake --install` puts each script where its shell looks for it.",
    .options = options,
    .examples = {"source <(penstock completion bash)",
                 "penstock completion fish > ~/.config/fish/completions/penstock.fish"},
    .run = run,
};
