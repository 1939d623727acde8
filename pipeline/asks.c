#include "pipeline/asks.h"

#include "pipeline/question_index.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define DOCUMENT "{document}"
#define QUESTION "{question}"

static const char default_prompt[] = DOCUMENT "\n\n" QUESTION;

static bool is_request_file(const char *input)
{
    size_t bytes = strlen(input);
    static const char ending[] = ".jsonl";
    return bytes >= sizeof ending && !strcasecmp(input + bytes - (sizeof ending - 1), ending);
}

static pk_err collect_documents(pk_asks *asks, const pk_asks_options *options)
{
    size_t count = 0;
    const char **inputs = calloc(options->input_count, sizeof *inputs);
    if (!inputs)
        return pk_fail(PK_NOMEM, "%zu inputs", options->input_count);
    for (size_t i = 0; i < options->input_count; i++)
        if (!is_request_file(options->inputs[i]))
            inputs[count++] = options->inputs[i];
    pk_err err = pk_documents_collect(&asks->documents, inputs, count);
    free(inputs);
    return err;
}

/* The same file twice is one, as it is with documents. */
static pk_err open_file(pk_asks *asks, const char *path)
{
    pk_request_file *file = &asks->files[asks->file_count++];
    pk_err err = pk_request_file_open(file, path, &asks->generation);
    for (size_t f = 0; !err && f + 1 < asks->file_count; f++)
        if (pk_file_same(&asks->files[f].identity, &file->identity)) {
            pk_request_file_fini(file);
            asks->file_count--;
            break;
        }
    return err;
}

static pk_err open_files(pk_asks *asks, const pk_asks_options *options)
{
    pk_err err = PK_OK;
    if (!(asks->files = calloc(options->input_count, sizeof *asks->files)))
        return pk_fail(PK_NOMEM, "%zu inputs", options->input_count);
    for (size_t i = 0; !err && i < options->input_count; i++)
        if (is_request_file(options->inputs[i]))
            err = open_file(asks, options->inputs[i]);
    return err;
}

/* Takes the ask's custom_id (NULL: no memory). */
static pk_err append(pk_asks *asks, pk_ask ask)
{
    if (ask.custom_id && asks->count == asks->capacity) {
        size_t capacity = asks->capacity ? 2 * asks->capacity : 64;
        pk_ask *grown = reallocarray(asks->items, capacity, sizeof *grown);
        if (grown) {
            asks->items = grown;
            asks->capacity = capacity;
        }
    }
    if (!ask.custom_id || asks->count == asks->capacity) {
        free(ask.custom_id);
        return pk_fail(PK_NOMEM, "%zu requests", asks->count + 1);
    }
    asks->items[asks->count++] = ask;
    return PK_OK;
}

static pk_err list_document(pk_asks *asks, size_t index, pk_question_index *questions)
{
    pk_err err = PK_OK;
    const char *name = asks->documents.items[index].name;
    const pk_question *const *asked = NULL;
    size_t count = pk_question_index_find(questions, name, &asked);
    for (size_t i = 0; !err && i < count; i++) {
        pk_ask ask = {.question = asked[i], .source = index};
        if (asprintf(&ask.custom_id, "%s#%s", name, asked[i]->id) < 0)
            ask.custom_id = NULL;
        err = append(asks, ask);
    }
    return err;
}

static pk_err list_documents(pk_asks *asks)
{
    pk_question_index *questions = NULL;
    if (asks->documents.count && (!asks->questions || !asks->questions->count))
        return pk_fail(PK_INVALID, "a question is needed: -q TEXT or --questions FILE");
    pk_err err = pk_question_index_open(&questions, asks->questions);
    for (size_t d = 0; !err && d < asks->documents.count; d++)
        err = list_document(asks, d, questions);
    const pk_question *unmet = err ? NULL : pk_question_index_unmet(questions);
    if (unmet)
        err = pk_fail(PK_INVALID, "question %s is of the document %s, which is not among the inputs", unmet->id,
                      unmet->document);
    pk_question_index_close(&questions);
    return err;
}

/* What a line is called that has no name of its own: file and line. */
static pk_err name_by_place(const pk_asks *asks, pk_ask *ask)
{
    const pk_request_file *file = &asks->files[ask->source];
    free(ask->custom_id);
    if (asprintf(&ask->custom_id, "%s:%zu", file->path, file->lines[ask->line].number) >= 0)
        return PK_OK;
    ask->custom_id = NULL;
    return pk_fail(PK_NOMEM, "a custom_id");
}

static pk_err list_lines(pk_asks *asks)
{
    pk_err err = PK_OK;
    for (size_t f = 0; f < asks->file_count; f++)
        for (size_t l = 0; !err && l < asks->files[f].count; l++) {
            const char *id = asks->files[f].lines[l].custom_id;
            pk_ask ask = {.source = f, .line = l, .custom_id = id ? strdup(id) : NULL};
            if (!id)
                err = name_by_place(asks, &ask);
            if (!err)
                err = append(asks, ask);
        }
    return err;
}

