/* report_timeline.c - the timeline as numbers for the page's script, which draws them. */
#include "pipeline/report_parts.h"

#include "pipeline/json_text.h"

#include <string.h>

static uint64_t us(uint64_t ns)
{
    return (ns + 500) / 1000;
}

static void put_rows(pk_json_text *text, const pk_timeline_view *view)
{
    pk_json_text_raw(text, "\"rows\": [");
    for (uint32_t i = 0; i < view->row_count; i++) {
        const pk_timeline_row *row = &view->rows[i];
        pk_json_text_raw(text, "%s{\"name\": ", i ? ", " : "");
        pk_json_text_word(text, row->name);
        pk_json_text_raw(text, ", \"kind\": ");
        pk_json_text_word(text, row->category ? row->category : "");
        pk_json_text_raw(text, ", \"pid\": %" PRId64 ", \"batches\": %" PRIu64 ", \"busy\": %" PRIu64 "}", row->pid,
                         row->slices, us(row->busy_ns));
    }
    pk_json_text_raw(text, "]");
}

/* row, start, duration, batch, rows */
static void put_marks(pk_json_text *text, const pk_timeline_view *view)
{
    pk_json_text_raw(text, ",\n\"slices\": [");
    for (uint64_t i = 0; i < view->mark_count; i++) {
        const pk_timeline_mark *mark = &view->marks[i];
        pk_json_text_raw(text, "%s[%" PRIu32 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 "]", i ? "," : "",
                         mark->row, us(mark->start_ns), us(mark->end_ns - mark->start_ns), mark->batch, mark->rows);
    }
    pk_json_text_raw(text, "]");
}

/* Of each row, in each part of the time, how much of it was busy: per cent. */
static void put_bins(pk_json_text *text, const pk_timeline_view *view)
{
    pk_json_text_raw(text, ",\n\"bin\": %" PRIu64 ", \"bins\": [", us(view->bin_ns));
    for (uint32_t row = 0; row < view->row_count; row++) {
        pk_json_text_raw(text, "%s\n[", row ? "," : "");
        for (uint32_t bin = 0; bin < view->bin_count; bin++)
            pk_json_text_raw(text, "%s%" PRIu64, bin ? "," : "",
                             100 * view->bins[(size_t)row * view->bin_count + bin] / view->bin_ns);
        pk_json_text_raw(text, "]");
    }
    pk_json_text_raw(text, "]");
}

/* In a script element only "</script" and "<!--" mean something; without a "<" there is neither. */
static void put_script(FILE *out, const pk_json_text *text)
{
    fputs("<script type=\"application/json\" id=\"timeline-data\">", out);
    for (size_t i = 0; i < text->used; i++)
        if (text->bytes[i] == '<')
            fputs("\\u003c", out);
        else
            fputc(text->bytes[i], out);
    fputs("</script>\n", out);
}

static pk_err put_view(FILE *out, const pk_timeline_view *view)
{
    pk_json_text text = {0};
    pk_json_text_raw(&text, "{\"end\": %" PRIu64 ", \"batches\": %" PRIu64 ", ", us(view->end_ns), view->slice_count);
    put_rows(&text, view);
    if (view->bins)
        put_bins(&text, view);
    else
        put_marks(&text, view);
    pk_json_text_raw(&text, "}");
    pk_err err = pk_json_text_check(&text);
    if (!err)
        put_script(out, &text);
    pk_json_text_fini(&text);
    return err;
}

pk_err pk_report_timeline(pk_report *report)
{
    pk_timeline_view view = {0};
    if (!report->options->trace) {
        fputs("<p class=\"missing\">No timeline was kept: run with --report or --trace.</p>\n", report->out);
        return PK_OK;
    }
    pk_err err = pk_timeline_read(&view, report->options->trace, PK_REPORT_SLICES, PK_REPORT_BINS);
    if (err == PK_CORRUPT)
        err = pk_fail(PK_INVALID, "%s", pk_error_text()); /* a person named the file */
    if (!err && !view.slice_count)
        fputs("<p class=\"missing\">The timeline has no batches.</p>\n", report->out);
    else if (!err)
        err = put_view(report->out, &view);
    pk_timeline_view_fini(&view);
    return err;
}
