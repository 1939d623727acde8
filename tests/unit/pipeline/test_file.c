#include "check.h"

#include <stdio.h>

static const char good[] =
    "version: 1\n"
    "model: /models/m1\n"
    "limits: { context: 4096, batch_rows: 64, sequences: 3, window: 5 }\n"
    "generation:\n"
    "  max_tokens: 40\n"
    "  temperature: 0.7\n"
    "  top_p: 0.95\n"
    "  top_k: 40\n"
    "  min_p: 0.05\n"
    "  seed: 18446744073709551615\n"
    "stages:\n"
    "  - { name: tok, kind: tokenize }\n"
    "  - { name: low, kind: layers, layers: 0-39, threads: 2, device: \"cpu:plain\", io: pread }\n"
    "  - { layers: 40, kind: layers, device: cpu:avx2 } # named by what it holds\n"
    "  - kind: head\n"
    "    threads: 3\n"
    "  - { name: detok, kind: detokenize }\n";

static void every_key_of_this_version_is_read(void **state)
{
    pk_pipeline p;
    (void)state;
    parse_good(&p, good);
    assert_string_equal(p.model, "/models/m1");
    assert_string_equal(p.source, "p.yaml");
    assert_int_equal(p.limits.context, 4096);
    assert_int_equal(p.limits.batch_rows, 64);
    assert_int_equal(p.limits.sequences, 3);
    assert_int_equal(p.limits.window, 5);
    assert_int_equal(p.generation.max_tokens, 40);
    assert_true(p.generation.temperature == 0.7f);
    assert_true(p.generation.top_p == 0.95f && p.generation.min_p == 0.05f);
    assert_int_equal(p.generation.top_k, 40);
    assert_true(p.generation.seed == UINT64_MAX);
    assert_int_equal(p.stage_count, 5);
    assert_int_equal(p.stages[0].kind, PK_STAGE_TOKENIZE);
    assert_string_equal(p.stages[1].name, "low");
    assert_int_equal(p.stages[1].first_layer, 0);
    assert_int_equal(p.stages[1].last_layer, 39);
    assert_int_equal(p.stages[1].threads, 2);
    assert_string_equal(p.stages[1].device, "cpu:plain");
    assert_int_equal(p.stages[1].io, PK_STAGE_IO_PREAD);
    assert_int_equal(p.stages[1].line, 13);
    assert_int_equal(p.stages[1].column, 5);
    assert_string_equal(p.stages[2].name, "layers-40-40");
    assert_int_equal(p.stages[2].last_layer, 40);
    assert_string_equal(p.stages[2].device, "cpu:avx2");
    assert_string_equal(p.stages[3].name, "head");
    assert_int_equal(p.stages[3].threads, 3);
    pk_pipeline_fini(&p);
}

static void what_is_not_said_stays_open(void **state)
{
    pk_pipeline p;
    (void)state;
    parse_good(&p, "version: 1\n");
    assert_null(p.model);
    assert_int_equal(p.limits.context, 0);
    assert_int_equal(p.generation.max_tokens, 0);
    assert_int_equal(p.stage_count, 0);
    pk_pipeline_fini(&p);
}

struct refusal {
    const char *text, *message;
};

static void assert_refused(const struct refusal *refusals)
{
    pk_pipeline p;
    for (; refusals->text; ++refusals) {
        assert_error(parse(&p, refusals->text), PK_INVALID, refusals->message);
        pk_pipeline_fini(&p);
    }
}

static void unknown_keys_are_refused_with_place_and_nearest_name(void **state)
{
    static const struct refusal refusals[] = {
        {"version: 1\nmodle: x\n", "p.yaml:2:1: modle: unknown key, expected version, model, limits, generation or "
                                   "stages; did you mean \"model\"?"},
        {"version: 1\nlimits: { context: 64, batchrows: 2 }\n",
         "p.yaml:2:24: limits.batchrows: unknown key, expected context, batch_rows, sequences, window, silent_seconds or hung_seconds; did you mean "
         "\"batch_rows\"?"},
        {"version: 1\ngeneration:\n  temprature: 1\n",
         "p.yaml:3:3: generation.temprature: unknown key, expected max_tokens, temperature, top_p, top_k, min_p or "
         "seed; did you mean "
         "\"temperature\"?"},
        {"version: 1\nstages:\n - { name: low, kind: layers, layers: 0, colour: red }\n",
         "p.yaml:3:42: stages.low.colour: unknown key, expected name, kind, layers, threads, device or io"},
        {NULL, NULL},
    };
    (void)state;
    assert_refused(refusals);
}

