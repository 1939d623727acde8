/* report_tables.c - what summary.json says, for a reader: figures, stages, facts. */
#include "pipeline/report_parts.h"

#include "pipeline/markup.h"

#include <string.h>

const char *pk_report_word(const pk_json *object, const char *name)
{
    const char *word = pk_json_string(pk_json_member(object, name));
    return word ? word : "";
}

double pk_report_number(const pk_json *object, const char *name)
{
    double value = 0;
    return pk_json_number(pk_json_member(object, name), &value) ? value : 0;
}

uint64_t pk_report_count(const pk_json *object, const char *name)
{
    double value = pk_report_number(object, name) + 0.5;
    return value > 0 ? (uint64_t)(value < 1e15 ? value : 1e15) : 0;
}

void pk_report_whole(FILE *out, uint64_t value)
{
    if (value >= 1000) {
        pk_report_whole(out, value / 1000);
        fprintf(out, ",%03u", (unsigned)(value % 1000));
    } else
        fprintf(out, "%u", (unsigned)value);
}

static void put_count(FILE *out, uint64_t value, const char *what, const char *class)
{
    fprintf(out, "<div class=\"figure%s%s\"><b>", *class ? " " : "", class);
    pk_report_whole(out, value);
    fprintf(out, "</b>%s</div>\n", what);
}

static void put_real(FILE *out, const char *format, double value, const char *what)
{
    fputs("<div class=\"figure\"><b>", out);
    fprintf(out, format, value);
    fprintf(out, "</b>%s</div>\n", what);
}

static void put_missing(FILE *out)
{
    fputs("<p class=\"missing\">There is no summary: the run has not come to its end.</p>\n", out);
}

pk_err pk_report_figures(pk_report *report)
{
    const pk_json *summary = report->summary;
    FILE *out = report->out;
    uint64_t failed = pk_report_count(summary, "failed"), left = pk_report_count(summary, "left");
    if (!summary) {
        put_missing(out);
        return PK_OK;
    }
    put_count(out, pk_report_count(summary, "done"), "done", "good");
    put_count(out, failed, "failed", failed ? "bad" : "");
    if (left)
        put_count(out, left, "left", "");
    put_count(out, pk_report_count(summary, "prompt_tokens"), "prompt tokens", "");
    put_count(out, pk_report_count(summary, "completion_tokens"), "answer tokens", "");
    put_count(out, pk_report_count(summary, "tokens_per_second"), "tokens/s", "");
    put_real(out, "%.2f s", pk_report_number(summary, "work_seconds"), "working");
    put_real(out, "%.2f s", pk_report_number(summary, "load_seconds"), "loading");
    return PK_OK;
}

static void put_word_cell(FILE *out, const char *word)
{
    fputs("<td>", out);
    pk_markup_text(out, word);
    fputs("</td>", out);
}

static void put_whole_cell(FILE *out, uint64_t value)
{
    fputs("<td class=\"n\">", out);
    pk_report_whole(out, value);
    fputs("</td>", out);
}

/* Seconds, with a bar of their part of the run. */
static void put_seconds_cell(FILE *out, double seconds, double all)
{
    double part = all > 0 ? 100 * seconds / all : 0;
    fprintf(out, "<td class=\"n bar\"><i style=\"width:%.1f%%\"></i><span>%.3f</span></td>", part < 100 ? part : 100,
            seconds);
}

/* Threads and weights; a text stage has none to tell. */
static void put_compute_cells(FILE *out, const pk_json *stage)
{
    if (!*pk_report_word(stage, "device")) {
        fputs("<td></td><td></td>", out);
        return;
    }
    put_whole_cell(out, pk_report_count(stage, "threads"));
    fprintf(out, "<td class=\"n\">%.1f</td>", (double)pk_report_count(stage, "weight_bytes") / 1e6);
}

static void put_stage(FILE *out, const pk_json *stage, double work)
{
    fputs("<tr>", out);
    put_word_cell(out, pk_report_word(stage, "name"));
    put_word_cell(out, pk_report_word(stage, "kind"));
    put_word_cell(out, pk_report_word(stage, "layers"));
    put_word_cell(out, pk_report_word(stage, "device"));
    put_compute_cells(out, stage);
    fprintf(out, "<td class=\"n\">%.3f</td>", pk_report_number(stage, "load_seconds"));
    put_whole_cell(out, pk_report_count(stage, "batches"));
    put_whole_cell(out, pk_report_count(stage, "rows"));
    put_seconds_cell(out, pk_report_number(stage, "busy_seconds"), work);
    put_seconds_cell(out, pk_report_number(stage, "wait_seconds"), work);
    fputs("</tr>\n", out);
}

pk_err pk_report_stages(pk_report *report)
{
    const pk_json *stages = pk_json_member(report->summary, "stages");
    if (!stages) {
        put_missing(report->out);
        return PK_OK;
    }
    fputs("<table id=\"stages\"><thead><tr><th>stage<th>kind<th>layers<th>device<th class=\"n\">threads"
          "<th class=\"n\">weights MB<th class=\"n\">load s<th class=\"n\">batches<th class=\"n\">rows"
          "<th class=\"n\">busy s<th class=\"n\">wait s</tr></thead><tbody>\n",
          report->out);
    for (size_t i = 0; i < pk_json_count(stages); i++)
        put_stage(report->out, pk_json_item(stages, i), pk_report_number(report->summary, "work_seconds"));
    fputs("</tbody></table>\n", report->out);
    return PK_OK;
}

static void put_fact(FILE *out, const char *name, const char *word)
{
    fprintf(out, "<dt>%s</dt><dd>", name);
    pk_markup_text(out, *word ? word : "not known");
    fputs("</dd>\n", out);
}

pk_err pk_report_facts(pk_report *report)
{
    fputs("<dl>\n", report->out);
    put_fact(report->out, "question", pk_report_word(report->summary, "question"));
    put_fact(report->out, "model", pk_report_word(report->summary, "model"));
    put_fact(report->out, "model digest", pk_report_word(report->summary, "model_digest"));
    put_fact(report->out, "numeric mode", pk_report_word(report->summary, "numeric_mode"));
    put_fact(report->out, "results", report->options->out_dir);
    put_fact(report->out, "run directory", report->run_dir);
    fputs("</dl>\n", report->out);
    return PK_OK;
}
