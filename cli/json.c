#include "cli/json.h"

#include <stdio.h>

pk_exit pk_json_print(pk_json_text *text)
{
    pk_err err = pk_json_text_check(text);
    if (!err && (fwrite(text->bytes, 1, text->used, stdout) != text->used || fflush(stdout)))
        err = pk_fail_errno(PK_IO, "standard output");
    pk_json_text_fini(text);
    return pk_exit_report(PK_DOING_OUTPUT, err);
}
