#include "pipeline/keys.h"

#include "loader/config.h"
#include "pipeline/expand.h"
#include "pipeline/scalar.h"

#include <float.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum { KEYS_MAX = 16, LIST_BYTES = 256 };

/* Which stages take a key: a bit for each kind. */
#define KIND(kind) (1u << PK_STAGE_##kind)
#define COMPUTING  (KIND(LAYERS) | KIND(HEAD))
#define ANY_KIND   (KIND(TOKENIZE) | KIND(LAYERS) | KIND(HEAD) | KIND(DETOKENIZE))

struct key;
typedef pk_err take_value(const struct key *key, const pk_value *value, void *field);

struct key {
    const char *name;
    take_value *take; /* NULL: not a plain value, see shape; a key of later versions has neither */
    size_t offset;    /* of the field in the section's struct */
    uint64_t minimum, maximum;
    unsigned kinds;
    pk_key_shape shape;
    bool later;           /* the design has it, this version has not */
    const char *type;     /* as a person says it; NULL: a whole number from minimum to maximum */
    const char *standard; /* what is decided where nothing is said; NULL: it must be said */
    const char *about;    /* a sentence without a full stop */
};

static take_value take_version, take_model, take_u32, take_u64, take_temperature, take_top_p, take_min_p;
static take_value take_name, take_kind, take_layers, take_device, take_io;

static const struct key top_keys[] = {
    {.name = "version", .take = take_version, .type = "1", .about = "the version of this format"},
    {.name = "model",
     .take = take_model,
     .offset = offsetof(pk_pipeline, model),
     .type = "directory",
     .about = "a checkpoint as published on the Hub; -m says it on the command line"},
    {.name = "limits",
     .shape = PK_KEY_MAP,
     .type = "map",
     .standard = "as each key says",
     .about = "how much is under way at one time"},
    {.name = "generation",
     .shape = PK_KEY_MAP,
     .type = "map",
     .standard = "as each key says",
     .about = "how answers are sampled"},
    {.name = "stages",
     .shape = PK_KEY_LIST,
     .type = "list of maps",
     .standard = "made for this machine",
     .about = "one entry for each process"},
    {.name = "numeric", .later = true},
    {.name = "snapshots", .later = true},
    {.name = "restart", .later = true},
    {.name = "launch", .later = true},
    {.name = "hosts", .later = true},
    {0},
};

#define LIMIT(member, most, decided, sentence)                                                                         \
    {                                                                                                                  \
        .name = #member, .take = take_u32, .offset = offsetof(pk_limits, member), .minimum = 1, .maximum = (most),     \
        .standard = decided, .about = sentence                                                                         \
    }
/* Beats come every second: a shorter wait would find everybody silent. */
#define DEADLINE(member, decided, sentence)                                                                            \
    {                                                                                                                  \
        .name = #member, .take = take_u32, .offset = offsetof(pk_limits, member), .minimum = 2,                        \
        .maximum = PK_LIMIT_SECONDS, .standard = decided, .about = sentence                                            \
    }

static const struct key limit_keys[] = {
    LIMIT(context, PK_LIMIT_CONTEXT, "the model's, 262144 or what fits, whichever is least",
          "tokens of one sequence, prompt and answer together"),
    LIMIT(batch_rows, PK_LIMIT_BATCH_ROWS, "chosen by predicted time",
          "rows (tokens) of one batch, so the longest chunk of a prompt"),
    LIMIT(sequences, PK_LIMIT_SEQUENCES, "16", "sequences alive at one time; each has a state slot"),
    LIMIT(window, PK_LIMIT_WINDOW, "2 x (layers stages + 1) + 1", "batches inside the stages at one time"),
    DEADLINE(silent_seconds, "10", "without a beat (one comes every second): the stage has failed"),
    DEADLINE(hung_seconds, "30", "without a finished piece of work while it does not wait for one: the stage has failed"),
    {0},
};