static void keys_of_later_versions_are_refused_as_such(void **state)
{
    static const struct refusal refusals[] = {
        {"version: 1\nnumeric: { rest: as-stored }\n", "p.yaml:2:1: numeric: not in this version"},
        {"version: 1\nsnapshots: {}\n", "p.yaml:2:1: snapshots: not in this version"},
        {"version: 1\nrestart: { max: 5 }\n", "p.yaml:2:1: restart: not in this version"},
        {"version: 1\nlaunch: {}\n", "p.yaml:2:1: launch: not in this version"},
        {"version: 1\nhosts: {}\n", "p.yaml:2:1: hosts: not in this version"},
        {"version: 1\ngeneration: { stop: x }\n", "p.yaml:2:15: generation.stop: not in this version"},
        {"version: 1\ngeneration: { stop: [a] }\n", "p.yaml:2:15: generation.stop: not in this version"},
        {"version: 1\ngeneration: { think_budget: 1 }\n", "p.yaml:2:15: generation.think_budget: not in this version"},
        {"version: 1\nstages: [{ kind: tokenize, replicas: 2 }]\n",
         "p.yaml:2:28: stages[0].replicas: not in this version"},
        {"version: 1\nstages: [{ name: a, kind: layers, layers: 0, on: b }]\n",
         "p.yaml:2:46: stages.a.on: not in this version"},
        {"version: 1\nstages: [{ name: a, kind: layers, layers: 0, experts: e }]\n",
         "p.yaml:2:46: stages.a.experts: not in this version"},
        {"version: 1\nstages: [{ name: a, kind: layers, layers: 0, memory: 1GiB }]\n",
         "p.yaml:2:46: stages.a.memory: not in this version"},
        {"version: 1\nstages: [{ kind: filter, match: x }]\n",
         "p.yaml:2:18: stages[0].kind: stages of kind filter are not in this version"},
        {"version: 1\nstages: [{ kind: experts }]\n",
         "p.yaml:2:18: stages[0].kind: stages of kind experts are not in this version"},
        {"version: 1\nstages: [{ name: a, kind: head, device: \"cuda:7\" }]\n",
         "p.yaml:2:41: stages.a.device: devices of CUDA are not in this version, expected cpu, cpu:plain, cpu:avx2 or cpu:avx512"},
        {"version: 2\n", "p.yaml:1:10: version: pipeline files of version 2 are not in this version, expected 1"},
        {NULL, NULL},
    };
    (void)state;
    assert_refused(refusals);
}

