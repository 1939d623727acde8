/* completion_bash.c - the completion of bash: a function that looks at the words so far. */
#include "cli/completion.h"

static void put_bash_value(FILE *out, const pk_command *command, const pk_option *option)
{
    fprintf(out, "    \"%s --%s\"", command->name, option->name);
    if (option->letter)
        fprintf(out, " | \"%s -%c\"", command->name, option->letter);
    switch (pk_completion_offer(option)) {
    case PK_OFFER_NOTHING:
        fputs(") return ;;\n", out);
        return;
    case PK_OFFER_FILES:
        fputs(") _penstock_paths -f; return ;;\n", out);
        return;
    case PK_OFFER_FOLDERS:
        fputs(") _penstock_paths -d; return ;;\n", out);
        return;
    case PK_OFFER_WORDS:
        fputs(") _penstock_words \"", out);
        pk_completion_words(out, option->argument);
        fputs("\"; return ;;\n", out);
        return;
    }
}

static void put_bash_command(FILE *out, const pk_command *command)
{
    fprintf(out, "    \"%s -\"*) _penstock_words \"--help", command->name);
    for (const pk_option *option = command->options; option->name; ++option)
        fprintf(out, " --%s", option->name);
    fputs("\" ;;\n", out);
    if (command->operand_words) {
        fprintf(out, "    \"%s \"*) _penstock_words \"", command->name);
        pk_completion_words(out, command->operand_words);
        fputs("\" ;;\n", out);
    } else if (command->maximum)
        fprintf(out, "    \"%s \"*) _penstock_paths -f ;;\n", command->name);
}

void pk_completion_bash(FILE *out)
{
    fputs("# Completion of penstock for bash; made by `penstock completion bash`.\n"
          "_penstock_words() { COMPREPLY=($(compgen -W \"$1\" -- \"$current\")); }\n"
          "_penstock_paths() {\n"
          "    local IFS=$'\\n'\n"
          "    compopt -o filenames 2>/dev/null\n"
          "    COMPREPLY=($(compgen \"$1\" -- \"$current\"))\n"
          "}\n"
          "_penstock() {\n"
          "    local current=$2 previous=$3 command=${COMP_WORDS[1]}\n"
          "    COMPREPLY=()\n"
          "    # --name=value comes as three words\n"
          "    if [ \"$current\" = = ]; then current=\n"
          "    elif [ \"$previous\" = = ]; then previous=${COMP_WORDS[COMP_CWORD - 2]}; fi\n"
          "    if [ \"$COMP_CWORD\" -eq 1 ]; then\n"
          "        _penstock_words \"--help --version ",
          out);
    pk_completion_first_words(out);
    fputs("\"\n        return\n    fi\n    case $command in\n", out);
    pk_completion_families(out, "    ", ") [ \"$COMP_CWORD\" -gt 2 ] || { _penstock_words \"",
                           "\"; return; }\n        command=\"$command ${COMP_WORDS[2]}\" ;;\n");
    fputs("    esac\n    case \"$command $previous\" in\n", out);
    for (size_t i = 0; pk_commands[i]; ++i)
        for (const pk_option *option = pk_commands[i]->options; option->name; ++option)
            if (option->type != PK_OPTION_FLAG)
                put_bash_value(out, pk_commands[i], option);
    fputs("    esac\n    case \"$command $current\" in\n", out);
    for (size_t i = 0; pk_commands[i]; ++i)
        put_bash_command(out, pk_commands[i]);
    fputs("    esac\n}\ncomplete -F _penstock penstock\n", out);
}
