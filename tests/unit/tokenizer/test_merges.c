/* The heap of long pieces and the search of short ones, against the definition: merge the leftmost pair of lowest rank.
 */
#include "stages/tokenizer/merges.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { LETTERS = 3, MERGES = 60 };

typedef struct {
    pk_vocabulary vocabulary;
    pk_merges merges;
    pk_merge list[MERGES];
    uint32_t count;
} model;

/* Whether some token has these bytes already. */
static bool is_known(const model *self, const char *bytes, size_t count)
{
    for (size_t id = 0; id < self->vocabulary.count; id++) {
        const pk_token *token = pk_vocabulary_at(&self->vocabulary, (int64_t)id);
        if (token && token->bytes == count && !memcmp(pk_vocabulary_bytes(&self->vocabulary, token), bytes, count))
            return true;
    }
    return false;
}

/* Adds the merge of two random tokens over the letters a, b, c, unless its result is there or too long. */
static void add_random_merge(model *self)
{
    int32_t from[LETTERS + MERGES];
    size_t choices = 0;
    char bytes[64];
    for (int32_t letter = 'a'; letter < 'a' + LETTERS; letter++)
        from[choices++] = letter;
    for (uint32_t i = 0; i < self->count; i++)
        from[choices++] = self->list[i].result;
    pk_merge merge = {.left = from[(size_t)random() % choices], .right = from[(size_t)random() % choices]};
    const pk_token *left = pk_vocabulary_at(&self->vocabulary, merge.left);
    const pk_token *right = pk_vocabulary_at(&self->vocabulary, merge.right);
    size_t count = left->bytes + right->bytes;
    if (count > sizeof bytes)
        return;
    memcpy(bytes, pk_vocabulary_bytes(&self->vocabulary, left), left->bytes);
    memcpy(bytes + left->bytes, pk_vocabulary_bytes(&self->vocabulary, right), right->bytes);
    if (is_known(self, bytes, count))
        return;
    merge.rank = self->count;
    merge.result = (int32_t)(256 + self->count);
    assert_int_equal(pk_vocabulary_put(&self->vocabulary, merge.result, bytes, count, PK_TOKEN_MERGEABLE), PK_OK);
    assert_int_equal(pk_merges_add(&self->merges, merge), PK_OK);
    self->list[self->count++] = merge;
}

static void model_init(model *self)
{
    *self = (model){0};
    assert_int_equal(pk_merges_init(&self->merges, MERGES), PK_OK);
    for (int32_t byte = 0; byte < 256; byte++) {
        self->merges.byte_ids[byte] = byte;
        assert_int_equal(pk_vocabulary_put(&self->vocabulary, byte, &(char){(char)byte}, 1, PK_TOKEN_MERGEABLE), PK_OK);
    }
    for (int tries = 0; tries < 500 && self->count < MERGES; tries++)
        add_random_merge(self);
    assert_int_equal(pk_merges_finish(&self->merges), PK_OK);
}

static void model_fini(model *self)
{
    pk_vocabulary_fini(&self->vocabulary);
    pk_merges_fini(&self->merges);
}

/* The definition, without any cleverness: each merge in order of rank, leftmost first, then from the first rank again.
 */
static size_t merge_plainly(const model *self, const char *piece, size_t bytes, int32_t *ids)
{
    size_t count = bytes;
    for (size_t i = 0; i < bytes; i++)
        ids[i] = (unsigned char)piece[i];
    for (uint32_t rank = 0; rank < self->count;) {
        const pk_merge *merge = &self->list[rank++];
        for (size_t i = 0; i + 1 < count; i++)
            if (ids[i] == merge->left && ids[i + 1] == merge->right) {
                ids[i] = merge->result;
                memmove(ids + i + 1, ids + i + 2, (--count - i - 1) * sizeof *ids);
                rank = 0;
                break;
            }
    }
    return count;
}

static void every_length_merges_as_defined(void **state)
{
    (void)state;
    enum { LONGEST = 300 };
    for (unsigned seed = 1; seed <= 40; seed++) {
        model self;
        pk_merge_scratch scratch = {0};
        srandom(seed);
        model_init(&self);
        for (size_t bytes = 1; bytes <= LONGEST; bytes += bytes < 20 || (bytes > 120 && bytes < 136) ? 1 : 7) {
            char piece[LONGEST];
            int32_t expected[LONGEST];
            pk_ids ids = {0};
            for (size_t i = 0; i < bytes; i++)
                piece[i] = (char)('a' + random() % LETTERS);
            size_t count = merge_plainly(&self, piece, bytes, expected);
            assert_int_equal(pk_merges_apply(&self.merges, &self.vocabulary, &scratch, piece, bytes, &ids), PK_OK);
            if (ids.count != count || memcmp(ids.ids, expected, count * sizeof *expected) != 0)
                fail_msg("seed %u, %zu bytes: %.*s", seed, bytes, (int)bytes, piece);
            pk_ids_fini(&ids);
        }
        pk_merge_scratch_fini(&scratch);
        model_fini(&self);
    }
    printf("seeds 1 to 40\n");
}

static void a_repeated_pair_is_refused(void **state)
{
    (void)state;
    pk_merges merges = {0};
    assert_int_equal(pk_merges_init(&merges, 2), PK_OK);
    assert_int_equal(pk_merges_add(&merges, (pk_merge){.left = 1, .right = 2, .rank = 0, .result = 3}), PK_OK);
    assert_int_equal(pk_merges_add(&merges, (pk_merge){.left = 1, .right = 2, .rank = 1, .result = 4}), PK_CORRUPT);
    assert_string_equal(pk_error_text(), "the pair of merge 0 again");
    assert_int_equal(pk_merges_add(&merges, (pk_merge){.left = 1, .right = 3, .rank = 0, .result = 4}), PK_CORRUPT);
    assert_string_equal(pk_error_text(), "a second merge 0");
    pk_merges_fini(&merges);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_length_merges_as_defined),
        cmocka_unit_test(a_repeated_pair_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