static const struct key generation_keys[] = {
    {.name = "max_tokens",
     .take = take_u32,
     .offset = offsetof(pk_generation, max_tokens),
     .minimum = 1,
     .maximum = PK_LIMIT_CONTEXT,
     .standard = "512",
     .about = "tokens of one answer"},
    {.name = "temperature",
     .take = take_temperature,
     .offset = offsetof(pk_generation, temperature),
     .type = "0 to 100",
     .standard = "0",
     .about = "0: the best token each time (greedy)"},
    {.name = "top_p",
     .take = take_top_p,
     .offset = offsetof(pk_generation, top_p),
     .type = "above 0, at most 1",
     .standard = "1",
     .about = "draw from the most likely tokens that together have this probability; 1: from all"},
    {.name = "top_k",
     .take = take_u32,
     .offset = offsetof(pk_generation, top_k),
     .maximum = INT32_MAX,
     .standard = "0",
     .about = "draw from this many of the most likely tokens; 0: from all"},
    {.name = "min_p",
     .take = take_min_p,
     .offset = offsetof(pk_generation, min_p),
     .type = "0 to 1",
     .standard = "0",
     .about = "draw from the tokens at least this likely, as a part of the likeliest; 0: from all"},
    {.name = "seed",
     .take = take_u64,
     .offset = offsetof(pk_generation, seed),
     .maximum = UINT64_MAX,
     .standard = "0",
     .about = "of the draws at a temperature above 0"},
    {.name = "stop", .later = true},
    {.name = "think_budget", .later = true},
    {.name = "repetition_stop", .later = true},
    {0},
};

static const struct key stage_keys[] = {
    {.name = "name",
     .take = take_name,
     .offset = offsetof(pk_stage_spec, name),
     .kinds = ANY_KIND,
     .type = "1 to 32 of a-z, 0-9 and -",
     .standard = "the kind; of a layers stage layers-FIRST-LAST",
     .about = "what logs, tables and ps call it; no two stages share one"},
    {.name = "kind",
     .take = take_kind,
     .offset = offsetof(pk_stage_spec, kind),
     .kinds = ANY_KIND,
     .type = "a stage kind",
     .about = "what the process does; `penstock stages` lists the kinds"},
    {.name = "layers",
     .take = take_layers,
     .kinds = KIND(LAYERS),
     .type = "FIRST-LAST or one number",
     .about = "the layers that it holds, from 0; each of the model's in exactly one stage"},
    {.name = "threads",
     .take = take_u32,
     .offset = offsetof(pk_stage_spec, threads),
     .minimum = 1,
     .maximum = PK_LIMIT_THREADS,
     .kinds = COMPUTING,
     .standard = "cores / layers stages, at least 1",
     .about = "threads that compute"},
    {.name = "device",
     .take = take_device,
     .offset = offsetof(pk_stage_spec, device),
     .kinds = COMPUTING,
     .type = "cpu, cpu:plain, cpu:avx2 or cpu:avx512",
     .standard = "cpu",
     .about = "where it computes; cpu is the fastest that this processor runs"},
    {.name = "io",
     .take = take_io,
     .offset = offsetof(pk_stage_spec, io),
     .kinds = COMPUTING,
     .type = "auto, uring or pread",
     .standard = "auto",
     .about = "how it reads weights; auto is io_uring, or pread with a warning where that is forbidden"},
    {.name = "on", .later = true},
    {.name = "experts", .later = true},
    {.name = "replicas", .later = true},
    {.name = "memory", .later = true},
    {.name = "match", .later = true},
    {.name = "run", .later = true},
    {.name = "after", .later = true},
    {.name = "before", .later = true},
    {.name = "tee", .later = true},
    {0},
};

static const struct key *section_keys(pk_section section)
{
    static const struct key *const sections[] = {
        [PK_SECTION_TOP] = top_keys,
        [PK_SECTION_LIMITS] = limit_keys,
        [PK_SECTION_GENERATION] = generation_keys,
        [PK_SECTION_STAGE] = stage_keys,
    };
    return sections[section];
}

/* By code, from 1; ended by NULL. */
static const char *const kind_words[] = {
    "?",
#define X(name, code, word, text) [code] = word,
    PK_STAGE_KINDS(X)
#undef X
        NULL,
};

/* What the design has besides. */
static const char *const later_kinds[] = {"experts", "filter", "verify", "judge", "program", NULL};

const char *const *pk_stage_kind_words(void)
{
    return kind_words + 1;
}

