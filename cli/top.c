/* top.c - penstock top: a run as it goes, on a screen or as text. The only file that knows ncurses. */
#include "cli/command.h"
#include "cli/live.h"
#include "cli/run_table.h"

#include <curses.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct values {
    const char *run;
    bool once, json;
    double interval;
};

static const pk_option options[] = {
    PK_RUN_OPTION(struct values, run),
    {.name = "interval",
     .type = PK_OPTION_REAL,
     .argument = "SECONDS",
     .standard = "1",
     .group = "Output",
     .help = "between two looks",
     PK_OPTION_INTO(struct values, interval)},
    {.name = "once",
     .type = PK_OPTION_FLAG,
     .group = "Output",
     .help = "one look, as text",
     PK_OPTION_INTO(struct values, once)},
    PK_JSON_OPTION(struct values, json),
    {0},
};

/* The look as text; owned. NULL: no memory. */
static char *render(const pk_look *look, const pk_look *before, bool json)
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    if (!out)
        return NULL;
    if (json)
        fwrite(look->text, 1, look->bytes, out);
    else {
        if (!look->live)
            fprintf(out, "no run is live in %s; this was its state at %s\n", look->dir,
                    pk_look_word(look->status, "time"));
        pk_run_table_summary(out, look->status);
        fputc('\n', out);
        pk_run_table_processes(out, look->status, before->status);
    }
    return fclose(out) ? NULL : text;
}

/* Where looks go, one after the other. pause: false when the person has seen enough. */
typedef struct {
    void (*show)(const char *text);
    bool (*pause)(int milliseconds);
} surface;

static void show_text(const char *text)
{
    fputs(text, stdout);
    fflush(stdout);
}

static bool pause_text(int milliseconds)
{
    usleep((useconds_t)milliseconds * 1000);
    return !ferror(stdout);
}

static void show_screen(const char *text)
{
    int rows = getmaxy(stdscr) - 1, columns = getmaxx(stdscr);
    erase();
    for (int row = 0; *text && row < rows; row++) {
        int bytes = (int)strcspn(text, "\n");
        mvaddnstr(row, 0, text, bytes < columns ? bytes : columns);
        text += bytes + (text[bytes] == '\n');
    }
    mvaddnstr(rows, 0, "q: leave (the run goes on)", columns);
    refresh();
}

static bool pause_screen(int milliseconds)
{
    timeout(milliseconds);
    return getch() != 'q';
}

/* Looks until the run is over or the person leaves. After PK_OK the last look is the caller's, for when the screen is
 * gone. */
static pk_err watch(const struct values *values, const surface *s, pk_look *last)
{
    pk_look before = {0};
    pk_err err = pk_look_open(last, values->run);
    while (!err) {
        char *text = render(last, &before, values->json);
        if (!text)
            err = pk_fail(PK_NOMEM, "no memory for a table");
        else
            s->show(text);
        free(text);
        if (err || !last->live || values->once || !s->pause((int)(values->interval * 1000)))
            break;
        pk_look_fini(&before);
        before = *last;
        if ((err = pk_look_open(last, values->run)))
            break;
    }
    pk_look_fini(&before);
    if (err)
        pk_look_fini(last);
    return err;
}

static pk_err watch_screen(const struct values *values, pk_look *last)
{
    static const surface screen = {show_screen, pause_screen}, plain = {show_text, pause_text};
    SCREEN *terminal = newterm(NULL, stdout, stdin);
    if (!terminal) /* an unknown kind of terminal */
        return watch(values, &plain, last);
    cbreak();
    noecho();
    curs_set(0);
    pk_err err = watch(values, &screen, last);
    endwin();
    delscreen(terminal);
    if (!err) { /* what was seen last stays */
        char *text = render(last, &(pk_look){0}, false);
        printf("%s", text ? text : "");
        free(text);
    }
    return err;
}

static pk_exit run(const void *parsed, const pk_words *operands)
{
    static const surface plain = {show_text, pause_text};
    const struct values *values = parsed;
    pk_look last = {0};
    (void)operands;
    if (values->interval < 0.1 || values->interval > 3600)
        return pk_exit_report(PK_DOING_USAGE, pk_fail(PK_INVALID, "--interval: expected 0.1 to 3600 seconds, found %g",
                                                      values->interval));
    bool screen = isatty(STDOUT_FILENO) && isatty(STDIN_FILENO) && !values->once && !values->json;
    pk_err err = screen ? watch_screen(values, &last) : watch(values, &plain, &last);
    if (!err)
        pk_look_fini(&last);
    return pk_exit_report(PK_DOING_USAGE, err);
}

const pk_command pk_command_top = {
    .name = "top",
    .group = "A run",
    .summary = "it as it goes: progress, tokens/s, queue, window, processes",
    .operands = "",
    .details =
        "On a terminal a screen that is renewed, elsewhere text, until the run ends. CPU is the share of one core\n"
        "since the look before.",
    .options = options,
    .values_bytes = sizeof(struct values),
    .examples = {"penstock top --run out", "penstock top --run out --once"},
    .run = run,
};