static void values_of_a_wrong_type_are_refused(void **state)
{
    static const struct refusal refusals[] = {
        {"version: 1\nlimits: { batch_rows: many }\n",
         "p.yaml:2:23: limits.batch_rows: expected a whole number from 1 to 65536, found \"many\""},
        {"version: 1\nlimits: { batch_rows: \"64\" }\n",
         "p.yaml:2:23: limits.batch_rows: expected a whole number from 1 to 65536, found \"64\" as text"},
        {"version: 1\nlimits: { batch_rows: 0 }\n",
         "p.yaml:2:23: limits.batch_rows: expected a whole number from 1 to 65536, found \"0\""},
        {"version: 1\nlimits: { batch_rows: 65537 }\n",
         "p.yaml:2:23: limits.batch_rows: expected a whole number from 1 to 65536, found \"65537\""},
        {"version: 1\nlimits: { batch_rows: 1e3 }\n",
         "p.yaml:2:23: limits.batch_rows: expected a whole number from 1 to 65536, found \"1e3\""},
        {"version: 1\nlimits: { batch_rows: [1] }\n",
         "p.yaml:2:23: limits.batch_rows: expected one value, found a list"},
        {"version: 1\nlimits:\n  batch_rows:\n  window: 3\n",
         "p.yaml:3:14: limits.batch_rows: expected a whole number from 1 to 65536, found nothing"},
        {"version: 1\nlimits: 3\n", "p.yaml:2:9: limits: expected a map, found \"3\""},
        {"version: 1\nlimits:\nmodel: x\n", "p.yaml:2:8: limits: expected a map, found nothing"},
        {"version: 1\nmodel:\n", "p.yaml:2:7: model: expected a directory, found nothing"},
        {"version: 1\nmodel: null\n", "p.yaml:2:8: model: expected a directory, found nothing"},
        {"version: 1\nmodel: [a]\n", "p.yaml:2:8: model: expected one value, found a list"},
        {"version: one\n", "p.yaml:1:10: version: expected 1, found \"one\""},
        {"version: '1'\n", "p.yaml:1:10: version: expected 1, found \"1\""},
        {"version: 1\ngeneration: { temperature: warm }\n",
         "p.yaml:2:28: generation.temperature: expected a number from 0 to 100, found \"warm\""},
        {"version: 1\ngeneration: { temperature: -1 }\n",
         "p.yaml:2:28: generation.temperature: expected a number from 0 to 100, found \"-1\""},
        {"version: 1\ngeneration: { top_p: 0 }\n",
         "p.yaml:2:22: generation.top_p: expected a number above 0, at most 1, found \"0\""},
        {"version: 1\ngeneration: { min_p: 1.5 }\n",
         "p.yaml:2:22: generation.min_p: expected a number from 0 to 1, found \"1.5\""},
        {"version: 1\ngeneration: { top_k: -1 }\n",
         "p.yaml:2:22: generation.top_k: expected a whole number from 0 to 2147483647, found \"-1\""},
        {"version: 1\ngeneration: { temperature: .nan }\n",
         "p.yaml:2:28: generation.temperature: expected a number from 0 to 100, found \".nan\""},
        {"version: 1\ngeneration: { seed: -1 }\n",
         "p.yaml:2:21: generation.seed: expected a whole number from 0 to 18446744073709551615, found \"-1\""},
        {"version: 1\nstages: { kind: head }\n", "p.yaml:2:9: stages: expected a list of stages, found a map"},
        {"version: 1\nstages: []\n", "p.yaml:2:9: stages: expected 1 to 1027 stages, found 0"},
        {"version: 1\nstages: [head]\n",
         "p.yaml:2:10: stages[0]: expected a map with the keys name and kind, found \"head\""},
        {"- a\n", "p.yaml:1:1: the file: expected a map that begins with \"version: 1\", found a list"},
        {NULL, NULL},
    };
    (void)state;
    assert_refused(refusals);
}

static void stages_that_are_none_are_refused(void **state)
{
    static const struct refusal refusals[] = {
        {"version: 1\nstages: [{ name: a }]\n",
         "p.yaml:2:10: stages.a: the key kind is missing, expected tokenize, layers, head or detokenize"},
        {"version: 1\nstages: [{ kind: layer }]\n",
         "p.yaml:2:18: stages[0].kind: unknown kind \"layer\", expected tokenize, layers, head or detokenize; did you "
         "mean \"layers\"?"},
        {"version: 1\nstages: [{ name: Low, kind: head }]\n",
         "p.yaml:2:18: stages.Low.name: expected 1 to 32 of a-z, 0-9 and -, found \"Low\""},
        {"version: 1\nstages: [{ name: abcdefghijklmnopqrstuvwxyz-1234567, kind: head }]\n",
         "p.yaml:2:18: stages.abcdefghijklmnopqrstuvwxyz-1234567.name: expected 1 to 32 of a-z, 0-9 and -, found "
         "\"abcdefghijklmnopqrstuvwxyz-1234567\""},
        {"version: 1\nstages: [{ name: a, kind: layers }]\n",
         "p.yaml:2:10: stages.a: the key layers is missing, expected layers as FIRST-LAST (such as 0-39)"},
        {"version: 1\nstages: [{ name: a, kind: layers, layers: 7-3 }]\n",
         "p.yaml:2:43: stages.a.layers: expected layers as FIRST-LAST (such as 0-39) or one number, below 1024, found "
         "\"7-3\""},
        {"version: 1\nstages: [{ name: a, kind: layers, layers: 0-1024 }]\n",
         "p.yaml:2:43: stages.a.layers: expected layers as FIRST-LAST (such as 0-39) or one number, below 1024, found "
         "\"0-1024\""},
        {"version: 1\nstages: [{ threads: 2, kind: tokenize }]\n",
         "p.yaml:2:21: stages[0].threads: a tokenize stage has no threads"},
        {"version: 1\nstages: [{ name: h, kind: head, layers: 0-3 }]\n",
         "p.yaml:2:41: stages.h.layers: a head stage has no layers"},
        {"version: 1\nstages: [{ name: h, kind: head, device: gpu }]\n",
         "p.yaml:2:41: stages.h.device: unknown device \"gpu\", expected cpu, cpu:plain, cpu:avx2 or cpu:avx512; did you mean "
         "\"cpu\"?"},
        {"version: 1\nstages: [{ name: h, kind: head, io: uringg }]\n",
         "p.yaml:2:37: stages.h.io: unknown way to read \"uringg\", expected auto, uring or pread; did you mean "
         "\"uring\"?"},
        {NULL, NULL},
    };
    (void)state;
    assert_refused(refusals);
}