const char *pk_stage_kind_about(pk_stage_kind kind)
{
    static const char *const texts[] = {
#define X(name, code, word, text) [code] = text,
        PK_STAGE_KINDS(X)
#undef X
    };
    return texts[kind];
}

const char *pk_stage_kind_word(pk_stage_kind kind)
{
    return (unsigned)kind < sizeof kind_words / sizeof *kind_words - 1 ? kind_words[kind] : "?";
}

static const char *const io_words[] = {
#define X(name, code, word) [code] = word,
    PK_STAGE_IOS(X)
#undef X
        NULL,
};

const char *pk_stage_io_word(pk_stage_io io)
{
    return (unsigned)io < sizeof io_words / sizeof *io_words - 1 ? io_words[io] : "?";
}

/* Words of a file come into messages: what would steer a terminal does not. */
static void blank_controls(char *text)
{
    for (; *text; ++text)
        if ((unsigned char)*text < ' ' || *text == 127)
            *text = '?';
}

pk_err pk_place_fail(const pk_place *place, const char *format, ...)
{
    char message[PK_ERROR_TEXT_BYTES], path[PK_ERROR_TEXT_BYTES / 4];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    snprintf(path, sizeof path, "%s", place->path);
    blank_controls(message);
    blank_controls(path);
    if (!place->line)
        return pk_fail(PK_INVALID, "%s %s: %s", place->source, path, message);
    return pk_fail(PK_INVALID, "%s:%u:%u: %s: %s", place->source, place->line, place->column, path, message);
}

/* "a, b or c", cut where it would not fit. */
static void join_words(char out[LIST_BYTES], const char *const *words)
{
    size_t length = 0;
    out[0] = 0;
    for (size_t i = 0; words[i] && length < LIST_BYTES; ++i)
        length += (size_t)snprintf(out + length, LIST_BYTES - length, "%s%s",
                                   !i             ? ""
                                   : words[i + 1] ? ", "
                                                  : " or ",
                                   words[i]);
}

/* Refuses a word that is none of `words`. */
static pk_err refuse_unknown(const pk_place *place, const char *what, const char *found, const char *const *words)
{
    char list[LIST_BYTES];
    const char *nearest = pk_scalar_nearest(found, words);
    join_words(list, words);
    if (nearest)
        return pk_place_fail(place, "%s, expected %s; did you mean \"%s\"?", what, list, nearest);
    return pk_place_fail(place, "%s, expected %s", what, list);
}

/* What was found, for a message. */
#define FOUND(value)                                                                                                   \
    (*(value)->text ? "\"" : ""), (*(value)->text ? (value)->text : "nothing"), (*(value)->text ? "\"" : "")
#define FOUND_FORMAT "found %s%.64s%s"

static pk_err take_version(const struct key *key, const pk_value *value, void *field)
{
    uint64_t version = 0;
    (void)key, (void)field;
    if (value->quoted || !pk_scalar_whole(value->text, &version))
        return pk_place_fail(&value->place, "expected 1, " FOUND_FORMAT, FOUND(value));
    if (version != 1)
        return pk_place_fail(&value->place, "pipeline files of version %.64s are not in this version, expected 1",
                             value->text);
    return PK_OK;
}

static pk_err take_model(const struct key *key, const pk_value *value, void *field)
{
    char **model = field;
    (void)key;
    if (!*value->text || (!value->quoted && (!strcmp(value->text, "~") || !strcmp(value->text, "null"))))
        return pk_place_fail(&value->place, "expected a directory, found nothing");
    char *copy = strdup(value->text);
    if (!copy)
        return pk_fail(PK_NOMEM, "no memory for a path");
    free(*model);
    *model = copy;
    return PK_OK;
}

static pk_err whole_number(const struct key *key, const pk_value *value, uint64_t *out)
{
    if (value->quoted || !pk_scalar_whole(value->text, out) || *out < key->minimum || *out > key->maximum)
        return pk_place_fail(&value->place, "expected a whole number from %llu to %llu, " FOUND_FORMAT "%s",
                             (unsigned long long)key->minimum, (unsigned long long)key->maximum, FOUND(value),
                             value->quoted ? " as text" : "");
    return PK_OK;
}