/* By name, the earlier in the list first. */
static int compare_asks(const void *left, const void *right)
{
    const pk_ask *a = *(pk_ask *const *)left, *b = *(pk_ask *const *)right;
    int order = strcmp(a->custom_id, b->custom_id);
    return order ? order : (a > b) - (a < b);
}

/* Asks in the order of their names; free() it. */
static pk_ask **sorted(const pk_asks *asks)
{
    pk_ask **order = calloc(asks->count + 1, sizeof *order);
    for (size_t i = 0; order && i < asks->count; i++)
        order[i] = &asks->items[i];
    if (order)
        qsort(order, asks->count, sizeof *order, compare_asks);
    return order;
}

/* A custom_id is one request's: any later line with it fails. */
static pk_err mark_doubles(pk_asks *asks)
{
    pk_err err = PK_OK;
    pk_ask **order = sorted(asks);
    if (!order)
        return pk_fail(PK_NOMEM, "%zu requests", asks->count);
    for (size_t i = 1, first = 0; !err && i < asks->count; i++)
        if (strcmp(order[first]->custom_id, order[i]->custom_id))
            first = i;
        else if (order[i]->question) /* "a.txt" with the question "1/b.txt#1", and "a.txt#1/b.txt" */
            err = pk_fail(PK_INVALID, "two requests are called %s; give one of the questions another id",
                          order[i]->custom_id);
        else
            order[i]->doubled = true;
    free(order);
    return err;
}

static bool is_named_by_place(const pk_asks *asks, const pk_ask *ask)
{
    return !ask->question && (ask->doubled || !asks->files[ask->source].lines[ask->line].custom_id);
}

static pk_err name_doubles(pk_asks *asks)
{
    pk_err err = PK_OK;
    for (size_t i = 0; !err && i < asks->count; i++)
        if (asks->items[i].doubled)
            err = name_by_place(asks, &asks->items[i]);
    return err;
}

static pk_err lengthen(char **name)
{
    char *longer = NULL;
    if (asprintf(&longer, "%s~", *name) < 0)
        return pk_fail(PK_NOMEM, "a custom_id");
    free(*name);
    *name = longer;
    return PK_OK;
}

/* Where some request chose the place of a bad line as its custom_id, the bad line is called something else. *again:
 * that name may be another's too. */
static pk_err give_way(pk_asks *asks, bool *again)
{
    pk_err err = PK_OK;
    pk_ask **order = sorted(asks);
    *again = false;
    if (!order)
        return pk_fail(PK_NOMEM, "%zu requests", asks->count);
    for (size_t i = 1; !err && i < asks->count; i++)
        if (!strcmp(order[i - 1]->custom_id, order[i]->custom_id)) {
            *again = true;
            err = lengthen(&order[i - !is_named_by_place(asks, order[i])]->custom_id);
        }
    free(order);
    return err;
}

static pk_err part_doubles(pk_asks *asks)
{
    bool again = true;
    pk_err err = mark_doubles(asks);
    if (!err)
        err = name_doubles(asks);
    while (!err && again)
        err = give_way(asks, &again);
    return err;
}

/* Nothing that somebody said is passed over in silence. */
static pk_err check_unused(const pk_asks *asks, const pk_asks_options *options)
{
    const char *unused = options->questions     ? "the question is"
                         : options->prompt      ? "--prompt is"
                         : options->choices > 1 ? "-n is"
                                                : NULL;
    if (!unused || asks->documents.count || !asks->file_count)
        return PK_OK;
    return pk_fail(PK_INVALID,
                   "%s for documents, and none (.txt, .md) is among the inputs; a line of a request file says "
                   "its own",
                   unused);
}

static pk_err check_prompt(const char *prompt)
{
    const char *missing = !strstr(prompt, DOCUMENT) ? DOCUMENT : !strstr(prompt, QUESTION) ? QUESTION : NULL;
    return missing ? pk_fail(PK_INVALID, "the prompt file has no %s in it", missing) : PK_OK;
}

pk_err pk_asks_collect(pk_asks *out, pk_asks_options options)
{
    *out = (pk_asks){.questions = options.questions,
                     .prompt = options.prompt ? options.prompt : default_prompt,
                     .generation = *options.generation,
                     .choices = options.choices};
    pk_err err = check_prompt(out->prompt);
    if (!err)
        err = collect_documents(out, &options);
    if (!err)
        err = list_documents(out);
    if (!err)
        err = open_files(out, &options);
    if (!err)
        err = check_unused(out, &options);
    if (!err)
        err = list_lines(out);
    if (!err)
        err = part_doubles(out);
    if (!err && !out->count)
        err = pk_fail(PK_INVALID, "nothing is asked: no document (.txt, .md) and no request was found in the inputs");
    return err;
}

