#include "cli/run_table.h"
#include "cli/live.h"

#include <inttypes.h>
#include <string.h>

enum { CELL_BYTES = 16 };

const char *pk_run_table_duration(char out[PK_DURATION_BYTES], double seconds)
{
    uint64_t whole = seconds > 0 && seconds < 1e12 ? (uint64_t)(seconds + 0.5) : 0;
    if (seconds < 0)
        snprintf(out, PK_DURATION_BYTES, "-");
    else if (whole >= 3600)
        snprintf(out, PK_DURATION_BYTES, "%" PRIu64 ":%02d:%02d", whole / 3600, (int)(whole / 60 % 60),
                 (int)(whole % 60));
    else
        snprintf(out, PK_DURATION_BYTES, "%d:%02d", (int)(whole / 60), (int)(whole % 60));
    return out;
}

static const char *bytes_cell(char out[CELL_BYTES], double bytes)
{
    if (bytes <= 0)
        snprintf(out, CELL_BYTES, "-");
    else if (bytes < 0x1p30)
        snprintf(out, CELL_BYTES, "%.1f MiB", bytes / 0x1p20);
    else
        snprintf(out, CELL_BYTES, "%.1f GiB", bytes / 0x1p30);
    return out;
}

void pk_run_table_summary(FILE *out, const pk_json *s)
{
    char eta[PK_DURATION_BYTES], uptime[PK_DURATION_BYTES];
    double left = pk_json_member(s, "eta_seconds") ? pk_look_number(s, "eta_seconds") : -1;
    fprintf(out, "%s for %s; %.0f of %.0f requests ended, %.0f failed; ETA %s\n", pk_look_word(s, "state"),
            pk_run_table_duration(uptime, pk_look_number(s, "uptime_seconds")), pk_look_number(s, "ended"),
            pk_look_number(s, "requests"), pk_look_number(s, "failed"), pk_run_table_duration(eta, left));
    fprintf(out, "prefill %.0f %%, %.0f tokens; answers %.0f tokens; %.1f tokens/s\n",
            100 * pk_look_number(s, "prefilled"), pk_look_number(s, "prompt_tokens"),
            pk_look_number(s, "answer_tokens"), pk_look_number(s, "tokens_per_second"));
    fprintf(out, "queue %.0f requests, %.0f waiting; %.0f of %.0f sequences running; window %.0f of %.0f batches\n",
            pk_look_number(s, "queued"), pk_look_number(s, "waiting"), pk_look_number(s, "running"),
            pk_look_number(s, "sequences"), pk_look_number(s, "in_flight"), pk_look_number(s, "window"));
}

/* The process of the same name in an earlier status, or NULL. */
static const pk_json *find_process(const pk_json *status, const char *name)
{
    const pk_json *processes = status ? pk_json_member(status, "processes") : NULL;
    for (size_t i = 0; processes && i < pk_json_count(processes); i++) {
        const pk_json *process = pk_json_item(processes, i);
        if (strcmp(pk_look_word(process, "name"), name) == 0)
            return process;
    }
    return NULL;
}

static double cpu_share(const pk_json *status, const pk_json *before, const pk_json *process)
{
    const pk_json *earlier = find_process(before, pk_look_word(process, "name"));
    double since = earlier ? pk_look_number(before, "uptime_seconds") : 0;
    double used = pk_look_number(process, "cpu_seconds") - (earlier ? pk_look_number(earlier, "cpu_seconds") : 0);
    double seconds = pk_look_number(status, "uptime_seconds") - since;
    return seconds > 0 ? 100 * used / seconds : 0;
}

/* A process's weights while they are being read: how far they are. */
static const char *state_cell(char out[CELL_BYTES], const pk_json *process)
{
    double total = pk_look_number(process, "weight_bytes");
    const char *state = pk_look_word(process, "state");
    if (strcmp(state, "loading") == 0 && total > 0)
        snprintf(out, CELL_BYTES, "load %.0f %%", 100 * pk_look_number(process, "loaded_bytes") / total);
    else
        snprintf(out, CELL_BYTES, "%s", state);
    return out;
}

static const char *or_dash(const char *word)
{
    return *word ? word : "-";
}

static void print_process(FILE *out, const pk_json *status, const pk_json *before, const pk_json *process)
{
    char state[CELL_BYTES], memory[CELL_BYTES];
    bool is_stage = pk_json_member(process, "batches") != NULL;
    fprintf(out, "%-16s %-11s %-7s %8.0f %-9s %-9s %10s %7.2f", pk_look_word(process, "name"),
            pk_look_word(process, "kind"), or_dash(pk_look_word(process, "layers")), pk_look_number(process, "pid"),
            state_cell(state, process), or_dash(pk_look_word(process, "device")),
            bytes_cell(memory, pk_look_number(process, "resident_bytes")), cpu_share(status, before, process));
    if (is_stage)
        fprintf(out, " %9.0f %10.0f %9.1f %9.1f", pk_look_number(process, "batches"), pk_look_number(process, "rows"),
                pk_look_number(process, "busy_seconds"), pk_look_number(process, "wait_seconds"));
    fputc('\n', out);
}

void pk_run_table_processes(FILE *out, const pk_json *status, const pk_json *before)
{
    const pk_json *processes = pk_json_member(status, "processes");
    fprintf(out, "%-16s %-11s %-7s %8s %-9s %-9s %10s %7s %9s %10s %9s %9s\n", "STAGE", "KIND", "LAYERS", "PID",
            "STATE", "DEVICE", "MEMORY", "CPU %", "BATCHES", "ROWS", "BUSY s", "WAIT s");
    for (size_t i = 0; processes && i < pk_json_count(processes); i++)
        print_process(out, status, before, pk_json_item(processes, i));
}
