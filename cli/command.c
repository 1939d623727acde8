#include "cli/command.h"

#include <stdbool.h>
#include <string.h>

extern const pk_command pk_command_run, pk_command_ps, pk_command_top, pk_command_logs, pk_command_jobs,
    pk_command_drain, pk_command_stop, pk_command_debug_reset, pk_command_report, pk_command_check, pk_command_plan,
    pk_command_graph, pk_command_stages, pk_command_inspect, pk_command_doctor, pk_command_tokenize, pk_command_logits,
    pk_command_model_inspect, pk_command_model_verify, pk_command_model_synth, pk_command_model_quantize,
    pk_command_manual, pk_command_completion;

const pk_command *const pk_commands[] = {
    &pk_command_run,
    &pk_command_ps,
    &pk_command_top,
    &pk_command_logs,
    &pk_command_jobs,
    &pk_command_drain,
    &pk_command_stop,
    &pk_command_debug_reset,
    &pk_command_report,
    &pk_command_check,
    &pk_command_plan,
    &pk_command_graph,
    &pk_command_stages,
    &pk_command_inspect,
    &pk_command_doctor,
    &pk_command_tokenize,
    &pk_command_logits,
    &pk_command_model_inspect,
    &pk_command_model_verify,
    &pk_command_model_synth,
    &pk_command_model_quantize,
    &pk_command_manual,
    &pk_command_completion,
    NULL,
};

/* How many of argv's first words are the command's name, all of it; 0: it is another command. */
static int match(const char *name, int argc, char **argv)
{
    int words = 0;
    for (; words < argc; ++words) {
        size_t length = strlen(argv[words]);
        if (strncmp(name, argv[words], length) || (name[length] && name[length] != ' '))
            return 0;
        if (!name[length])
            return words + 1;
        name += length + 1;
    }
    return 0;
}

const pk_command *pk_command_find(int argc, char **argv, int *words)
{
    for (size_t i = 0; pk_commands[i]; ++i)
        if ((*words = match(pk_commands[i]->name, argc, argv)))
            return pk_commands[i];
    return NULL;
}

static bool group_begins(size_t at)
{
    for (size_t i = 0; i < at; ++i)
        if (!strcmp(pk_commands[i]->group, pk_commands[at]->group))
            return false;
    return true;
}

void pk_command_list(FILE *out)
{
    fputs("penstock " PK_VERSION
          " - hybrid lightning-attention models over long documents, as a pipeline of processes\n"
          "\nusage: penstock COMMAND [OPTION…]\n",
          out);
    for (size_t first = 0; pk_commands[first]; ++first) {
        if (!group_begins(first))
            continue;
        fprintf(out, "\n%s:\n", pk_commands[first]->group);
        for (size_t i = first; pk_commands[i]; ++i)
            if (!strcmp(pk_commands[i]->group, pk_commands[first]->group))
                fprintf(out, "  %-14s %s\n", pk_commands[i]->name, pk_commands[i]->summary);
    }
    fputs("\npenstock COMMAND --help says more about one; penstock --version prints the version\n", out);
}

void pk_command_help(const pk_command *command, FILE *out)
{
    fprintf(out, "penstock %s - %s\n\nusage: penstock %s%s%s [OPTION…]\n", command->name, command->summary,
            command->name, *command->operands ? " " : "", command->operands);
    if (command->details)
        fprintf(out, "\n%s\n", command->details);
    pk_options_print(command->options, out);
    fprintf(out, "\nExamples:\n  %s\n  %s\n", command->examples[0], command->examples[1]);
}
