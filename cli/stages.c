/* stages.c - penstock stages: the kinds of stage that a pipeline is made of. */
#include "cli/command.h"
#include "cli/json.h"
#include "pipeline/file.h"

struct values {
    bool json;
};

static const pk_option options[] = {
    PK_JSON_OPTION(struct values, json),
    {0},
};

static pk_exit print_json(void)
{
    pk_json_text text = {0};
    pk_json_text_raw(&text, "[");
    for (pk_stage_kind kind = 1; pk_stage_kind_words()[kind - 1]; ++kind) {
        pk_json_text_raw(&text,
                         "%s\n  {\"kind\": \"%s\", \"process\": \"penstock-%s\", \"about\": ", kind > 1 ? "," : "",
                         pk_stage_kind_word(kind), pk_stage_kind_word(kind));
        pk_json_text_word(&text, pk_stage_kind_about(kind));
        pk_json_text_raw(&text, "}");
    }
    pk_json_text_raw(&text, "\n]\n");
    return pk_json_print(&text);
}

static pk_exit run(const void *parsed, const pk_words *operands)
{
    const struct values *values = parsed;
    (void)operands;
    if (values->json)
        return print_json();
    for (pk_stage_kind kind = 1; pk_stage_kind_words()[kind - 1]; ++kind)
        printf("%-12s %s\n", pk_stage_kind_word(kind), pk_stage_kind_about(kind));
    return PK_EXIT_OK;
}

const pk_command pk_command_stages = {
    .name = "stages",
    .group = "Pipelines",
    .summary = "the kinds of stage that a pipeline is made of",
    .operands = "",
    .details = "In the order in which a document passes them. `penstock inspect KIND` says more about one.",
    .options = options,
    .values_bytes = sizeof(struct values),
    .examples = {"penstock stages", "penstock stages --json"},
    .run = run,
};
