#include "stages/tokenizer/pretokenizer.h"

typedef struct {
    const pk_pretokenizer *pretokenizer;
    pk_matcher *matcher;
    pk_piece_sink sink;
    void *context;
} run;

static pk_err run_step(const run *self, size_t step, const char *text, size_t bytes);

/* Sends text[start..end) on, unless it is empty or not wanted. */
static pk_err pass_on(const run *self, size_t step, const char *text, size_t start, size_t end, bool keep)
{
    return keep && start < end ? run_step(self, step + 1, text + start, end - start) : PK_OK;
}

static pk_err cut(const run *self, size_t step, const char *text, size_t bytes)
{
    const pk_pretokenizer_step *how = &self->pretokenizer->steps[step];
    pk_err err = PK_OK;
    size_t at = 0, start, end;

    while (at < bytes) {
        err = pk_pattern_find(how->pattern, self->matcher, text, bytes, at, &start, &end);
        if (err)
            break;
        if ((err = pass_on(self, step, text, at, start, how->keep_gaps)))
            return err;
        if ((err = pass_on(self, step, text, start, end, how->keep_matches)))
            return err;
        at = end;
    }
    return err == PK_AGAIN || err == PK_OK ? pass_on(self, step, text, at, bytes, how->keep_gaps) : err;
}

static pk_err cut_or_pass(const run *self, size_t step, const char *text, size_t bytes)
{
    if (self->pretokenizer->steps[step].pattern)
        return cut(self, step, text, bytes);
    return run_step(self, step + 1, text, bytes);
}

static pk_err run_step(const run *self, size_t step, const char *text, size_t bytes)
{
    if (step == self->pretokenizer->step_count)
        return self->sink(self->context, text, bytes);
    if (!self->pretokenizer->steps[step].add_prefix_space || text[0] == ' ')
        return cut_or_pass(self, step, text, bytes);

    pk_text prefixed = {0};
    pk_err err = pk_text_reserve(&prefixed, bytes + 1);
    if (!err && !(err = pk_text_append(&prefixed, " ", 1)) && !(err = pk_text_append(&prefixed, text, bytes)))
        err = cut_or_pass(self, step, prefixed.bytes, prefixed.count);
    pk_text_fini(&prefixed);
    return err;
}

pk_err pk_pretokenizer_run(const pk_pretokenizer *pretokenizer, const char *text, size_t bytes, pk_piece_sink sink,
                           void *context)
{
    run self = {.pretokenizer = pretokenizer, .sink = sink, .context = context};
    if (bytes == 0)
        return PK_OK;
    pk_err err = pk_matcher_open(&self.matcher, bytes);
    if (!err)
        err = run_step(&self, 0, text, bytes);
    pk_matcher_close(&self.matcher);
    return err;
}

void pk_pretokenizer_fini(pk_pretokenizer *pretokenizer)
{
    for (size_t i = 0; i < pretokenizer->step_count; i++)
        pk_pattern_close(&pretokenizer->steps[i].pattern);
    *pretokenizer = (pk_pretokenizer){0};
}
