/* doctor.c - penstock doctor: what this machine offers and lacks. */
#include "cli/command.h"
#include "cli/json.h"
#include "pipeline/doctor.h"
#include "pipeline/machine.h"

struct values {
    const char *model, *folder;
    bool json, forget;
};

static const pk_option options[] = {
    {.name = "model",
     .letter = 'm',
     .type = PK_OPTION_TEXT,
     .argument = "DIR",
     .group = "What to look at",
     .help = "read this checkpoint to measure its disk; unsaid: a scratch file of 128 MiB in the folder",
     PK_OPTION_INTO(struct values, model)},
    {.name = "folder",
     .type = PK_OPTION_TEXT,
     .argument = "DIR",
     .standard = ".",
     .group = "What to look at",
     .help = "where results would be written",
     PK_OPTION_INTO(struct values, folder)},
    PK_JSON_OPTION(struct values, json),
    {.name = "no-save",
     .type = PK_OPTION_FLAG,
     .group = "Output",
     .help = "do not keep the speeds for plan, check and run",
     PK_OPTION_INTO(struct values, forget)},
    {0},
};

static pk_exit print(const pk_doctor *doctor, bool json)
{
    pk_json_text text = {0};
    if (!json)
        return pk_exit_report(PK_DOING_OUTPUT, pk_doctor_print(doctor, stdout));
    pk_doctor_json(doctor, &text);
    return pk_json_print(&text);
}

/* Later commands do with built-in speeds where these cannot be kept. */
static void save(const pk_doctor *doctor)
{
    char path[PK_SPEED_SOURCE_BYTES];
    if (!doctor->speeds.measured)
        return;
    if (pk_speeds_write(&doctor->speeds) || pk_speeds_path(path, sizeof path))
        fprintf(stderr, "penstock: the speeds are not kept for plan, check and run: %s\n", pk_error_text());
    else
        fprintf(stderr, "penstock: plan, check and run will choose by these speeds: %s\n", path);
}

static pk_exit run(const void *parsed, const pk_words *operands)
{
    const struct values *values = parsed;
    pk_doctor doctor;
    (void)operands;
    pk_doctor_examine(&doctor, (pk_doctor_options){
                                   .cores = pk_machine_read().cores, .model = values->model, .folder = values->folder});
    pk_exit code = print(&doctor, values->json);
    if (!code && !values->forget)
        save(&doctor);
    return code;
}

const pk_command pk_command_doctor = {
    .name = "doctor",
    .group = "Pipelines",
    .summary = "what this machine offers and lacks: speeds, io_uring, huge pages, limits, disks, GPUs",
    .operands = "",
    .details =
        "Takes some seconds and is best run on a quiet machine. Each line: ok, slower or missing; what; how much; what "
        "to\n"
        "do about it. The speeds are kept in the user's cache folder, and by them plan, check and run choose stages,\n"
        "threads and batch rows where the pipeline file says nothing.",
    .options = options,
    .values_bytes = sizeof(struct values),
    .examples = {"penstock doctor", "penstock doctor -m /models/MiniMax-M1-80k --folder /data/out --json"},
    .run = run,
};
