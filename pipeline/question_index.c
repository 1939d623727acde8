#include "pipeline/question_index.h"

#include <stdlib.h>
#include <string.h>

struct pk_question_index {
    const pk_questions *questions;
    const pk_question **of_all, **of_one; /* the second by the document's name */
    size_t all_count, one_count;
    const pk_question **found; /* room for every question */
    bool *met;                 /* [questions] */
};

static int compare_documents(const void *left, const void *right)
{
    return strcmp((*(const pk_question *const *)left)->document, (*(const pk_question *const *)right)->document);
}

static int compare_places(const void *left, const void *right)
{
    const pk_question *a = *(const pk_question *const *)left, *b = *(const pk_question *const *)right;
    return (a > b) - (a < b);
}

static void part(pk_question_index *index)
{
    for (size_t i = 0; i < index->questions->count; i++) {
        const pk_question *question = &index->questions->items[i];
        if (question->document)
            index->of_one[index->one_count++] = question;
        else
            index->of_all[index->all_count++] = question;
    }
    qsort(index->of_one, index->one_count, sizeof *index->of_one, compare_documents);
}

pk_err pk_question_index_open(pk_question_index **out, const pk_questions *questions)
{
    static const pk_questions none = {0};
    pk_question_index *index = *out = calloc(1, sizeof *index);
    if (!index)
        return pk_fail(PK_NOMEM, "an index of questions");
    index->questions = questions ? questions : &none;
    size_t room = index->questions->count + 1;
    index->of_all = calloc(room, sizeof *index->of_all);
    index->of_one = calloc(room, sizeof *index->of_one);
    index->found = calloc(room, sizeof *index->found);
    index->met = calloc(room, sizeof *index->met);
    if (index->of_all && index->of_one && index->found && index->met) {
        part(index);
        return PK_OK;
    }
    pk_question_index_close(out);
    return pk_fail(PK_NOMEM, "an index of %zu questions", room - 1);
}

void pk_question_index_close(pk_question_index **index)
{
    pk_question_index *held = *index;
    *index = NULL;
    if (!held)
        return;
    free(held->of_all);
    free(held->of_one);
    free(held->found);
    free(held->met);
    free(held);
}

/* The first of those that are of a document not before this name. */
static size_t lower_bound(const pk_question_index *index, const char *name)
{
    size_t from = 0, end = index->one_count;
    while (from < end) {
        size_t middle = from + (end - from) / 2;
        if (strcmp(index->of_one[middle]->document, name) < 0)
            from = middle + 1;
        else
            end = middle;
    }
    return from;
}

static size_t add_those_of(pk_question_index *index, const char *name, size_t count)
{
    for (size_t i = lower_bound(index, name); i < index->one_count && !strcmp(index->of_one[i]->document, name); i++) {
        index->found[count++] = index->of_one[i];
        index->met[index->of_one[i] - index->questions->items] = true;
    }
    return count;
}

size_t pk_question_index_find(pk_question_index *index, const char *name, const pk_question *const **out)
{
    size_t count = add_those_of(index, name, 0);
    for (const char *slash = name; (slash = strchr(slash, '/'));) /* "notes/a.txt" is meant by "a.txt" too */
        count = add_those_of(index, ++slash, count);
    *out = count ? index->found : index->of_all;
    if (!count)
        return index->all_count;
    memcpy(index->found + count, index->of_all, index->all_count * sizeof *index->found);
    count += index->all_count;
    qsort(index->found, count, sizeof *index->found, compare_places);
    return count;
}

const pk_question *pk_question_index_unmet(const pk_question_index *index)
{
    for (size_t i = 0; i < index->one_count; i++)
        if (!index->met[index->of_one[i] - index->questions->items])
            return index->of_one[i];
    return NULL;
}
