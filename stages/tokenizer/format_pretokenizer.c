#include "stages/tokenizer/format_pretokenizer.h"

#include <string.h>

/* The members of an object; NULL for anything else. */
static const pk_json *member_of(const pk_json *value, const char *name)
{
    return value && pk_json_kind_of(value) == PK_JSON_OBJECT ? pk_json_member(value, name) : NULL;
}

static const char *string_of(const pk_json *value, const char *name)
{
    const pk_json *member = member_of(value, name);
    return member ? pk_json_string(member) : NULL;
}

const char *pk_format_type(const pk_json *value)
{
    const char *type = string_of(value, "type");
    return type ? type : "";
}

pk_err pk_format_flag(const pk_json *object, const char *key, bool absent, bool *out)
{
    const pk_json *value = member_of(object, key);
    pk_json_kind kind = value ? pk_json_kind_of(value) : absent ? PK_JSON_TRUE : PK_JSON_FALSE;
    if (kind != PK_JSON_TRUE && kind != PK_JSON_FALSE)
        return pk_fail(PK_CORRUPT, "\"%s\": expected true or false", key);
    *out = kind == PK_JSON_TRUE;
    return PK_OK;
}

pk_err pk_format_check_keys(const pk_json *object, const char *const *known)
{
    const char *key;
    const pk_json *value;
    for (void *at = NULL; pk_json_next(object, &at, &key, &value);) {
        const char *const *name = known;
        while (*name && strcmp(*name, key) != 0)
            name++;
        if (!*name)
            return pk_fail(PK_INVALID, "\"%.64s\" is not supported", key);
    }
    return PK_OK;
}

/* {"Regex": …} or {"String": …}. */
static pk_err read_pattern(pk_pretokenizer *self, pk_pretokenizer_step *step, const pk_json *pattern)
{
    const char *regex = string_of(pattern, "Regex"), *string = string_of(pattern, "String");
    if (!(regex || string) || pk_json_count(pattern) != 1)
        return pk_fail(PK_CORRUPT, "\"pattern\": expected {\"Regex\": \"…\"} or {\"String\": \"…\"}");
    if (regex)
        return pk_pretokenizer_set_pattern(self, step, regex);
    pk_text spelling = {0};
    pk_err err = pk_pattern_quote(string, &spelling);
    if (!err)
        err = pk_pattern_open(&step->pattern, &spelling);
    pk_text_fini(&spelling);
    return err;
}

static pk_err read_split(pk_pretokenizer *self, pk_pretokenizer_step *step, const pk_json *object)
{
    static const char *const known[] = {"type", "pattern", "behavior", "invert", NULL};
    const char *behavior = string_of(object, "behavior");
    bool invert = false;
    pk_err err = pk_format_check_keys(object, known);
    if (!err)
        err = pk_format_flag(object, "invert", false, &invert);
    if (err)
        return err;
    if (!behavior || (strcmp(behavior, "Isolated") != 0 && strcmp(behavior, "Removed") != 0))
        return pk_fail(PK_INVALID, "behavior \"%s\" is not supported, only Isolated and Removed",
                       behavior ? behavior : "");
    bool isolated = strcmp(behavior, "Isolated") == 0;
    step->keep_matches = isolated || invert;
    step->keep_gaps = isolated || !invert;
    return read_pattern(self, step, member_of(object, "pattern"));
}

/* Digits: each number character a piece of its own, or each run of them. */
static pk_err read_digits(pk_pretokenizer *self, pk_pretokenizer_step *step, const pk_json *object)
{
    static const char *const known[] = {"type", "individual_digits", NULL};
    bool individual = false;
    pk_err err = pk_format_check_keys(object, known);
    if (!err)
        err = pk_format_flag(object, "individual_digits", false, &individual);
    step->keep_matches = step->keep_gaps = true;
    return err ? err : pk_pretokenizer_set_pattern(self, step, individual ? "\\p{N}" : "\\p{N}+");
}

