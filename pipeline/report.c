#include "pipeline/report.h"

#include "loader/file.h"
#include "pipeline/folder.h"
#include "pipeline/graph.h"
#include "pipeline/markup.h"
#include "pipeline/report_parts.h"

#include <libgen.h>
#include <stdlib.h>
#include <string.h>

enum { SUMMARY_BYTES = 16 << 20, SUMMARY_VALUES = 1 << 20, GRAPH_COLUMNS = 150 };

extern const char pk_report_html[]; /* report.html; CMakeLists.txt makes an array of it */

static pk_err put_title(pk_report *report)
{
    pk_markup_text(report->out, report->options->out_dir);
    return PK_OK;
}

static pk_err put_version(pk_report *report)
{
    fputs(PK_VERSION, report->out);
    return PK_OK;
}

static pk_err put_graph(pk_report *report)
{
    char path[4352];
    pk_pipeline pipeline;
    if (!pk_file_is_there(report->run_dir, "pipeline.yaml")) {
        fputs("<p class=\"missing\">The run directory holds no pipeline.yaml.</p>\n", report->out);
        return PK_OK;
    }
    snprintf(path, sizeof path, "%s/pipeline.yaml", report->run_dir);
    pk_pipeline_init(&pipeline);
    pk_err err = pk_pipeline_read(&pipeline, path);
    if (!err)
        err =
            pk_graph_draw(&pipeline, (pk_graph_options){.format = PK_GRAPH_SVG, .columns = GRAPH_COLUMNS}, report->out);
    pk_pipeline_fini(&pipeline);
    return err;
}

/* What stands in report.html as <!--@NAME-->. */
static const struct {
    const char *name;
    pk_err (*put)(pk_report *report);
} parts[] = {
    {"title", put_title},
    {"version", put_version},
    {"figures", pk_report_figures},
    {"graph", put_graph},
    {"timeline", pk_report_timeline},
    {"stages", pk_report_stages},
    {"requests", pk_report_requests},
    {"facts", pk_report_facts},
};

static pk_err put_part(pk_report *report, const char *name, size_t bytes)
{
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (strlen(parts[i].name) == bytes && !memcmp(parts[i].name, name, bytes))
            return parts[i].put(report);
    return pk_fail(PK_INVALID, "report.html asks for a part %.*s", (int)bytes, name);
}

/* The frame, with each part where it belongs. */
static pk_err put_page(pk_report *report)
{
    static const char opening[] = "<!--@", closing[] = "-->";
    const char *at = pk_report_html, *mark;
    pk_err err = PK_OK;
    while (!err && (mark = strstr(at, opening))) {
        const char *name = mark + strlen(opening), *end = strstr(name, closing);
        fwrite(at, 1, (size_t)(mark - at), report->out);
        err = put_part(report, name, (size_t)(end - name));
        at = end + strlen(closing);
    }
    fputs(at, report->out);
    return err;
}

static pk_err read_summary(pk_report *report)
{
    char path[4352], *text = NULL;
    size_t bytes = 0;
    if (report->options->unended || !pk_file_is_there(report->options->out_dir, "summary.json"))
        return PK_OK;
    snprintf(path, sizeof path, "%s/summary.json", report->options->out_dir);
    pk_err err = pk_file_read_all(&text, &bytes, path, SUMMARY_BYTES);
    if (!err)
        err = pk_json_open(&report->summary, text, bytes, SUMMARY_VALUES);
    free(text);
    return pk_pass(err, "%s", path);
}

static pk_err check_run(const pk_report *report)
{
    const char *dir = report->options->out_dir;
    if (pk_file_is_there(dir, "results.jsonl") || pk_file_is_there(dir, "errors.jsonl") ||
        pk_file_is_there(dir, "summary.json"))
        return PK_OK;
    return pk_fail(PK_INVALID, "%s: holds no run: expected results.jsonl, errors.jsonl or summary.json there", dir);
}

/* The page into memory: a file that is half a page is worth nothing. */
static pk_err make_page(pk_report *report, char **page, size_t *bytes)
{
    if (!(report->out = open_memstream(page, bytes)))
        return pk_fail_errno(PK_NOMEM, "a page");
    pk_err err = put_page(report);
    bool lacking = ferror(report->out);
    if (fclose(report->out) || lacking)
        err = err ? err : pk_fail(PK_NOMEM, "a page");
    return err;
}

static pk_err put_file(const char *path, const char *page, size_t bytes)
{
    int folder = -1;
    char *dir = strdup(path), *name = strdup(path);
    pk_err err = dir && name ? pk_folder_open(&folder, dirname(dir)) : pk_fail(PK_NOMEM, "a path");
    if (!err)
        err = pk_folder_put(folder, basename(name), (pk_folder_data){.head = page, .head_bytes = bytes});
    pk_file_close(&folder);
    free(dir);
    free(name);
    return pk_pass(err, "%s", path);
}

pk_err pk_report_write(const pk_report_options *options)
{
    pk_report report = {.options = options};
    char *page = NULL;
    size_t bytes = 0;
    if (options->run_dir)
        snprintf(report.run_dir, sizeof report.run_dir, "%s", options->run_dir);
    else
        snprintf(report.run_dir, sizeof report.run_dir, "%s/.penstock", options->out_dir);
    pk_err err = check_run(&report);
    if (!err)
        err = read_summary(&report);
    if (!err)
        err = make_page(&report, &page, &bytes);
    if (!err)
        err = put_file(options->path, page, bytes);
    pk_json_close(&report.summary);
    free(page);
    /* Damaged bytes of our own, on our disk. */
    return err == PK_CORRUPT ? pk_fail(PK_IO, "%s", pk_error_text()) : err;
}
