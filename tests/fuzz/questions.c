/* A file of questions, in any of its three forms. */
#include "fuzz.h"
#include "ipc/utf8.h"
#include "pipeline/question_index.h"

#include <string.h>

static void check_word(const char *word)
{
    MUST(!word || (*word && pk_utf8_check(word, strlen(word), NULL)));
}

/* Each is asked of the document that it names, and of no other. */
static void check_index(const pk_questions *questions)
{
    pk_question_index *index = NULL;
    const pk_question *const *found = NULL;
    MUST(pk_question_index_open(&index, questions) == PK_OK);
    size_t of_all = pk_question_index_find(index, "", &found);
    for (size_t q = 0; q < questions->count && q < 64; q++) {
        const pk_question *question = &questions->items[q];
        size_t count = pk_question_index_find(index, question->document ? question->document : "", &found), i = 0;
        while (i < count && found[i] != question)
            i++;
        MUST(i < count && count >= of_all);
    }
    pk_question_index_close(&index);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    pk_questions questions;
    pk_err err = pk_questions_read(&questions, fuzz_file(data, size));
    if (err)
        fuzz_refused(err);
    else {
        MUST(questions.count > 0);
        check_index(&questions);
    }
    for (size_t i = 0; i < questions.count; i++) {
        const pk_question *question = &questions.items[i];
        MUST(question->id && question->text && strlen(question->id) < PK_QUESTION_ID_BYTES);
        check_word(question->id);
        check_word(question->text);
        check_word(question->answer);
        check_word(question->document);
    }
    pk_questions_fini(&questions);
    return 0;
}