static void what_yaml_offers_beyond_values_is_refused(void **state)
{
    static const struct refusal refusals[] = {
        {"version: 1\nversion: 1\n", "p.yaml:2:1: key \"version\" given twice, first at 1:1"},
        {"version: 1\nlimits: { window: 3, window: 3 }\n", "p.yaml:2:22: key \"window\" given twice, first at 2:11"},
        {"version: 1\nlimits: &a { window: 3 }\n",
         "p.yaml:2:9: anchors and aliases are not allowed, write the value out"},
        {"version: 1\nlimits: *a\n", "p.yaml:2:9: anchors and aliases are not allowed, write the value out"},
        {"version: !!int 1\n", "p.yaml:1:10: tags are not allowed, write the value alone"},
        {"version: 1\n---\nversion: 1\n", "p.yaml:2:1: a second document, expected one"},
        {"version: 1\nlimits: {a: {b: {c: {d: {e: {f: {g: {h: 1}}}}}}}}\n", "p.yaml:2:37: nested too deeply"},
        {"version: 1\n? [a]\n: b\n", "p.yaml:2:3: expected a word as key, found a list"},
        {"version: 1\nmodel: \"a\\0b\"\n", "p.yaml:2:8: a zero byte inside a word"},
        {"", "p.yaml:1:1: the file is empty"},
        {"# nothing but words\n", "p.yaml:2:1: the file is empty"},
        {"version: 1\nlimits: { window: 3\nmodel: x\n",
         "p.yaml:3:6: not YAML: did not find expected ',' or '}' while parsing a flow mapping"},
        {"version: 1\n\tmodel: x\n",
         "p.yaml:2:1: not YAML: found a tab character that violates indentation while scanning a plain scalar"},
        {"version: 1\nmodel: \xff\n", "p.yaml: not YAML in UTF-8: invalid leading UTF-8 octet (byte 18)"},
        {"model: x\n", "p.yaml:1:1: version: missing, expected \"version: 1\""},
        {NULL, NULL},
    };
    (void)state;
    assert_refused(refusals);
}

static void what_would_steer_a_terminal_is_not_repeated(void **state)
{
    static const struct refusal refusals[] = {
        {"version: 1\nstages: [{ name: \"a\\e[2Jb\", kind: head }]\n",
         "p.yaml:2:18: stages.a?[2Jb.name: expected 1 to 32 of a-z, 0-9 and -, found \"a?[2Jb\""},
        {NULL, NULL},
    };
    (void)state;
    assert_refused(refusals);
}

/* A file of `bytes` bytes: a good one and a comment. */
static char *padded(size_t bytes)
{
    char *text = malloc(bytes + 1);
    assert_non_null(text);
    memset(text, '#', bytes);
    memcpy(text, "version: 1\n", 11);
    text[bytes] = 0;
    return text;
}

static void a_file_of_more_than_a_mebibyte_is_refused(void **state)
{
    char *text = padded(PK_PIPELINE_FILE_BYTES + 1);
    pk_pipeline p;
    (void)state;
    assert_error(parse(&p, text), PK_INVALID, "p.yaml: larger than 1048576 bytes, that is no pipeline file");
    pk_pipeline_fini(&p);
    text[PK_PIPELINE_FILE_BYTES] = 0;
    parse_good(&p, text);
    pk_pipeline_fini(&p);
    free(text);
}

static void a_word_without_end_is_refused(void **state)
{
    char *text = padded(20000);
    pk_pipeline p;
    (void)state;
    memcpy(text, "version: x", 10);
    memset(text + 10, 'x', 20000 - 10);
    assert_error(parse(&p, text), PK_INVALID, "p.yaml:1:10: a word of 19991 bytes, at most 8192 are allowed");
    pk_pipeline_fini(&p);
    free(text);
}

static void every_prefix_of_a_good_file_is_read_or_refused(void **state)
{
    pk_pipeline p;
    (void)state;
    for (size_t bytes = 0; bytes < sizeof good; ++bytes) {
        pk_pipeline_init(&p);
        pk_err err = pk_pipeline_parse(&p, "p.yaml", good, bytes);
        assert_true(err == PK_OK || err == PK_INVALID);
        pk_pipeline_fini(&p);
    }
}

