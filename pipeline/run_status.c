#include "pipeline/run_status.h"
#include "pipeline/process_usage.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static double seconds(uint64_t ns)
{
    return (double)ns / 1e9;
}

double pk_run_status_prefilled(const pk_run_progress *p)
{
    double known = p->known_tokens ? (double)p->prompt_tokens / (double)p->known_tokens : 0;
    return p->bytes_total ? known * (double)p->bytes_read / (double)p->bytes_total : 0;
}

/* Answer tokens to come: those that have ended tell how long an answer is; before that, the most it may be. */
static double answer_tokens_left(const pk_run_progress *p)
{
    double each = p->answers ? (double)p->answer_tokens / (double)p->answers : p->max_tokens;
    double left = each * (double)(p->requests - p->ended) - (double)(p->sampled_tokens - p->answer_tokens);
    return left > 0 ? left : 0;
}

double pk_run_status_eta(const pk_run_progress *p, uint64_t work_ns)
{
    double part = pk_run_status_prefilled(p), done = (double)(p->prompt_tokens + p->sampled_tokens);
    if (part < 0.01 || done < 1 || !work_ns)
        return -1;
    double prompt_left = (double)p->prompt_tokens * (1 - part) / part;
    return (prompt_left + answer_tokens_left(p)) * seconds(work_ns) / done;
}

static double tokens_per_second(const pk_run_status *s)
{
    return s->work_ns ? (double)(s->progress->prompt_tokens + s->progress->sampled_tokens) / seconds(s->work_ns) : 0;
}

/* What a process is doing, of what it said and what the kernel says. */
static const char *activity(const pk_fleet_stage *stage, const pk_process_usage *usage)
{
    if (usage->state == 'T' || usage->state == 't')
        return "stopped";
    if (strcmp(stage->state, "ready") != 0)
        return stage->state;
    return stage->counters.waiting_on == PK_WAIT_BATCH ? "waiting" : "working";
}

static void add_process(pk_json_text *out, pid_t pid, const pk_process_usage *usage)
{
    pk_json_text_raw(out, "\"pid\": %d, \"resident_bytes\": %" PRIu64 ", \"cpu_seconds\": %.2f", (int)pid,
                     usage->resident_bytes, seconds(usage->cpu_ns));
}

static void add_stage(pk_json_text *out, const pk_fleet_stage *stage)
{
    const pk_stage_spec *spec = stage->spec;
    const pk_stage_counters *c = &stage->counters;
    pk_process_usage usage;
    pk_process_usage_read(stage->pid, &usage);
    pk_json_text_raw(out, ", {\"name\": \"%s\", \"kind\": \"%s\", ", spec->name, pk_stage_kind_word(spec->kind));
    if (spec->kind == PK_STAGE_LAYERS)
        pk_json_text_raw(out, "\"layers\": \"%" PRIu32 "-%" PRIu32 "\", ", spec->first_layer, spec->last_layer);
    pk_json_text_raw(out, "\"state\": \"%s\", \"device\": ", activity(stage, &usage));
    pk_json_text_word(out, stage->ready.device_name[0] ? stage->ready.device_name : spec->device);
    pk_json_text_raw(out, ", \"threads\": %" PRIu32 ", ", spec->threads);
    add_process(out, stage->pid, &usage);
    pk_json_text_raw(out, ", \"weight_bytes\": %" PRIu64 ", \"loaded_bytes\": %" PRIu64, stage->bytes_total,
                     stage->bytes_done);
    pk_json_text_raw(out,
                     ", \"batches\": %" PRIu64 ", \"rows\": %" PRIu64
                     ", \"busy_seconds\": %.3f, \"wait_seconds\": %.3f, \"log_bytes_cut\": %" PRIu64 "}",
                     c->batches, c->rows, seconds(c->busy_ns), seconds(c->wait_ns), stage->log_bytes_cut);
}

/* The coordinator is a process like the others; it is first. */
static void add_processes(pk_json_text *out, const pk_run_status *s)
{
    pk_process_usage usage;
    pk_process_usage_read(getpid(), &usage);
    pk_json_text_raw(out, "{\"name\": \"penstock\", \"kind\": \"coordinator\", \"state\": \"%s\", ", s->state);
    add_process(out, getpid(), &usage);
    pk_json_text_raw(out, "}");
    for (size_t i = 0; s->fleet && i < pk_fleet_count(s->fleet); i++) {
        pk_fleet_stage stage = pk_fleet_at(s->fleet, i);
        add_stage(out, &stage);
    }
}

static void add_time(pk_json_text *out)
{
    struct timespec now;
    struct tm utc;
    char stamp[32];
    clock_gettime(CLOCK_REALTIME, &now);
    strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now.tv_sec, &utc));
    pk_json_text_raw(out, "\"time\": \"%s\", ", stamp);
}

void pk_run_status_json(pk_json_text *out, const pk_run_status *s)
{
    const pk_run_progress *p = s->progress;
    double eta = pk_run_status_eta(p, s->work_ns);
    pk_json_text_raw(out, "{\"state\": \"%s\", ", s->state);
    add_time(out);
    pk_json_text_raw(out, "\"uptime_seconds\": %.3f, \"work_seconds\": %.3f, ", seconds(s->uptime_ns),
                     seconds(s->work_ns));
    pk_json_text_raw(out, "\"requests\": %" PRIu64 ", \"ended\": %" PRIu64 ", \"failed\": %" PRIu64 ", ", p->requests,
                     p->ended, p->failed);
    pk_json_text_raw(out, "\"queued\": %" PRIu64 ", \"waiting\": %" PRIu32 ", \"running\": %" PRIu32 ", ", p->queued,
                     p->waiting, p->running);
    pk_json_text_raw(out, "\"sequences\": %" PRIu32 ", \"in_flight\": %" PRIu32 ", \"window\": %" PRIu32 ", ",
                     s->limits->sequences, p->in_flight, s->limits->window);
    pk_json_text_raw(out, "\"prompt_tokens\": %" PRIu64 ", \"answer_tokens\": %" PRIu64 ", ", p->prompt_tokens,
                     p->sampled_tokens);
    pk_json_text_raw(out, "\"prefilled\": %.4f, \"tokens_per_second\": %.1f, ", pk_run_status_prefilled(p),
                     tokens_per_second(s));
    if (eta >= 0 && (strcmp(s->state, "running") == 0 || strcmp(s->state, "draining") == 0))
        pk_json_text_raw(out, "\"eta_seconds\": %.0f, ", eta);
    pk_json_text_raw(out, "\"console\": {\"answered\": %" PRIu64 ", \"refused\": %" PRIu64 "}, \"processes\": [",
                     s->console.answered, s->console.refused);
    add_processes(out, s);
    pk_json_text_raw(out, "]}\n");
}
