/* json.h - --json, the same for all commands that report; and how such a text is sent.
 *
 * What a command prints with --json is one JSON value on stdout, with keys that docs/operations.md names and that stay
 * as they are; keys may be added. Nothing else goes to stdout. */
#ifndef PK_CLI_JSON_H
#define PK_CLI_JSON_H

#include "cli/exit.h"
#include "cli/options.h"
#include "pipeline/json_text.h"

/* The value is a bool. */
#define PK_JSON_OPTION(owner, member)                                                                                  \
    {                                                                                                                  \
        .name = "json", .type = PK_OPTION_FLAG, .group = "Output", .help = "print JSON, for programs",                 \
        PK_OPTION_INTO(owner, member)                                                                                  \
    }

/* Writes the text to stdout and frees it, in any case. */
pk_exit pk_json_print(pk_json_text *text);

#endif