/* A small generator of its own, so that a seed means the same bytes everywhere. */
static uint32_t draw(uint32_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 17;
    *seed ^= *seed << 5;
    return *seed;
}

static void damaged_files_are_read_or_refused(void **state)
{
    static const char marks[] = "{}[]:,-#&*!|>'\"%@` \n\t$0";
    char text[sizeof good];
    pk_pipeline p;
    (void)state;
    for (uint32_t first = 1; first <= 2000; ++first) {
        uint32_t seed = first * 2654435761u;
        memcpy(text, good, sizeof good);
        for (uint32_t left = 1 + draw(&seed) % 4; left; --left)
            text[draw(&seed) % (sizeof good - 1)] =
                draw(&seed) % 4 ? marks[draw(&seed) % (sizeof marks - 1)] : (char)draw(&seed);
        pk_pipeline_init(&p);
        pk_err err = pk_pipeline_parse(&p, "p.yaml", text, sizeof good - 1);
        if (err != PK_OK && err != PK_INVALID)
            fail_msg("seed %u: %s", first, pk_error_text());
        pk_pipeline_fini(&p);
    }
}

static void a_missing_file_is_an_error_of_the_system(void **state)
{
    pk_pipeline p;
    (void)state;
    pk_pipeline_init(&p);
    assert_error(pk_pipeline_read(&p, "/nonexistent/p.yaml"), PK_IO,
                 "/nonexistent/p.yaml: open the pipeline file: No such file or directory");
    pk_pipeline_fini(&p);
    assert_error(pk_pipeline_read(&p, "/"), PK_IO, "/: read the pipeline file: Is a directory");
    pk_pipeline_fini(&p);
}

static void variables_are_replaced_in_values(void **state)
{
    pk_pipeline p;
    (void)state;
    setenv("PK_TEST_DIR", "/m", 1);
    setenv("PK_TEST_NOTHING", "", 1);
    unsetenv("PK_TEST_UNSET");
    parse_good(&p, "version: 1\nmodel: ${PK_TEST_DIR}/a-$$x-$5${PK_TEST_NOTHING}${PK_TEST_UNSET:-/b}\n"
                   "limits: { window: \"${PK_TEST_UNSET:-4}\", context: 64 }\n"
                   "generation:\n  seed: ${PK_TEST_NOTHING:-9}\n");
    assert_string_equal(p.model, "/m/a-$x-$5/b");
    assert_int_equal(p.limits.window, 4);
    assert_true(p.generation.seed == 9);
    pk_pipeline_fini(&p);
}

static void variables_cannot_add_keys(void **state)
{
    pk_pipeline p;
    (void)state;
    setenv("PK_TEST_DIR", "x\nlimits: { window: 3 }", 1);
    parse_good(&p, "version: 1\nmodel: ${PK_TEST_DIR}\n");
    assert_string_equal(p.model, "x\nlimits: { window: 3 }");
    assert_int_equal(p.limits.window, 0);
    pk_pipeline_fini(&p);
}

static void variables_without_value_or_form_are_refused(void **state)
{
    static const struct refusal refusals[] = {
        {"version: 1\nmodel: ${PK_TEST_UNSET}\n", "p.yaml:2:8: model: the variable PK_TEST_UNSET is not set, and has "
                                                  "no value for that: ${PK_TEST_UNSET:-VALUE}"},
        {"version: 1\nmodel: ${PK_TEST_UNSET:?say where the model lies}\n",
         "p.yaml:2:8: model: PK_TEST_UNSET: say where the model lies"},
        {"version: 1\nmodel: ${PK_TEST_UNSET:?}\n", "p.yaml:2:8: model: the variable PK_TEST_UNSET is not set, and has "
                                                    "no value for that: ${PK_TEST_UNSET:-VALUE}"},
        {"version: 1\nmodel: ${PK_TEST_UNSET:-}\n", "p.yaml:2:8: model: expected a directory, found nothing"},
        {"version: 1\nmodel: ${PK_TEST\n", "p.yaml:2:8: model: \"${\" without its \"}\" (write $$ for a dollar sign)"},
        {"version: 1\nmodel: ${PK_TEST+x}\n",
         "p.yaml:2:8: model: \"${PK_TEST+x}\", expected ${VAR}, ${VAR:-default} or ${VAR:?message}"},
        {"version: 1\nmodel: ${}\n", "p.yaml:2:8: model: \"${}\", expected ${VAR}, ${VAR:-default} or ${VAR:?message}"},
        {"version: 1\nmodel: ${A:-${B}}\n", "p.yaml:2:8: model: a variable inside of ${A:-…} is not possible"},
        {NULL, NULL},
    };
    (void)state;
    unsetenv("PK_TEST_UNSET");
    assert_refused(refusals);
}