static pk_err take_u32(const struct key *key, const pk_value *value, void *field)
{
    uint64_t number = 0;
    pk_err err = whole_number(key, value, &number);
    if (!err)
        *(uint32_t *)field = (uint32_t)number;
    return err;
}

static pk_err take_u64(const struct key *key, const pk_value *value, void *field)
{
    uint64_t number = 0;
    pk_err err = whole_number(key, value, &number);
    if (!err)
        *(uint64_t *)field = number;
    return err;
}

/* A number from `least` to `most`; `words` says so. */
static pk_err take_real(const pk_value *value, double least, double most, const char *words, void *field)
{
    double number = 0;
    if (value->quoted || !pk_scalar_real(value->text, &number) || !(number >= least && number <= most))
        return pk_place_fail(&value->place, "expected a number %s, " FOUND_FORMAT "%s", words, FOUND(value),
                             value->quoted ? " as text" : "");
    *(float *)field = (float)number;
    return PK_OK;
}

static pk_err take_temperature(const struct key *key, const pk_value *value, void *field)
{
    (void)key;
    return take_real(value, 0, 100, "from 0 to 100", field);
}

static pk_err take_top_p(const struct key *key, const pk_value *value, void *field)
{
    (void)key;
    return take_real(value, FLT_MIN, 1, "above 0, at most 1", field);
}

static pk_err take_min_p(const struct key *key, const pk_value *value, void *field)
{
    (void)key;
    return take_real(value, 0, 1, "from 0 to 1", field);
}

static pk_err take_name(const struct key *key, const pk_value *value, void *field)
{
    size_t length = strlen(value->text);
    (void)key;
    if (!length || length >= PK_STAGE_NAME_BYTES ||
        strspn(value->text, "abcdefghijklmnopqrstuvwxyz0123456789-") != length)
        return pk_place_fail(&value->place, "expected 1 to %d of a-z, 0-9 and -, " FOUND_FORMAT,
                             PK_STAGE_NAME_BYTES - 1, FOUND(value));
    memcpy(field, value->text, length + 1);
    return PK_OK;
}

/* The word's place in a list that ends with NULL, or -1. */
static int find_word(const char *const *words, const char *word)
{
    for (int i = 0; words[i]; ++i)
        if (!strcmp(words[i], word))
            return i;
    return -1;
}

static pk_err take_kind(const struct key *key, const pk_value *value, void *field)
{
    char what[96];
    int found = find_word(kind_words + 1, value->text);
    (void)key;
    if (found >= 0) {
        *(pk_stage_kind *)field = (pk_stage_kind)(found + 1);
        return PK_OK;
    }
    if (find_word(later_kinds, value->text) >= 0)
        return pk_place_fail(&value->place, "stages of kind %s are not in this version", value->text);
    snprintf(what, sizeof what, "unknown kind \"%.64s\"", value->text);
    return refuse_unknown(&value->place, what, value->text, kind_words + 1);
}

/* "A-B" or "A". */
static bool parse_range(const char *text, uint64_t *first, uint64_t *last)
{
    char head[16];
    const char *dash = strchr(text, '-');
    if (!dash)
        return pk_scalar_whole(text, first) && (*last = *first, true);
    if ((size_t)(dash - text) >= sizeof head)
        return false;
    memcpy(head, text, (size_t)(dash - text));
    head[dash - text] = 0;
    return pk_scalar_whole(head, first) && pk_scalar_whole(dash + 1, last);
}

static pk_err take_layers(const struct key *key, const pk_value *value, void *field)
{
    pk_stage_spec *stage = field;
    uint64_t first = 0, last = 0;
    (void)key;
    if (!parse_range(value->text, &first, &last) || last >= PK_MODEL_LAYERS_MAX || first > last)
        return pk_place_fail(&value->place,
                             "expected layers as FIRST-LAST (such as 0-39) or one number, below %d, " FOUND_FORMAT,
                             PK_MODEL_LAYERS_MAX, FOUND(value));
    stage->first_layer = (uint32_t)first;
    stage->last_layer = (uint32_t)last;
    return PK_OK;
}

