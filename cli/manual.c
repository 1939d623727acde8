/* manual.c - penstock manual: the manual page, out of the tables that the parser uses: commands, options, exit codes.
 */
#include "cli/command.h"

/* The code point of the UTF-8 character at `at`, whose bytes go to *bytes. The texts are ours and well-formed. */
static unsigned code_point(const unsigned char *at, int *bytes)
{
    *bytes = *at < 0x80 ? 1 : *at < 0xE0 ? 2 : *at < 0xF0 ? 3 : 4;
    unsigned point = *bytes == 1 ? *at : *at & (0x7Fu >> *bytes);
    for (int i = 1; i < *bytes; ++i)
        point = point << 6 | (at[i] & 0x3Fu);
    return point;
}

/* Text as roff takes it for itself: a dash stays one that can be copied, a line never begins a request. */
static void put(FILE *out, const char *text)
{
    const unsigned char *at = (const unsigned char *)text;
    for (int bytes = 0; *at; at += bytes) {
        unsigned point = code_point(at, &bytes);
        if (point == '\\')
            fputs("\\e", out);
        else if (point == '-')
            fputs("\\-", out);
        else if (point >= 0x80)
            fprintf(out, "\\[u%04X]", point);
        else if ((point == '.' || point == '\'') && (at == (const unsigned char *)text || at[-1] == '\n'))
            fprintf(out, "\\&%c", (int)point);
        else if (point == '~')
            fputs("\\(ti", out);
        else
            fputc((int)point, out);
    }
}

/* A line of its own. */
static void put_line(FILE *out, const char *text)
{
    put(out, text);
    fputc('\n', out);
}

/* .SH and .SS: quotes of the macro's are doubled, which no heading of ours needs. */
static void put_heading(FILE *out, const char *macro, const char *before, const char *text)
{
    fprintf(out, ".%s \"%s", macro, before);
    put(out, text);
    fputs("\"\n", out);
}

static void put_option(FILE *out, const pk_option *option)
{
    fputs(".TP\n", out);
    if (option->letter)
        fprintf(out, "\\fB\\-%c\\fR, ", option->letter);
    fputs("\\fB\\-\\-", out);
    put(out, option->name);
    fputs("\\fR", out);
    if (option->argument) {
        fputs(" \\fI", out);
        put(out, option->argument);
        fputs("\\fR", out);
    }
    fputc('\n', out);
    put(out, option->help);
    if (option->standard) {
        fputs(" (default: ", out);
        put(out, option->standard);
        fputc(')', out);
    }
    fputc('\n', out);
}

static void put_examples(FILE *out, const pk_command *command)
{
    fputs(".PP\nExamples:\n.PP\n.nf\n", out);
    for (size_t i = 0; i < sizeof command->examples / sizeof *command->examples; ++i) {
        fputs("    ", out);
        put_line(out, command->examples[i]);
    }
    fputs(".fi\n", out);
}

static void put_command(FILE *out, const pk_command *command)
{
    put_heading(out, "SS", "penstock ", command->name);
    fputs("\\fBpenstock ", out);
    put(out, command->name);
    fputs("\\fR", out);
    if (*command->operands) {
        fputs(" \\fI", out);
        put(out, command->operands);
        fputs("\\fR", out);
    }
    put_line(out, command->options->name ? " [OPTION…]" : "");
    fputs(".PP\n", out);
    put_line(out, command->summary);
    if (command->details) {
        fputs(".PP\n", out);
        put_line(out, command->details);
    }
    for (const pk_option *option = command->options; option->name; ++option)
        put_option(out, option);
    put_examples(out, command);
}

static void put_exits(FILE *out)
{
    fputs(".SH \"EXIT STATUS\"\n", out);
#define X(name, code, text) fprintf(out, ".TP\n%d\n", code), put_line(out, text);
    PK_EXITS(X)
#undef X
}

static void put_manual(FILE *out)
{
    fputs(".TH PENSTOCK 1 \"\" \"penstock " PK_VERSION "\" \"\"\n.SH NAME\n"
          "penstock \\- hybrid lightning\\-attention models over long documents, as a pipeline of processes\n"
          ".SH SYNOPSIS\n\\fBpenstock\\fR \\fICOMMAND\\fR [\\fIOPTION\\fR\\[u2026]]\n.SH DESCRIPTION\n"
          "Data goes to standard output, everything that is said to a person to standard error.\n"
          "\\fBpenstock\\fR \\fICOMMAND\\fR \\fB\\-\\-help\\fR says what stands here about one command.\n"
          ".SH COMMANDS\n",
          out);
    for (size_t i = 0; pk_commands[i]; ++i)
        put_command(out, pk_commands[i]);
    put_exits(out);
}

static const pk_option options[] = {{0}};

static pk_exit run(const void *parsed, const pk_words *operands)
{
    (void)parsed, (void)operands;
    put_manual(stdout);
    return PK_EXIT_OK;
}

const pk_command pk_command_manual = {
    .name = "manual",
    .group = "This command",
    .summary = "print the manual page",
    .operands = "",
    .details = "As roff, made of the tables that the commands are parsed with; it is installed as penstock(1).",
    .options = options,
    .examples = {"penstock manual | man -l -", "penstock manual > penstock.1"},
    .run = run,
};
