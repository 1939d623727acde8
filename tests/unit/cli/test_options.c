#include "cli/exit.h"
#include "cli/options.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct values {
    bool print;
    const char *model, *mode;
    uint64_t rows, room;
    double heat;
    pk_words set;
};

static const pk_option options[] = {
    {.name = "model",
     .letter = 'm',
     .type = PK_OPTION_TEXT,
     .argument = "DIR",
     .group = "Model",
     .help = "where it lies",
     PK_OPTION_INTO(struct values, model)},
    {.name = "mode",
     .type = PK_OPTION_CHOICE,
     .argument = "fast|slow",
     .standard = "fast",
     .group = "Model",
     .help = "how",
     PK_OPTION_INTO(struct values, mode)},
    {.name = "rows",
     .type = PK_OPTION_WHOLE,
     .argument = "N",
     .minimum = 1,
     .maximum = 64,
     .standard = "16",
     .group = "Limits",
     .help = "rows of a batch, of which there may be so many that this sentence needs a second line",
     PK_OPTION_INTO(struct values, rows)},
    {.name = "room",
     .type = PK_OPTION_BYTES,
     .argument = "SIZE",
     .minimum = 1,
     .group = "Limits",
     .help = "memory",
     PK_OPTION_INTO(struct values, room)},
    {.name = "heat",
     .type = PK_OPTION_REAL,
     .argument = "X",
     .group = "Model",
     .help = "temperature",
     PK_OPTION_INTO(struct values, heat)},
    {.name = "print",
     .letter = 'p',
     .type = PK_OPTION_FLAG,
     .group = "Output",
     .help = "print it",
     PK_OPTION_INTO(struct values, print)},
    {.name = "set",
     .type = PK_OPTION_LIST,
     .argument = "PATH=VALUE",
     .group = "Output",
     .help = "override",
     PK_OPTION_INTO(struct values, set)},
    {0},
};

enum { ARGUMENTS_MAX = 16 };

/* Words given as one string, cut at blanks (of which it is robbed). */
static pk_err parse(char *line, struct values *values, pk_words *operands)
{
    char *argv[ARGUMENTS_MAX];
    int argc = 0;
    *values = (struct values){.print = false};
    *operands = (pk_words){0};
    for (char *word = strtok(line, " "); word; word = strtok(NULL, " "))
        argv[argc++] = word;
    return pk_options_parse(options, argc, argv, values, operands);
}

static void every_form_of_an_option_is_read(void **state)
{
    char line[] = "first --model=a=b -p --rows 7 second --set x=1 --room 2KiB --set=y=2 --heat -0.5 --mode slow -";
    struct values v;
    pk_words operands;
    (void)state;
    assert_int_equal(parse(line, &v, &operands), PK_OK);
    assert_string_equal(v.model, "a=b");
    assert_true(v.print);
    assert_int_equal(v.rows, 7);
    assert_int_equal(v.room, 2048);
    assert_true(v.heat == -0.5);
    assert_string_equal(v.mode, "slow");
    assert_int_equal(v.set.count, 2);
    assert_string_equal(v.set.items[0], "x=1");
    assert_string_equal(v.set.items[1], "y=2");
    assert_int_equal(operands.count, 3);
    assert_string_equal(operands.items[1], "second");
    assert_string_equal(operands.items[2], "-");
    pk_options_free(options, &v, &operands);
}

static void letters_take_their_value_joined_or_apart(void **state)
{
    char joined[] = "-mDIR", apart[] = "-m DIR";
    struct values v;
    pk_words operands;
    (void)state;
    assert_int_equal(parse(joined, &v, &operands), PK_OK);
    assert_string_equal(v.model, "DIR");
    assert_int_equal(parse(apart, &v, &operands), PK_OK);
    assert_string_equal(v.model, "DIR");
    pk_options_free(options, &v, &operands);
}

static void what_is_not_given_has_its_standard(void **state)
{
    char line[] = "";
    struct values v;
    pk_words operands;
    (void)state;
    assert_int_equal(parse(line, &v, &operands), PK_OK);
    assert_null(v.model);
    assert_false(v.print);
    assert_int_equal(v.rows, 16);
    assert_string_equal(v.mode, "fast");
    assert_int_equal(operands.count, 0);
    pk_options_free(options, &v, &operands);
}

static void the_last_of_two_counts(void **state)
{
    char line[] = "--rows 1 --rows 2";
    struct values v;
    pk_words operands;
    (void)state;
    assert_int_equal(parse(line, &v, &operands), PK_OK);
    assert_int_equal(v.rows, 2);
    pk_options_free(options, &v, &operands);
}

static void after_two_dashes_all_are_operands(void **state)
{
    char line[] = "-p -- --rows -m";
    struct values v;
    pk_words operands;
    (void)state;
    assert_int_equal(parse(line, &v, &operands), PK_OK);
    assert_int_equal(operands.count, 2);
    assert_string_equal(operands.items[0], "--rows");
    pk_options_free(options, &v, &operands);
}

