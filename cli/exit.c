#include "cli/exit.h"

#include <stdio.h>

pk_exit pk_exit_of(pk_doing doing, pk_err err)
{
    /* Rows: what we were doing; columns in the order of PK_ERRORS, ok first. What cannot happen is a bug: 1. */
    static const unsigned char codes[][9] = {
        /*                     OK AGAIN CLOSED INVALID CORRUPT NOMEM IO DEVICE PEER */
        [PK_DOING_USAGE] = {0, 1, 2, 2, 2, 4, 2, 1, 1},
        [PK_DOING_MODEL] = {0, 1, 1, 6, 6, 4, 6, 1, 1},
        [PK_DOING_OUTPUT] = {0, 1, 1, 2, 1, 4, 74, 1, 1},
        [PK_DOING_RUN] = {0, 1, 130, 2, 6, 4, 74, 5, 5},
    };
    return (unsigned)err < sizeof *codes ? (pk_exit)codes[doing][err] : PK_EXIT_INTERNAL;
}

/* A message may quote bytes from outside: those that would steer a terminal are not sent to it. */
static void say(const char *text)
{
    char line[PK_ERROR_TEXT_BYTES];
    snprintf(line, sizeof line, "%s", text);
    for (char *at = line; *at; ++at)
        if (((unsigned char)*at < ' ' && *at != '\n' && *at != '\t') || *at == 127)
            *at = '?';
    fprintf(stderr, "penstock: %s\n", line);
}

pk_exit pk_exit_report(pk_doing doing, pk_err err)
{
    if (err)
        say(pk_error_text());
    return pk_exit_of(doing, err);
}
