#include "pipeline/doctor.h"

#include "pipeline/probe.h"

#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

static const char *verdict_word(pk_verdict verdict)
{
    static const char *const words[] = {
#define X(name, word) [PK_VERDICT_##name] = word,
        PK_VERDICTS(X)
#undef X
    };
    return words[verdict];
}

void pk_finding_add(pk_doctor *doctor, const char *what, pk_verdict verdict, const char *advice, const char *value, ...)
{
    va_list arguments;
    if (doctor->count == PK_FINDINGS_MAX)
        return;
    pk_finding *to = &doctor->findings[doctor->count++];
    *to = (pk_finding){.what = what, .verdict = verdict, .advice = verdict == PK_VERDICT_OK ? "" : advice};
    va_start(arguments, value);
    vsnprintf(to->value, sizeof to->value, value, arguments);
    va_end(arguments);
}

static void look_at_speeds(pk_doctor *doctor, uint32_t cores)
{
    char device[PK_SPEED_NAME_BYTES];
    pk_speeds *s = &doctor->speeds;
    if (pk_probe_speeds(s, cores, device)) {
        *s = pk_speeds_builtin();
        pk_finding_add(
            doctor, "kernels", PK_VERDICT_MISSING,
            "the stage programs must lie in libexec/penstock beside the command, or PENSTOCK_LIBEXEC name them",
            "not measured: %s", pk_error_text());
        return;
    }
    pk_finding_add(doctor, "kernels", strcmp(device, "cpu:plain") ? PK_VERDICT_OK : PK_VERDICT_SLOWER,
                   "the fast kernels want AVX2, FMA and F16C of an x86-64 processor", "%s", device);
#define X(key, one_thread, all_threads, words)                                                                         \
    pk_finding_add(doctor, words, PK_VERDICT_OK, "", "%.1f with 1 thread, %.1f with %" PRIu32, s->key.one, s->key.all, \
                   cores);
    PK_SPEEDS(X)
#undef X
    double gain = s->product_512.all / s->product_512.one;
    pk_finding_add(doctor, "threads together", gain > 0.75 * cores ? PK_VERDICT_OK : PK_VERDICT_SLOWER,
                   "other jobs use the cores, or they share units (hyper-threads): run doctor again on a quiet machine",
                   "%" PRIu32 " threads do %.2f times the products of 1", cores, gain);
}

static int64_t whole(const pk_json *object, const char *name)
{
    int64_t value = 0;
    return pk_json_integer(pk_json_member(object, name), &value) ? value : 0;
}

static void look_at_accelerators(pk_doctor *doctor)
{
    static const char advice[] = "none is needed: this version computes on the CPU";
    pk_json *answer = NULL;
    if (pk_probe_ask(&answer, "accelerators", 0)) {
        pk_finding_add(doctor, "GPUs", PK_VERDICT_MISSING, advice, "not known: %s", pk_error_text());
        return;
    }
    const pk_json *devices = pk_json_member(answer, "devices");
    int64_t driver = whole(answer, "cuda"), nccl = whole(answer, "nccl");
    for (size_t i = 0; i < pk_json_count(devices); i++) {
        const char *name = pk_json_string(pk_json_member(pk_json_item(devices, i), "name"));
        pk_finding_add(doctor, "GPU", PK_VERDICT_OK, "", "%s, %.1f GiB", name ? name : "unknown",
                       (double)whole(pk_json_item(devices, i), "memory_bytes") / 0x1p30);
    }
    if (!pk_json_count(devices))
        pk_finding_add(doctor, "GPUs", PK_VERDICT_MISSING, advice, "none");
    pk_finding_add(doctor, "CUDA driver", driver ? PK_VERDICT_OK : PK_VERDICT_MISSING, advice,
                   driver ? "%d.%d" : "none", (int)(driver / 1000), (int)(driver % 1000 / 10));
    pk_finding_add(doctor, "NCCL", nccl ? PK_VERDICT_OK : PK_VERDICT_MISSING, advice, nccl ? "%d.%d.%d" : "none",
                   (int)(nccl / 10000), (int)(nccl / 100 % 100), (int)(nccl % 100));
    pk_json_close(&answer);
}

void pk_doctor_examine(pk_doctor *out, pk_doctor_options options)
{
    *out = (pk_doctor){0};
    pk_doctor_look_at_system(out, options.cores);
    look_at_speeds(out, options.cores);
    pk_doctor_look_at_disk(out, options.model, options.folder);
    look_at_accelerators(out);
}

pk_err pk_doctor_print(const pk_doctor *doctor, FILE *out)
{
    for (size_t i = 0; i < doctor->count; i++) {
        const pk_finding *f = &doctor->findings[i];
        fprintf(out, "%-8s %-42s %s\n", verdict_word(f->verdict), f->what, f->value);
        if (*f->advice)
            fprintf(out, "%-8s   -> %s\n", "", f->advice);
    }
    return fflush(out) || ferror(out) ? pk_fail_errno(PK_IO, "print the findings") : PK_OK;
}

void pk_doctor_json(const pk_doctor *doctor, pk_json_text *out)
{
    pk_json_text_raw(out, "{\"findings\": [");
    for (size_t i = 0; i < doctor->count; i++) {
        const pk_finding *f = &doctor->findings[i];
        pk_json_text_raw(out, "%s\n  {\"what\": \"%s\", \"verdict\": \"%s\", \"value\": ", i ? "," : "", f->what,
                         verdict_word(f->verdict));
        pk_json_text_word(out, f->value);
        pk_json_text_raw(out, ", \"advice\": ");
        pk_json_text_word(out, f->advice);
        pk_json_text_raw(out, "}");
    }
    pk_json_text_raw(out, "],\n \"threads\": %" PRIu32 ", \"speeds\": {", doctor->speeds.threads);
    const char *comma = "";
#define X(key, one_thread, all_threads, words)                                                                         \
    pk_json_text_raw(out, "%s\"" #key "\": [%.6g, %.6g]", comma, doctor->speeds.key.one, doctor->speeds.key.all);      \
    comma = ", ";
    PK_SPEEDS(X)
#undef X
    pk_json_text_raw(out, "}}\n");
}