void pk_asks_fini(pk_asks *asks)
{
    for (size_t i = 0; i < asks->count; i++)
        free(asks->items[i].custom_id);
    free(asks->items);
    for (size_t f = 0; f < asks->file_count; f++)
        pk_request_file_fini(&asks->files[f]);
    free(asks->files);
    pk_documents_fini(&asks->documents);
    *asks = (pk_asks){0};
}

/* The prompt with its two places filled; what is filled in is not looked at again. */
static pk_err fill(pk_request_line *out, const char *prompt, const char *document, size_t bytes, const char *question)
{
    pk_json_text text = {0};
    while (*prompt) {
        size_t plain = strcspn(prompt, "{");
        pk_json_text_bytes(&text, prompt, plain);
        prompt += plain;
        if (!strncmp(prompt, DOCUMENT, strlen(DOCUMENT))) {
            out->document_begin = text.used;
            out->document_bytes = bytes;
            pk_json_text_bytes(&text, document, bytes);
            prompt += strlen(DOCUMENT);
        } else if (!strncmp(prompt, QUESTION, strlen(QUESTION))) {
            pk_json_text_bytes(&text, question, strlen(question));
            prompt += strlen(QUESTION);
        } else if (*prompt)
            pk_json_text_bytes(&text, prompt++, 1);
    }
    pk_err err = pk_json_text_check(&text);
    if (err)
        pk_json_text_fini(&text);
    out->prompt = text.bytes;
    out->prompt_bytes = text.used;
    return err;
}

static pk_err read_document(pk_asks *asks, const pk_ask *ask, pk_request_line *out, size_t *bytes,
                            char input[PK_INPUT_BYTES], const char **code)
{
    char *text = NULL;
    pk_document *document = &asks->documents.items[ask->source];
    pk_err err = pk_document_read(document, &text, bytes, code);
    pk_document_input(input, text, *bytes, *code);
    *out = (pk_request_line){.chat = true, .generation = asks->generation, .choices = asks->choices};
    if (!err)
        err = fill(out, asks->prompt, text, *bytes, ask->question->text);
    pk_document_keep(document, text, *bytes); /* for the next question */
    return err;
}

static const pk_request_place *place_of(const pk_asks *asks, const pk_ask *ask)
{
    return &asks->files[ask->source].lines[ask->line];
}

static void line_input(const pk_asks *asks, const pk_ask *ask, char input[PK_INPUT_BYTES])
{
    char text[PK_DIGEST_TEXT];
    snprintf(input, PK_INPUT_BYTES, "%s",
             ask->doubled ? PK_REQUEST_DUPLICATE : pk_digest_text(text, place_of(asks, ask)->digest));
}

static pk_err read_line(const pk_asks *asks, const pk_ask *ask, pk_request_line *out, size_t *bytes,
                        char input[PK_INPUT_BYTES], const char **code)
{
    const pk_request_file *file = &asks->files[ask->source];
    const pk_request_place *place = place_of(asks, ask);
    *out = (pk_request_line){0};
    *bytes = place->bytes;
    line_input(asks, ask, input);
    if (ask->doubled) {
        *code = PK_REQUEST_DUPLICATE;
        return pk_fail(PK_INVALID, "%s:%zu: the custom_id %s is another request's", file->path, place->number,
                       place->custom_id);
    }
    if (!(*code = place->code)) {
        pk_err err = pk_request_file_read(file, ask->line, &asks->generation, out, code);
        if (err && *code) /* it is not the line that was read: the next run sees which it is */
            snprintf(input, PK_INPUT_BYTES, "%s", *code);
        return err;
    }
    return pk_fail(PK_INVALID, "%s:%zu: %s", file->path, place->number, place->message);
}

pk_err pk_ask_read(pk_asks *asks, size_t index, pk_request_line *out, size_t *read_bytes, char input[PK_INPUT_BYTES],
                   const char **code)
{
    const pk_ask *ask = &asks->items[index];
    *code = NULL;
    *read_bytes = 0;
    return ask->question ? read_document(asks, ask, out, read_bytes, input, code)
                         : read_line(asks, ask, out, read_bytes, input, code);
}

/* A document's questions stand side by side: it is read once for all of them. */
static void look_at(pk_asks *asks, size_t source)
{
    char *text = NULL;
    size_t bytes = 0;
    const char *code = NULL;
    pk_document *document = &asks->documents.items[source];
    (void)pk_document_read(document, &text, &bytes, &code); /* a failure is its code */
    pk_document_input(asks->last_input, text, bytes, code);
    pk_document_keep(document, text, bytes);
    asks->last_source = source;
}

void pk_ask_input(pk_asks *asks, size_t index, char input[PK_INPUT_BYTES])
{
    const pk_ask *ask = &asks->items[index];
    if (!ask->question) {
        line_input(asks, ask, input);
        return;
    }
    if (!asks->last_input[0] || asks->last_source != ask->source)
        look_at(asks, ask->source);
    memcpy(input, asks->last_input, sizeof asks->last_input);
}
