#define PCRE2_CODE_UNIT_WIDTH 8
#include "stages/tokenizer/pattern.h"

#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

enum {
    STEPS_AT_LEAST = 10 * 1000 * 1000, /* PCRE2's own default */
    STEPS_A_BYTE = 8,                  /* known patterns take about two for each byte of one run */
    JIT_STACK_BYTES = 1 << 20, /* known patterns need next to nothing; the default of 32 KiB is on the C stack */
};

struct pk_pattern {
    pcre2_code *code;
};

struct pk_matcher {
    pcre2_match_data *data;
    pcre2_match_context *context;
    pcre2_jit_stack *stack;
};

pk_err pk_pattern_open(pk_pattern **out, const pk_text *spelling)
{
    pk_err err = PK_OK;
    int code = 0;
    size_t offset = 0;
    uint32_t matches_empty = 0;
    pk_pattern *self = calloc(1, sizeof *self);
    if (!self)
        return pk_fail(PK_NOMEM, "no memory for a pattern");

    self->code = pcre2_compile((PCRE2_SPTR)spelling->bytes, spelling->count,
                               PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &code, &offset, NULL);
    if (!self->code) {
        PCRE2_UCHAR text[256];
        pcre2_get_error_message(code, text, sizeof text);
        err = pk_fail(PK_INVALID, "not a pattern: %s, at byte %zu of %.*s", (const char *)text, offset,
                      (int)(spelling->count < 200 ? spelling->count : 200), spelling->bytes);
        goto out;
    }
    pcre2_pattern_info(self->code, PCRE2_INFO_MATCHEMPTY, &matches_empty);
    if (matches_empty) {
        err = pk_fail(PK_INVALID, "a pattern that can match nothing at all is not supported");
        goto out;
    }
    /* Where there is no JIT, or memory may not be made executable, the interpreter gives the same matches. */
    (void)pcre2_jit_compile(self->code, PCRE2_JIT_COMPLETE);
    *out = self;
    self = NULL;
out:
    pk_pattern_close(&self);
    return err;
}

void pk_pattern_close(pk_pattern **pattern)
{
    if (!*pattern)
        return;
    pcre2_code_free((*pattern)->code);
    free(*pattern);
    *pattern = NULL;
}

static uint32_t steps_for(size_t bytes)
{
    return bytes > (UINT32_MAX - STEPS_AT_LEAST) / STEPS_A_BYTE ? UINT32_MAX
                                                                : (uint32_t)(STEPS_AT_LEAST + STEPS_A_BYTE * bytes);
}

pk_err pk_matcher_open(pk_matcher **out, size_t bytes)
{
    pk_matcher *self = calloc(1, sizeof *self);
    if (self) {
        self->data = pcre2_match_data_create(1, NULL);
        self->context = pcre2_match_context_create(NULL);
        self->stack = pcre2_jit_stack_create(32 << 10, JIT_STACK_BYTES, NULL); /* NULL where there is no JIT */
    }
    if (!self || !self->data || !self->context) {
        pk_matcher_close(&self);
        return pk_fail(PK_NOMEM, "no memory to match patterns");
    }
    pcre2_set_match_limit(self->context, steps_for(bytes));
    if (self->stack)
        pcre2_jit_stack_assign(self->context, NULL, self->stack);
    *out = self;
    return PK_OK;
}

void pk_matcher_close(pk_matcher **matcher)
{
    pk_matcher *self = *matcher;
    if (!self)
        return;
    if (self->data)
        pcre2_match_data_free(self->data);
    if (self->context)
        pcre2_match_context_free(self->context);
    if (self->stack)
        pcre2_jit_stack_free(self->stack);
    free(self);
    *matcher = NULL;
}

pk_err pk_pattern_find(const pk_pattern *pattern, pk_matcher *matcher, const char *text, size_t bytes, size_t from,
                       size_t *start, size_t *end)
{
    int found =
        pcre2_match(pattern->code, (PCRE2_SPTR)text, bytes, from, PCRE2_NO_UTF_CHECK, matcher->data, matcher->context);
    if (found == PCRE2_ERROR_NOMATCH)
        return PK_AGAIN;
    if (found < 0) {
        PCRE2_UCHAR message[256];
        pcre2_get_error_message(found, message, sizeof message);
        return pk_fail(found == PCRE2_ERROR_NOMEMORY ? PK_NOMEM : PK_INVALID,
                       "the pre-tokenizer's pattern fails on this text: %s", (const char *)message);
    }
    const size_t *range = pcre2_get_ovector_pointer(matcher->data);
    *start = range[0];
    *end = range[1];
    return PK_OK;
}
