#include "cli/run_progress.h"
#include "ipc/clock.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

static const uint64_t second_ns = 1000000000;

void pk_run_view_begin(pk_run_view *view)
{
    *view = (pk_run_view){.terminal = isatty(STDERR_FILENO)};
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

/* Seconds to go, judged by the bytes of documents that were prefilled; negative while that says nothing. */
static double remaining(const pk_run_progress *p, double seconds)
{
    double known = p->known_tokens ? (double)p->prompt_tokens / (double)p->known_tokens : 0;
    double part = p->bytes_total ? known * (double)p->bytes_read / (double)p->bytes_total : 0;
    return part > 0.01 ? seconds * (1 - part) / part : -1;
}

void pk_run_view_progress(void *context, const pk_run_progress *p)
{
    pk_run_view *view = context;
    uint64_t now = pk_clock_ns(), pause = view->terminal ? second_ns / 5 : 3 * second_ns;
    if (!view->loaded || now - view->said_ns < pause)
        return;
    double seconds = (double)(now - view->begun_ns) / 1e9, left = remaining(p, seconds);
    view->said_ns = now;
    view->line_open = view->terminal;
    fprintf(stderr,
            "%s%s%" PRIu64 "/%" PRIu64 " requests, %" PRIu32 " running, prefill %" PRIu64 " of %" PRIu64
            " tokens (%.0f/s), answers %" PRIu64 " tokens (%.0f/s)",
            view->terminal ? "\r" : "", p->draining ? "draining: " : "", p->ended, p->requests, p->running,
            p->prompt_tokens, p->known_tokens, (double)p->prompt_tokens / seconds, p->sampled_tokens,
            (double)p->sampled_tokens / seconds);
    if (left >= 0)
        fprintf(stderr, ", prefill done in about %.0f s", left);
    fputs(view->terminal ? "\033[K" : "\n", stderr);
}

void pk_run_view_end(pk_run_view *view)
{
    if (view->line_open)
        fputc('\n', stderr);
    view->line_open = false;
}
