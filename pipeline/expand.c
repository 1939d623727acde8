#include "pipeline/expand.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One ${…}: views into the text that it stands in. */
struct variable {
    const char *name, *word; /* word: default or message */
    size_t name_length, word_length;
    char form;       /* 0, '-' or '?' */
    const char *end; /* behind the brace */
};

static size_t name_length(const char *text)
{
    size_t length = 0;
    if (isdigit((unsigned char)*text))
        return 0;
    while (isalnum((unsigned char)text[length]) || text[length] == '_')
        ++length;
    return length;
}

/* `text` begins with "${". */
static pk_err parse_variable(struct variable *out, const char *text)
{
    const char *brace = strchr(text, '}');
    if (!brace)
        return pk_fail(PK_INVALID, "\"${\" without its \"}\" (write $$ for a dollar sign)");
    *out = (struct variable){.name = text + 2, .name_length = name_length(text + 2), .end = brace + 1};
    const char *rest = out->name + out->name_length;
    if (out->name_length && rest[0] == ':' && (rest[1] == '-' || rest[1] == '?')) {
        out->form = rest[1];
        out->word = rest + 2;
        out->word_length = (size_t)(brace - out->word);
    } else if (!out->name_length || rest != brace)
        return pk_fail(PK_INVALID, "\"%.*s\", expected ${VAR}, ${VAR:-default} or ${VAR:?message}",
                       (int)(out->end - text), text);
    if (out->word && memmem(out->word, out->word_length, "${", 2))
        return pk_fail(PK_INVALID, "a variable inside of ${%.*s:%c…} is not possible", (int)out->name_length, out->name,
                       out->form);
    return PK_OK;
}

/* The variable's value or default; NULL with the trail set where it has none. */
static const char *look_up(const struct variable *variable, size_t *length)
{
    char name[256];
    if (variable->name_length >= sizeof name) {
        pk_fail(PK_INVALID, "the name of a variable is longer than %zu bytes", sizeof name - 1);
        return NULL;
    }
    memcpy(name, variable->name, variable->name_length);
    name[variable->name_length] = 0;
    const char *value = getenv(name);
    if (value && (*value || !variable->form)) {
        *length = strlen(value);
        return value;
    }
    if (variable->form == '-') {
        *length = variable->word_length;
        return variable->word;
    }
    if (variable->form == '?' && variable->word_length)
        pk_fail(PK_INVALID, "%s: %.*s", name, (int)variable->word_length, variable->word);
    else
        pk_fail(PK_INVALID, "the variable %s is not set, and has no value for that: ${%s:-VALUE}", name, name);
    return NULL;
}

/* Writes what stands at *text to `out` and moves *text behind it. */
static pk_err expand_one(FILE *out, const char **text, bool *changed)
{
    struct variable variable = {0};
    size_t length = 0;
    if ((*text)[0] != '$' || ((*text)[1] != '$' && (*text)[1] != '{')) {
        fputc(*(*text)++, out);
        return PK_OK;
    }
    *changed = true;
    if ((*text)[1] == '$') {
        fputc('$', out);
        *text += 2;
        return PK_OK;
    }
    pk_err err = parse_variable(&variable, *text);
    if (err)
        return err;
    const char *value = look_up(&variable, &length);
    if (!value)
        return PK_INVALID;
    fwrite(value, 1, length, out);
    *text = variable.end;
    return PK_OK;
}

pk_err pk_expand(const char *text, char **out, bool *changed)
{
    pk_err err = PK_OK;
    size_t bytes = 0;
    *out = NULL;
    *changed = false;
    FILE *stream = open_memstream(out, &bytes);
    if (!stream)
        return pk_fail_errno(PK_NOMEM, "expand a value");
    while (!err && *text)
        err = expand_one(stream, &text, changed);
    bool failed = ferror(stream);
    if ((fclose(stream) || failed) && !err)
        err = pk_fail(PK_NOMEM, "no memory to expand a value");
    if (err) {
        free(*out);
        *out = NULL;
    }
    return err;
}

char *pk_expand_escape(const char *text)
{
    char *escaped = malloc(2 * strlen(text) + 1), *end = escaped;
    if (!escaped)
        return NULL;
    for (; *text; ++text) {
        if (*text == '$')
            *end++ = '$';
        *end++ = *text;
    }
    *end = 0;
    return escaped;
}
