#include "stages/tokenizer/pretokenizer.h"

#include "stages/tokenizer/character.h"

#include <stdlib.h>

typedef struct {
    const pk_pretokenizer *pretokenizer;
    pk_matcher *matcher;
    pk_piece_sink sink;
    void *context;
} run;

pk_err pk_pretokenizer_set_pattern(pk_pretokenizer *pretokenizer, pk_pretokenizer_step *step, const char *pattern)
{
    pk_text spelling = {0};
    if ((step->cut = pk_cutter_for(pattern)))
        return pretokenizer->classes ? PK_OK : pk_character_classes(&pretokenizer->classes);
    pk_err err = pk_pattern_translate(pattern, &spelling);
    if (!err)
        err = pk_pattern_open(&step->pattern, &spelling);
    pk_text_fini(&spelling);
    return err;
}

static pk_err run_step(const run *self, size_t step, pk_piece piece);

/* Sends bytes [start, end) of a piece to the step, unless they are none or not wanted. */
static inline pk_err pass_on(const run *self, size_t step, pk_piece whole, size_t start, size_t end, bool keep)
{
    if (!keep || start == end)
        return PK_OK;
    pk_piece part = {whole.text + start, end - start, whole.readable - start};
    return step == self->pretokenizer->step_count ? self->sink(self->context, part) : run_step(self, step, part);
}

static pk_err cut_by_hand(const run *self, size_t step, pk_piece piece)
{
    const pk_pretokenizer_step *how = &self->pretokenizer->steps[step];
    pk_cut_text text = {self->pretokenizer->classes, (const unsigned char *)piece.text, piece.bytes};
    pk_err err = PK_OK;
    for (size_t at = 0, end; at < piece.bytes && !err; at = end) {
        end = how->cut(&text, at);
        err = pass_on(self, step + 1, piece, at, end, how->keep_matches);
    }
    return err;
}

static pk_err cut_by_pattern(const run *self, size_t step, pk_piece piece)
{
    const pk_pretokenizer_step *how = &self->pretokenizer->steps[step];
    pk_err err = PK_OK;
    size_t at = 0, start, end;

    while (at < piece.bytes) {
        err = pk_pattern_find(how->pattern, self->matcher, piece.text, piece.bytes, at, &start, &end);
        if (err)
            break;
        if ((err = pass_on(self, step + 1, piece, at, start, how->keep_gaps)))
            return err;
        if ((err = pass_on(self, step + 1, piece, start, end, how->keep_matches)))
            return err;
        at = end;
    }
    return err == PK_AGAIN || err == PK_OK ? pass_on(self, step + 1, piece, at, piece.bytes, how->keep_gaps) : err;
}

static pk_err cut(const run *self, size_t step, pk_piece piece)
{
    if (self->pretokenizer->steps[step].cut)
        return cut_by_hand(self, step, piece);
    if (self->pretokenizer->steps[step].pattern)
        return cut_by_pattern(self, step, piece);
    return pass_on(self, step + 1, piece, 0, piece.bytes, true);
}

static pk_err run_step(const run *self, size_t step, pk_piece piece)
{
    if (!self->pretokenizer->steps[step].add_prefix_space || piece.text[0] == ' ')
        return cut(self, step, piece);

    pk_text prefixed = {0};
    pk_err err = pk_text_reserve(&prefixed, piece.bytes + 1);
    if (!err && !(err = pk_text_append(&prefixed, " ", 1)) &&
        !(err = pk_text_append(&prefixed, piece.text, piece.bytes)))
        err = cut(self, step, (pk_piece){prefixed.bytes, prefixed.count, prefixed.count});
    pk_text_fini(&prefixed);
    return err;
}

pk_err pk_pretokenizer_run(const pk_pretokenizer *pretokenizer, const char *text, size_t bytes, pk_piece_sink sink,
                           void *context)
{
    run self = {.pretokenizer = pretokenizer, .sink = sink, .context = context};
    pk_err err = PK_OK;
    for (size_t i = 0; i < pretokenizer->step_count && !self.matcher && !err; i++)
        if (pretokenizer->steps[i].pattern)
            err = pk_matcher_open(&self.matcher, bytes);
    if (!err)
        err = pass_on(&self, 0, (pk_piece){text, bytes, bytes}, 0, bytes, true);
    pk_matcher_close(&self.matcher);
    return err;
}

void pk_pretokenizer_fini(pk_pretokenizer *pretokenizer)
{
    for (size_t i = 0; i < pretokenizer->step_count; i++)
        pk_pattern_close(&pretokenizer->steps[i].pattern);
    free(pretokenizer->classes);
    *pretokenizer = (pk_pretokenizer){0};
}