static void what_is_wrong_is_refused_with_its_message(void **state)
{
    static const char *const refused[][2] = {
        {"--modle x", "unknown option --modle; did you mean --model?"},
        {"--sett x", "unknown option --sett; did you mean --set?"},
        {"--temperature=1", "unknown option --temperature; --help lists what there is"},
        {"--mod x", "unknown option --mod; did you mean --mode?"},
        {"-x", "unknown option -x; --help lists what there is"},
        {"--model", "--model: expected DIR behind it, found nothing"},
        {"-m", "--model: expected DIR behind it, found nothing"},
        {"--model --print",
         "--model: expected DIR behind it, found \"--print\" (write --model=--print if that is meant)"},
        {"--print=yes", "--print takes no value, found \"yes\""},
        {"-pq", "-p takes no value, found \"q\""},
        {"--rows many", "--rows: expected a whole number from 1 to 64, found \"many\""},
        {"--rows 0", "--rows: expected a whole number from 1 to 64, found \"0\""},
        {"--rows 65", "--rows: expected a whole number from 1 to 64, found \"65\""},
        {"--rows=", "--rows: expected a whole number from 1 to 64, found \"\""},
        {"--room 5XB", "--room: expected a size such as 5GB or 512MiB of at least 1 bytes, found \"5XB\""},
        {"--heat warm", "--heat: expected a number, found \"warm\""},
        {"--mode quick", "--mode: expected fast or slow, found \"quick\""},
        {"--mode fats", "--mode: expected fast or slow, found \"fats\"; did you mean fast?"},
        {"--mode=", "--mode: expected fast or slow, found \"\""},
        {"--mode fast|slow", "--mode: expected fast or slow, found \"fast|slow\""},
    };
    struct values v;
    pk_words operands;
    (void)state;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; ++i) {
        char *line = strdup(refused[i][0]);
        assert_int_equal(parse(line, &v, &operands), PK_INVALID);
        assert_string_equal(pk_error_text(), refused[i][1]);
        pk_options_free(options, &v, &operands);
        free(line);
    }
}

static void help_is_the_table_by_groups_with_defaults(void **state)
{
    static const char expected[] =
        "\nModel:\n"
        "  -m, --model DIR             where it lies\n"
        "      --mode fast|slow        how (default: fast)\n"
        "      --heat X                temperature\n"
        "\nLimits:\n"
        "      --rows N                rows of a batch, of which there may be so many that this sentence\n"
        "                              needs a second line (default: 16)\n"
        "      --room SIZE             memory\n"
        "\nOutput:\n"
        "  -p, --print                 print it\n"
        "      --set PATH=VALUE        override\n";
    char *text = NULL;
    size_t bytes;
    FILE *out = open_memstream(&text, &bytes);
    (void)state;
    pk_options_print(options, out);
    fclose(out);
    assert_string_equal(text, expected);
    free(text);
}

static void exit_codes_depend_on_what_was_being_done(void **state)
{
    (void)state;
    for (int doing = PK_DOING_USAGE; doing <= PK_DOING_RUN; ++doing)
        assert_int_equal(pk_exit_of((pk_doing)doing, PK_OK), PK_EXIT_OK);
    assert_int_equal(pk_exit_of(PK_DOING_USAGE, PK_INVALID), PK_EXIT_USAGE);
    assert_int_equal(pk_exit_of(PK_DOING_USAGE, PK_NOMEM), PK_EXIT_FIT);
    assert_int_equal(pk_exit_of(PK_DOING_USAGE, PK_IO), PK_EXIT_USAGE);
    assert_int_equal(pk_exit_of(PK_DOING_MODEL, PK_IO), PK_EXIT_MODEL);
    assert_int_equal(pk_exit_of(PK_DOING_MODEL, PK_CORRUPT), PK_EXIT_MODEL);
    assert_int_equal(pk_exit_of(PK_DOING_MODEL, PK_INVALID), PK_EXIT_MODEL);
    assert_int_equal(pk_exit_of(PK_DOING_OUTPUT, PK_IO), PK_EXIT_DISK);
    assert_int_equal(pk_exit_of(PK_DOING_RUN, PK_PEER), PK_EXIT_STAGE);
    assert_int_equal(pk_exit_of(PK_DOING_RUN, PK_CLOSED), PK_EXIT_INTERRUPTED);
    assert_int_equal(pk_exit_of(PK_DOING_RUN, (pk_err)99), PK_EXIT_INTERNAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_form_of_an_option_is_read),
        cmocka_unit_test(letters_take_their_value_joined_or_apart),
        cmocka_unit_test(what_is_not_given_has_its_standard),
        cmocka_unit_test(the_last_of_two_counts),
        cmocka_unit_test(after_two_dashes_all_are_operands),
        cmocka_unit_test(what_is_wrong_is_refused_with_its_message),
        cmocka_unit_test(help_is_the_table_by_groups_with_defaults),
        cmocka_unit_test(exit_codes_depend_on_what_was_being_done),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
