#include "cli/run_progress.h"
#include "cli/run_table.h"
#include "ipc/clock.h"
#include "pipeline/run_status.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { BAR_CELLS = 20 };

static const uint64_t second_ns = 1000000000;

void pk_run_view_begin(pk_run_view *view)
{
    *view = (pk_run_view){.terminal = pk_progress_on_terminal()};
    pk_progress_begin(&view->loading, "loading weights");
}

void pk_run_view_changed(void *context, const char *custom_id)
{
    (void)context;
    fprintf(stderr, "penstock: %s: what it read has changed since it ended; it is done anew\n", custom_id);
}

void pk_run_view_loading(void *context, uint64_t bytes_done, uint64_t bytes_total)
{
    pk_run_view *view = context;
    pk_progress_update(&view->loading, bytes_done, bytes_total);
}

/* The pipeline as `ps` shows it. */
void pk_run_view_loaded(void *context, const pk_fleet *fleet)
{
    pk_run_view *view = context;
    pk_progress_end(&view->loading);
    for (size_t i = 0; i < pk_fleet_count(fleet); i++) {
        pk_fleet_stage stage = pk_fleet_at(fleet, i);
        fprintf(stderr, "  pid %-7d %-11s %-14s", (int)stage.pid, pk_stage_kind_word(stage.spec->kind),
                stage.spec->name);
        if (stage.spec->kind == PK_STAGE_LAYERS)
            fprintf(stderr, " layers %" PRIu32 "-%" PRIu32 ",", stage.spec->first_layer, stage.spec->last_layer);
        if (stage.ready.bytes_total)
            fprintf(stderr, " %" PRIu32 " threads of %s, %.1f MB in %" PRIu64 " tensors", stage.spec->threads,
                    stage.ready.device_name, (double)stage.ready.bytes_total / 1e6, stage.ready.tensors);
        fputc('\n', stderr);
    }
    view->begun_ns = view->said_ns = pk_clock_ns();
    view->loaded = true;
}

/* "[=====>    ]": the part of the time that has gone. */
static void draw_bar(char out[BAR_CELLS + 3], double seconds, double left)
{
    int full = left >= 0 && seconds + left > 0 ? (int)(BAR_CELLS * seconds / (seconds + left)) : 0;
    out[0] = '[';
    for (int i = 0; i < BAR_CELLS; i++)
        out[i + 1] = i < full ? '=' : i == full ? '>' : ' ';
    memcpy(out + BAR_CELLS + 1, "]", 2);
}

/* A line that is rewritten must not break: it ends where the terminal does. */
static size_t terminal_columns(void)
{
    struct winsize size;
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1 ? size.ws_col - 1u : 79;
}

static void compose(char *out, size_t bytes, const pk_run_progress *p, double seconds)
{
    char eta[PK_DURATION_BYTES];
    double left = pk_run_status_eta(p, (uint64_t)(seconds * 1e9));
    snprintf(out, bytes,
             "%s%" PRIu64 "/%" PRIu64 " requests, prefill %.0f %%, %" PRIu64 " answer tokens, %.0f tokens/s, ETA %s",
             p->draining ? "draining: " : "", p->ended, p->requests, 100 * pk_run_status_prefilled(p),
             p->sampled_tokens, (double)(p->prompt_tokens + p->sampled_tokens) / seconds,
             pk_run_table_duration(eta, left));
}

void pk_run_view_progress(void *context, const pk_run_progress *p)
{
    pk_run_view *view = context;
    char line[160], bar[BAR_CELLS + 3];
    uint64_t now = pk_clock_ns(), pause = view->terminal ? second_ns / 5 : 3 * second_ns;
    if (!view->loaded || now - view->said_ns < pause)
        return;
    double seconds = (double)(now - view->begun_ns) / 1e9;
    view->said_ns = now;
    view->line_open = view->terminal;
    compose(line, sizeof line, p, seconds);
    if (!view->terminal) {
        fprintf(stderr, "%s\n", line);
        return;
    }
    size_t columns = terminal_columns();
    draw_bar(bar, seconds, pk_run_status_eta(p, now - view->begun_ns));
    if (strlen(line) + sizeof bar <= columns)
        fprintf(stderr, "\r%s %s\033[K", bar, line);
    else
        fprintf(stderr, "\r%.*s\033[K", (int)columns, line);
}

void pk_run_view_end(pk_run_view *view)
{
    if (view->line_open)
        fputc('\n', stderr);
    view->line_open = false;
}
