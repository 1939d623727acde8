/* inspect.c - penstock inspect: what a pipeline file may say about a kind of stage, or in one of its other maps.
 *
 * The same table that the reader of pipeline files checks against (pipeline/keys.h), so that it cannot say otherwise.
 */
#include "cli/command.h"
#include "cli/json.h"
#include "pipeline/keys.h"
#include "pipeline/scalar.h"

#include <string.h>

enum { SUBJECTS_MAX = 64 };

#define KIND_WORD(name, code, word, text) word "|"

struct values {
    bool json;
};

static const pk_option options[] = {
    PK_JSON_OPTION(struct values, json),
    {0},
};

/* The maps of a pipeline file that are no stage. */
static const struct {
    const char *word, *about;
    pk_section section;
} maps[] = {
    {"pipeline", "the pipeline file itself", PK_SECTION_TOP},
    {"limits", "how much is under way at one time", PK_SECTION_LIMITS},
    {"generation", "how answers are sampled", PK_SECTION_GENERATION},
};
enum { MAPS = sizeof maps / sizeof *maps };

/* What is inspected: a kind of stage, or another map. */
struct subject {
    const char *word, *about;
    pk_section section;
    pk_stage_kind kind;
};

static bool find(const char *word, struct subject *out)
{
    for (size_t i = 0; i < MAPS; ++i)
        if (!strcmp(maps[i].word, word)) {
            *out = (struct subject){.word = maps[i].word, .about = maps[i].about, .section = maps[i].section};
            return true;
        }
    for (pk_stage_kind kind = 1; pk_stage_kind_words()[kind - 1]; ++kind)
        if (!strcmp(pk_stage_kind_word(kind), word)) {
            *out = (struct subject){.word = pk_stage_kind_word(kind),
                                    .about = pk_stage_kind_about(kind),
                                    .section = PK_SECTION_STAGE,
                                    .kind = kind};
            return true;
        }
    return false;
}

static pk_exit refuse(const char *word)
{
    const char *words[SUBJECTS_MAX + 1] = {0};
    size_t count = 0;
    for (const char *const *kind = pk_stage_kind_words(); *kind && count < SUBJECTS_MAX - MAPS; ++kind)
        words[count++] = *kind;
    for (size_t i = 0; i < MAPS; ++i)
        words[count++] = maps[i].word;
    const char *nearest = pk_scalar_nearest(word, words);
    return pk_exit_report(PK_DOING_USAGE,
                          nearest ? pk_fail(PK_INVALID, "unknown kind of stage %s; did you mean %s?", word, nearest)
                                  : pk_fail(PK_INVALID, "unknown kind of stage %s; penstock stages lists them", word));
}

static pk_exit print_json(const struct subject *subject)
{
    pk_json_text text = {0};
    pk_key_about key;
    pk_json_text_raw(&text, "{\n  \"%s\": \"%s\",\n  \"about\": ", subject->kind ? "kind" : "map", subject->word);
    pk_json_text_word(&text, subject->about);
    if (subject->kind)
        pk_json_text_raw(&text, ",\n  \"process\": \"penstock-%s\"", subject->word);
    pk_json_text_raw(&text, ",\n  \"keys\": [");
    for (size_t i = 0; pk_key_about_at(subject->section, subject->kind, i, &key); ++i) {
        pk_json_text_raw(&text, "%s\n    {\"name\": \"%s\", \"type\": ", i ? "," : "", key.name);
        pk_json_text_word(&text, key.type);
        pk_json_text_raw(&text, ", \"default\": ");
        if (key.standard)
            pk_json_text_word(&text, key.standard);
        else
            pk_json_text_raw(&text, "null");
        pk_json_text_raw(&text, ", \"about\": ");
        pk_json_text_word(&text, key.about);
        pk_json_text_raw(&text, "}");
    }
    pk_json_text_raw(&text, "\n  ]\n}\n");
    return pk_json_print(&text);
}

static void print_text(const struct subject *subject)
{
    pk_key_about key;
    printf("%s: %s\n", subject->word, subject->about);
    if (subject->kind)
        printf("process: penstock-%s\n", subject->word);
    for (size_t i = 0; pk_key_about_at(subject->section, subject->kind, i, &key); ++i)
        printf("\n  %s: %s%s%s\n      %s\n", key.name, key.type, key.standard ? "; default: " : "; must be said",
               key.standard ? key.standard : "", key.about);
}

static pk_exit run(const void *parsed, const pk_words *operands)
{
    const struct values *values = parsed;
    struct subject subject;
    if (!find(operands->items[0], &subject))
        return refuse(operands->items[0]);
    if (values->json)
        return print_json(&subject);
    print_text(&subject);
    return PK_EXIT_OK;
}

const pk_command pk_command_inspect = {
    .name = "inspect",
    .group = "Pipelines",
    .summary = "what a pipeline file may say about a kind of stage: keys, types, defaults",
    .operands = "KIND",
    .minimum = 1,
    .maximum = 1,
    .operand_words = PK_STAGE_KINDS(KIND_WORD) "pipeline|limits|generation",
    .details = "KIND is a kind of stage (`penstock stages` lists them), or one of the other maps of a pipeline file:\n"
               "pipeline, limits, generation.",
    .options = options,
    .values_bytes = sizeof(struct values),
    .examples = {"penstock inspect layers", "penstock inspect limits --json"},
    .run = run,
};
