#include "check.h"

static const char two_stages[] = "version: 1\nlimits: { window: 3 }\nstages:\n"
                                 "  - { name: low, kind: layers, layers: 0-3 }\n  - { name: head, kind: head }\n";

static void any_value_of_the_file_can_be_overridden(void **state)
{
    pk_pipeline p;
    (void)state;
    parse_good(&p, two_stages);
    assert_int_equal(pk_pipeline_set(&p, "model=/a=b"), PK_OK);
    assert_int_equal(pk_pipeline_set(&p, "limits.window=7"), PK_OK);
    assert_int_equal(pk_pipeline_set(&p, "limits.batch_rows=64"), PK_OK);
    assert_int_equal(pk_pipeline_set(&p, "generation.seed=7"), PK_OK);
    assert_int_equal(pk_pipeline_set(&p, "generation.temperature=0.5"), PK_OK);
    assert_int_equal(pk_pipeline_set(&p, "stages.low.threads=2"), PK_OK);
    assert_int_equal(pk_pipeline_set(&p, "stages.low.layers=0-7"), PK_OK);
    assert_int_equal(pk_pipeline_set(&p, "stages.head.device=cpu:plain"), PK_OK);
    assert_int_equal(pk_pipeline_set(&p, "stages.low.io=pread"), PK_OK);
    assert_string_equal(p.model, "/a=b");
    assert_int_equal(p.limits.window, 7);
    assert_int_equal(p.limits.batch_rows, 64);
    assert_true(p.generation.seed == 7);
    assert_true(p.generation.temperature == 0.5f);
    assert_int_equal(p.stages[0].threads, 2);
    assert_int_equal(p.stages[0].last_layer, 7);
    assert_int_equal(p.stages[0].io, PK_STAGE_IO_PREAD);
    assert_string_equal(p.stages[1].device, "cpu:plain");
    pk_pipeline_fini(&p);
}

static void overrides_are_checked_like_the_file(void **state)
{
    static const char *const refused[][2] = {
        {"limits.batch_rows", "--set limits.batch_rows: expected PATH=VALUE, such as limits.batch_rows=64"},
        {"=3", "--set : expected PATH=VALUE, such as limits.batch_rows=64"},
        {"limits.batch_rows=many", "--set limits.batch_rows: expected a whole number from 1 to 65536, found \"many\""},
        {"limits.batch_rows=", "--set limits.batch_rows: expected a whole number from 1 to 65536, found nothing"},
        {"limits.batchrows=3",
         "--set limits.batchrows: unknown key, expected context, batch_rows, sequences, window, silent_seconds or hung_seconds; "
         "did you mean \"batch_rows\"?"},
        {"limit.batch_rows=3",
         "--set limit.batch_rows: unknown key, expected version, model, limits, generation or stages; did you mean "
         "\"limits\"?"},
        {"model.dir=x", "--set model.dir: model has no keys of its own"},
        {"limits=3", "--set limits: is no single value, expected limits.KEY=VALUE"},
        {"stages=3", "--set stages: is no single value, expected stages.NAME.KEY=VALUE"},
        {"stages.low=3", "--set stages.low: expected stages.NAME.KEY=VALUE"},
        {"stages.high.threads=3", "--set stages.high.threads: no stage is called \"high\", there are low, head"},
        {"stages.low.thread=3", "--set stages.low.thread: unknown key, expected name, kind, layers, threads, device or "
                                "io; did you mean \"threads\"?"},
        {"stages.head.layers=3", "--set stages.head.layers: a head stage has no layers"},
        {"stages.low.kind=head", "--set stages.low.kind: the kind of a stage cannot be overridden"},
        {"stages.low.replicas=2", "--set stages.low.replicas: not in this version"},
        {"generation.stop=x", "--set generation.stop: not in this version"},
        {"numeric=bf16", "--set numeric: not in this version"},
        {"version=2", "--set version: pipeline files of version 2 are not in this version, expected 1"},
    };
    pk_pipeline p;
    (void)state;
    parse_good(&p, two_stages);
    for (size_t i = 0; i < sizeof refused / sizeof *refused; ++i)
        assert_error(pk_pipeline_set(&p, refused[i][0]), PK_INVALID, refused[i][1]);
    assert_int_equal(p.limits.window, 3);
    pk_pipeline_fini(&p);
}

static void an_endless_path_is_refused(void **state)
{
    char text[600];
    pk_pipeline p;
    (void)state;
    memset(text, 'a', sizeof text);
    memcpy(text + sizeof text - 3, "=1", 3);
    pk_pipeline_init(&p);
    assert_int_equal(pk_pipeline_set(&p, text), PK_INVALID);
    assert_non_null(strstr(pk_error_text(), "expected PATH=VALUE"));
    pk_pipeline_fini(&p);
}

static void a_stage_that_is_still_to_be_made_can_be_overridden(void **state)
{
    pk_pipeline p;
    (void)state;
    parse_good(&p, "version: 1\n");
    assert_int_equal(pk_pipeline_set(&p, "stages.head.threads=2"), PK_OK);
    assert_error(pk_pipeline_set(&p, "stages.head.thraeds=2"), PK_INVALID,
                 "--set stages.head.thraeds: unknown key, expected name, kind, layers, threads, device or io; did you "
                 "mean \"threads\"?");
    assert_int_equal(p.override_count, 1);
    pk_pipeline_fini(&p);
}

static void a_model_given_apart_is_taken_as_it_is(void **state)
{
    pk_pipeline p;
    (void)state;
    pk_pipeline_init(&p);
    assert_int_equal(pk_pipeline_set(&p, "model=/first"), PK_OK);
    assert_int_equal(pk_pipeline_set_model(&p, "/a${b}$$"), PK_OK);
    assert_string_equal(p.model, "/a${b}$$");
    pk_pipeline_fini(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_value_of_the_file_can_be_overridden),
        cmocka_unit_test(overrides_are_checked_like_the_file),
        cmocka_unit_test(an_endless_path_is_refused),
        cmocka_unit_test(a_stage_that_is_still_to_be_made_can_be_overridden),
        cmocka_unit_test(a_model_given_apart_is_taken_as_it_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
