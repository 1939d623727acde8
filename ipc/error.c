#include "ipc/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static _Thread_local char trail[PK_ERROR_TEXT_BYTES];

/* Formats into `out`; a message that does not fit is cut. */
static void format_message(char out[PK_ERROR_TEXT_BYTES], const char *format, va_list arguments)
{
    if (vsnprintf(out, PK_ERROR_TEXT_BYTES, format, arguments) < 0)
        snprintf(out, PK_ERROR_TEXT_BYTES, "(unprintable message)");
}

/* Words from outside end up in messages, and messages on terminals: a file must not speak to them. C1 controls are
 * U+0080 … U+009F, two bytes in UTF-8. */
static void make_printable(char *text)
{
    for (unsigned char *at = (unsigned char *)text; *at; at++) {
        if (*at == 0xc2 && (at[1] & 0xe0) == 0x80)
            at[0] = at[1] = '?';
        else if (*at < 0x20 || *at == 0x7f)
            *at = '?';
    }
}

pk_err pk_fail(pk_err err, const char *format, ...)
{
    char message[PK_ERROR_TEXT_BYTES]; /* an argument may be the trail itself */
    va_list arguments;
    va_start(arguments, format);
    format_message(message, format, arguments);
    va_end(arguments);
    make_printable(message);
    memcpy(trail, message, strlen(message) + 1);
    return err;
}

pk_err pk_fail_errno(pk_err err, const char *format, ...)
{
    int cause = errno;
    char message[PK_ERROR_TEXT_BYTES];
    va_list arguments;
    va_start(arguments, format);
    format_message(message, format, arguments);
    va_end(arguments);
    return pk_fail(err, "%s: %s", message, strerror(cause));
}

pk_err pk_pass(pk_err err, const char *format, ...)
{
    if (err == PK_OK)
        return PK_OK;
    char message[PK_ERROR_TEXT_BYTES];
    va_list arguments;
    va_start(arguments, format);
    format_message(message, format, arguments);
    va_end(arguments);
    return pk_fail(err, "%s: %s", message, trail);
}

const char *pk_error_text(void)
{
    return trail;
}

const char *pk_err_name(pk_err err)
{
    static const char *const names[] = {
#define X(name, code, text) [code] = #name,
        PK_ERRORS(X)
#undef X
    };
    return (unsigned)err < sizeof names / sizeof *names ? names[err] : "?";
}