/* What pk_pipeline_print writes; the caller frees. */
static char *printed(const pk_pipeline *p)
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    assert_non_null(out);
    assert_int_equal(pk_pipeline_print(p, out), PK_OK);
    fclose(out);
    return text;
}

static void what_is_printed_reads_back_to_the_same(void **state)
{
    static const char *const models[] = {
        "/models/m1", "a b: {c} # \"d\" \\ 'e'",          "${HOME}/$$", "tab\tline\nend\x1b",
        "ü/日本/😀",   "\xc2\x85\xe2\x80\xa8\xef\xbb\xbf", "~",          "1"};
    pk_pipeline p, back;
    (void)state;
    for (size_t i = 0; i < sizeof models / sizeof *models; ++i) {
        parse_good(&p, good);
        assert_int_equal(pk_pipeline_set_model(&p, models[i]), PK_OK);
        char *text = printed(&p);
        parse_good(&back, text);
        char *again = printed(&back);
        assert_string_equal(text, again);
        assert_string_equal(back.model, models[i]);
        assert_memory_equal(&back.limits, &p.limits, sizeof p.limits);
        assert_true(back.generation.temperature == p.generation.temperature);
        assert_true(back.generation.top_p == p.generation.top_p && back.generation.min_p == p.generation.min_p);
        assert_int_equal(back.generation.top_k, p.generation.top_k);
        assert_true(back.generation.seed == p.generation.seed);
        assert_int_equal(back.stage_count, p.stage_count);
        for (uint32_t s = 0; s < p.stage_count; ++s) {
            p.stages[s].line = back.stages[s].line;
            p.stages[s].column = back.stages[s].column;
            assert_memory_equal(&back.stages[s], &p.stages[s], sizeof *p.stages);
        }
        free(text);
        free(again);
        pk_pipeline_fini(&p);
        pk_pipeline_fini(&back);
    }
}

static void a_path_that_is_not_utf8_is_not_printed(void **state)
{
    pk_pipeline p;
    FILE *out = fopen("/dev/null", "w");
    (void)state;
    pk_pipeline_init(&p);
    assert_int_equal(pk_pipeline_set_model(&p, "\xff"), PK_OK);
    assert_error(pk_pipeline_print(&p, out), PK_INVALID,
                 "the model's path is not UTF-8, so that no pipeline file can hold it");
    fclose(out);
    pk_pipeline_fini(&p);
}

static void a_full_disk_is_noticed(void **state)
{
    pk_pipeline p;
    FILE *out = fopen("/dev/full", "w");
    (void)state;
    parse_good(&p, good);
    assert_error(pk_pipeline_print(&p, out), PK_IO, "print the pipeline: No space left on device");
    fclose(out);
    pk_pipeline_fini(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_key_of_this_version_is_read),
        cmocka_unit_test(what_is_not_said_stays_open),
        cmocka_unit_test(unknown_keys_are_refused_with_place_and_nearest_name),
        cmocka_unit_test(keys_of_later_versions_are_refused_as_such),
        cmocka_unit_test(values_of_a_wrong_type_are_refused),
        cmocka_unit_test(stages_that_are_none_are_refused),
        cmocka_unit_test(what_yaml_offers_beyond_values_is_refused),
        cmocka_unit_test(what_would_steer_a_terminal_is_not_repeated),
        cmocka_unit_test(a_file_of_more_than_a_mebibyte_is_refused),
        cmocka_unit_test(a_word_without_end_is_refused),
        cmocka_unit_test(every_prefix_of_a_good_file_is_read_or_refused),
        cmocka_unit_test(damaged_files_are_read_or_refused),
        cmocka_unit_test(a_missing_file_is_an_error_of_the_system),
        cmocka_unit_test(variables_are_replaced_in_values),
        cmocka_unit_test(variables_cannot_add_keys),
        cmocka_unit_test(variables_without_value_or_form_are_refused),
        cmocka_unit_test(what_is_printed_reads_back_to_the_same),
        cmocka_unit_test(a_path_that_is_not_utf8_is_not_printed),
        cmocka_unit_test(a_full_disk_is_noticed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
