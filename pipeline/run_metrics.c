/* The Prometheus form of run_status.h. A family is a row of one of two tables: of the run, of each process. */
#include "pipeline/process_usage.h"
#include "pipeline/run_status.h"

#include <stdlib.h>
#include <unistd.h>

typedef struct {
    const char *name, *type, *help;
    double (*value)(const pk_run_status *status);
} run_family;

#define VALUE(name, expression)                                                                                        \
    static double name(const pk_run_status *s)                                                                         \
    {                                                                                                                  \
        return (double)(expression);                                                                                   \
    }

VALUE(uptime, (double)s->uptime_ns / 1e9)
VALUE(requests, s->progress->requests)
VALUE(ended, s->progress->ended)
VALUE(failed, s->progress->failed)
VALUE(queued, s->progress->queued)
VALUE(waiting, s->progress->waiting)
VALUE(running, s->progress->running)
VALUE(in_flight, s->progress->in_flight)
VALUE(window, s->limits->window)
VALUE(prompt_tokens, s->progress->prompt_tokens)
VALUE(answer_tokens, s->progress->sampled_tokens)
VALUE(answered, s->console.answered)
VALUE(refused, s->console.refused)

static const run_family run_families[] = {
    {"uptime_seconds", "gauge", "Since the processes of the run were started.", uptime},
    {"requests", "gauge", "Requests of the run, those of earlier starts included.", requests},
    {"requests_ended_total", "counter", "Requests that have their record.", ended},
    {"requests_failed_total", "counter", "Of these, failures.", failed},
    {"requests_queued", "gauge", "Requests that nobody has begun.", queued},
    {"sequences_waiting", "gauge", "Sequences that wait for a slot and room for their cache.", waiting},
    {"sequences_running", "gauge", "Sequences in prefill or decode.", running},
    {"batches_in_flight", "gauge", "Batches inside the stages.", in_flight},
    {"batches_window", "gauge", "The most that may be.", window},
    {"prompt_tokens_total", "counter", "Prompt tokens that have gone through all layers.", prompt_tokens},
    {"answer_tokens_total", "counter", "Answer tokens that were sampled.", answer_tokens},
    {"console_answered_total", "counter", "Questions that the console answered.", answered},
    {"console_refused_total", "counter", "What came to the console and was no question.", refused},
};

typedef struct {
    const char *name, *kind;
    pk_stage_counters counters;
    pk_process_usage usage;
    uint64_t weight_bytes, log_bytes_cut;
} sample;

typedef struct {
    const char *name, *type, *help;
    double (*value)(const sample *sample);
    bool of_living; /* nothing is said of a process that is gone */
} process_family;

#define SAMPLE(name, expression)                                                                                       \
    static double name(const sample *s)                                                                                \
    {                                                                                                                  \
        return (double)(expression);                                                                                   \
    }

SAMPLE(up, s->usage.state && s->usage.state != 'Z')
SAMPLE(resident, s->usage.resident_bytes)
SAMPLE(cpu, (double)s->usage.cpu_ns / 1e9)
SAMPLE(batches, s->counters.batches)
SAMPLE(rows, s->counters.rows)
SAMPLE(busy, (double)s->counters.busy_ns / 1e9)
SAMPLE(idle, (double)s->counters.wait_ns / 1e9)
SAMPLE(weights, s->weight_bytes)
SAMPLE(cut, s->log_bytes_cut)

static const process_family process_families[] = {
    {"process_up", "gauge", "1 while the process is there.", up, false},
    {"process_resident_bytes", "gauge", "Resident memory.", resident, true},
    {"process_cpu_seconds_total", "counter", "Processor time of all its threads.", cpu, true},
    {"process_batches_total", "counter", "Batches that it has done.", batches, false},
    {"process_rows_total", "counter", "Rows of these.", rows, false},
    {"process_busy_seconds_total", "counter", "Time within batches.", busy, false},
    {"process_wait_seconds_total", "counter", "Time waiting for batches.", idle, false},
    {"process_weight_bytes", "gauge", "Weights that it holds.", weights, false},
    {"process_log_cut_bytes_total", "counter", "Of its log, what was beyond the limits and is lost.", cut, false},
};

static void add_head(pk_json_text *out, const char *name, const char *type, const char *help)
{
    pk_json_text_raw(out, "# HELP penstock_%s %s\n# TYPE penstock_%s %s\n", name, help, name, type);
}

/* Free it; NULL: no memory. The coordinator is the first. */
static sample *take_samples(const pk_run_status *s, size_t *count)
{
    size_t stages = s->fleet ? pk_fleet_count(s->fleet) : 0;
    sample *samples = calloc(stages + 1, sizeof *samples);
    if (!samples)
        return NULL;
    samples[0] = (sample){.name = "penstock", .kind = "coordinator"};
    pk_process_usage_read(getpid(), &samples[0].usage);
    for (size_t i = 0; i < stages; i++) {
        pk_fleet_stage stage = pk_fleet_at(s->fleet, i);
        samples[i + 1] = (sample){.name = stage.spec->name,
                                  .kind = pk_stage_kind_word(stage.spec->kind),
                                  .counters = stage.counters,
                                  .weight_bytes = stage.bytes_total,
                                  .log_bytes_cut = stage.log_bytes_cut};
        pk_process_usage_read(stage.pid, &samples[i + 1].usage);
    }
    *count = stages + 1;
    return samples;
}

/* Names of stages are of a-z, 0-9 and -, so that labels need no escapes. */
static void add_processes(pk_json_text *out, const sample *samples, size_t count)
{
    for (size_t f = 0; f < sizeof process_families / sizeof *process_families; f++) {
        const process_family *family = &process_families[f];
        add_head(out, family->name, family->type, family->help);
        for (size_t i = 0; i < count; i++)
            if (up(&samples[i]) > 0 || !family->of_living)
                pk_json_text_raw(out, "penstock_%s{process=\"%s\",kind=\"%s\"} %.17g\n", family->name, samples[i].name,
                                 samples[i].kind, family->value(&samples[i]));
    }
}

void pk_run_status_metrics(pk_json_text *out, const pk_run_status *status)
{
    size_t count = 0;
    sample *samples = take_samples(status, &count);
    if (!samples) {
        out->lacking = true;
        return;
    }
    add_head(out, "run_state", "gauge", "1 for the state that the run is in.");
    pk_json_text_raw(out, "penstock_run_state{state=\"%s\"} 1\n", status->state);
    for (size_t i = 0; i < sizeof run_families / sizeof *run_families; i++) {
        add_head(out, run_families[i].name, run_families[i].type, run_families[i].help);
        pk_json_text_raw(out, "penstock_%s %.17g\n", run_families[i].name, run_families[i].value(status));
    }
    add_processes(out, samples, count);
    free(samples);
}