static pk_err read_byte_level(pk_pretokenizer *self, pk_pretokenizer_step *step, const pk_json *object)
{
    static const char *const known[] = {"type", "add_prefix_space", "trim_offsets", "use_regex", NULL};
    bool use_regex = true;
    pk_err err = pk_format_check_keys(object, known);
    if (!err)
        err = pk_format_flag(object, "add_prefix_space", true, &step->add_prefix_space);
    if (!err)
        err = pk_format_flag(object, "use_regex", true, &use_regex);
    step->keep_matches = step->keep_gaps = true;
    return err || !use_regex ? err : pk_pretokenizer_set_pattern(self, step, PK_CUTTER_GPT2_PATTERN);
}

/* One step. ByteLevel turns text into the byte alphabet, so it comes once, as the last; *done says that it has come. */
static pk_err read_step(pk_pretokenizer *self, const pk_json *object, bool *done)
{
    static const struct {
        const char *type;
        pk_err (*read)(pk_pretokenizer *, pk_pretokenizer_step *, const pk_json *);
    } kinds[] = {{"Split", read_split}, {"Digits", read_digits}, {"ByteLevel", read_byte_level}};
    const char *type = pk_format_type(object);
    size_t kind = 0;
    while (kind < 3 && strcmp(kinds[kind].type, type) != 0)
        kind++;
    if (kind == 3)
        return pk_fail(PK_INVALID, "type \"%s\" is not supported, only Split, Digits and ByteLevel", type);
    if (*done)
        return pk_fail(PK_INVALID, "a step after ByteLevel is not supported");
    if (self->step_count == PK_PRETOKENIZER_STEPS)
        return pk_fail(PK_INVALID, "more than %d steps are not supported", PK_PRETOKENIZER_STEPS);
    pk_pretokenizer_step *step = &self->steps[self->step_count++];
    *done = strcmp(type, "ByteLevel") == 0;
    pk_err err = kinds[kind].read(self, step, object);
    if (!err && !step->cut && !step->pattern && !step->add_prefix_space)
        self->step_count--; /* it would do nothing, for each piece */
    return err;
}

pk_err pk_format_read_pretokenizer(pk_pretokenizer *out, const pk_json *value)
{
    static const char *const known[] = {"type", "pretokenizers", NULL};
    pk_err err = PK_OK;
    bool done = false;
    if (strcmp(pk_format_type(value), "Sequence") != 0) {
        err = read_step(out, value, &done);
    } else {
        const pk_json *steps = member_of(value, "pretokenizers");
        if ((err = pk_format_check_keys(value, known)))
            return err;
        if (!steps || pk_json_kind_of(steps) != PK_JSON_ARRAY)
            return pk_fail(PK_CORRUPT, "\"pretokenizers\": expected a list");
        for (size_t i = 0; i < pk_json_count(steps) && !err; i++)
            err = pk_pass(read_step(out, pk_json_item(steps, i), &done), "step %zu", i);
    }
    if (!err && !done)
        err = pk_fail(PK_INVALID, "no ByteLevel at the end: only byte-level tokenizers are supported");
    return err;
}

/* A value of type ByteLevel, or a Sequence, under `key`, of nothing else. */
static pk_err check_byte_level(const pk_json *value, const char *name, const char *key)
{
    const char *type = pk_format_type(value);
    const pk_json *parts = strcmp(type, "Sequence") == 0 ? member_of(value, key) : NULL;
    if (!parts && strcmp(type, "ByteLevel") != 0)
        return pk_fail(PK_INVALID, "\"%s\": type \"%s\" is not supported, only ByteLevel", name, type);
    for (size_t i = 0; parts && i < pk_json_count(parts); i++) {
        const char *part = pk_format_type(pk_json_item(parts, i));
        if (pk_json_kind_of(parts) != PK_JSON_ARRAY || strcmp(part, "ByteLevel") != 0)
            return pk_fail(PK_INVALID, "\"%s\": step %zu: type \"%s\" is not supported, only ByteLevel", name, i, part);
    }
    return PK_OK;
}

/* As post-processor ByteLevel moves offsets, which nobody here asks for. */
pk_err pk_format_check_post_processor(const pk_json *value)
{
    if (!value || pk_json_kind_of(value) == PK_JSON_NULL)
        return PK_OK;
    return check_byte_level(value, "post_processor", "processors");
}

/* ByteLevel as decoder joins the tokens' bytes; its options matter to a pre-tokenizer only. */
pk_err pk_format_check_decoder(const pk_json *value)
{
    return check_byte_level(value, "decoder", "decoders");
}