static pk_err take_device(const struct key *key, const pk_value *value, void *field)
{
    static const char *const words[] = {"cpu", "cpu:plain", "cpu:avx2", "cpu:avx512", NULL};
    char what[96];
    (void)key;
    int found = find_word(words, value->text);
    if (found >= 0) {
        memcpy(field, words[found], strlen(words[found]) + 1);
        return PK_OK;
    }
    if (!strncmp(value->text, "cuda", 4))
        return pk_place_fail(&value->place,
                             "devices of CUDA are not in this version, expected cpu, cpu:plain, cpu:avx2 or cpu:avx512");
    snprintf(what, sizeof what, "unknown device \"%.64s\"", value->text);
    return refuse_unknown(&value->place, what, value->text, words);
}

static pk_err take_io(const struct key *key, const pk_value *value, void *field)
{
    char what[96];
    (void)key;
    int found = find_word(io_words, value->text);
    if (found >= 0) {
        *(pk_stage_io *)field = (pk_stage_io)found;
        return PK_OK;
    }
    snprintf(what, sizeof what, "unknown way to read \"%.64s\"", value->text);
    return refuse_unknown(&value->place, what, value->text, io_words);
}

static const struct key *find_key(pk_section section, const char *name)
{
    for (const struct key *key = section_keys(section); key->name; ++key)
        if (!strcmp(key->name, name))
            return key;
    return NULL;
}

pk_err pk_key_find(pk_section section, const char *name, const pk_place *place, pk_key_shape *shape)
{
    const struct key *key = find_key(section, name);
    const char *words[KEYS_MAX + 1] = {0};
    size_t count = 0;
    if (key && key->later)
        return pk_place_fail(place, "not in this version");
    if (key) {
        *shape = key->shape;
        return PK_OK;
    }
    for (key = section_keys(section); key->name; ++key)
        if (!key->later)
            words[count++] = key->name;
    return refuse_unknown(place, "unknown key", name, words);
}

static bool is_taken(const struct key *key, pk_section section, pk_stage_kind kind)
{
    return !key->later && (section != PK_SECTION_STAGE || key->kinds & 1u << kind);
}

bool pk_key_about_at(pk_section section, pk_stage_kind kind, size_t index, pk_key_about *out)
{
    const struct key *key = section_keys(section);
    for (; key->name; ++key)
        if (is_taken(key, section, kind) && !index--)
            break;
    if (!key->name)
        return false;
    *out = (pk_key_about){.name = key->name, .standard = key->standard, .about = key->about};
    if (key->type)
        snprintf(out->type, sizeof out->type, "%s", key->type);
    else
        snprintf(out->type, sizeof out->type, "%llu to %llu", (unsigned long long)key->minimum,
                 (unsigned long long)key->maximum);
    return true;
}

/* A key that only stages of another kind have. */
static pk_err check_kind(const struct key *key, const pk_value *value, const pk_stage_spec *stage)
{
    if (key->take == take_kind || key->kinds & 1u << stage->kind)
        return PK_OK;
    return pk_place_fail(&value->place, "a %s stage has no %s", pk_stage_kind_word(stage->kind), key->name);
}

pk_err pk_key_store(pk_section section, const char *name, const pk_value *value, void *target)
{
    pk_key_shape shape = PK_KEY_VALUE;
    pk_value expanded = *value;
    char *text = NULL;
    bool changed = false;
    pk_err err = pk_key_find(section, name, &value->place, &shape);
    if (err)
        return err;
    const struct key *key = find_key(section, name);
    if (shape != PK_KEY_VALUE)
        return pk_place_fail(&value->place, "expected %s, " FOUND_FORMAT, shape == PK_KEY_MAP ? "a map" : "a list",
                             FOUND(value));
    if (section == PK_SECTION_STAGE && (err = check_kind(key, value, target)))
        return err;
    if (pk_expand(value->text, &text, &changed) == PK_INVALID)
        return pk_place_fail(&value->place, "%s", pk_error_text());
    if (!text)
        return PK_NOMEM;
    expanded.text = text;
    /* In a flow map a variable must be quoted to be YAML at all, so quotes around one do not make it text. */
    expanded.quoted = value->quoted && !changed;
    err = key->take(key, &expanded, (char *)target + key->offset);
    free(text);
    return err;
}
