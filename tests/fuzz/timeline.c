/* The file of a timeline, which `penstock report` reads back. */
#include "fuzz.h"
#include "pipeline/timeline_read.h"

enum { MARKS = 64, BINS = 16 };

static void check_view(const pk_timeline_view *view)
{
    MUST(view->row_count <= PK_TIMELINE_ROWS);
    MUST(view->marks == NULL || view->mark_count <= MARKS);
    for (uint64_t i = 0; view->marks && i < view->mark_count; i++)
        MUST(view->marks[i].row < view->row_count && view->marks[i].start_ns <= view->marks[i].end_ns);
    for (uint32_t row = 0; row < view->row_count; row++)
        MUST(view->rows[row].slices <= view->slice_count && view->rows[row].name);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    pk_timeline_view view;
    pk_err err = pk_timeline_read(&view, fuzz_file(data, size), MARKS, BINS);
    if (err)
        fuzz_refused(err);
    else
        check_view(&view);
    pk_timeline_view_fini(&view);
    return 0;
}
