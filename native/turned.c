#include "turned.h"

#include <string.h>

#include "ranges.h"
#include "threads.h"

/* ---------------------------------------------------------------- packing
 *
 * Only the kernel `pack` knows where columns go: it is given the numbers 1, 2, ... of the columns as a
 * matrix of one row, and 0 stands for what is past the end. Lanes of a vector that follow each other in a row
 * of the source are copied at once. */

enum { ROWS = 16 }; /* of the source that are copied at a time */

typedef struct turned_job {
    const char *source, *map;
    char *target;
    int64_t K, columns, lanes, width, item; /* lanes: of a panel; width: of a vector */
} turned_job;

static int64_t column_at(const turned_job *a, int64_t lane) {
    const char *p = a->map + lane * a->item;
    return (int64_t)(a->item == 8 ? *(const double *)p : *(const float *)p) - 1;
}

/* Do the lanes of a vector follow each other in the source? (Columns ascend within one.) */
static int is_whole(const turned_job *a, int64_t lane) {
    int64_t first = column_at(a, lane), last = column_at(a, lane + a->width - 1);
    return first >= 0 && last - first == a->width - 1;
}

#define COPY_ROWS(bytes) \
    for (int64_t k = 0; k < K; k++) memcpy(to + k * to_row, from + k * from_row, bytes)

static void copy_rows(const char *from, int64_t from_row, char *to, int64_t to_row, int64_t K,
                      int64_t bytes) {
    switch (bytes) { /* known sizes become moves of registers */
    case 64: COPY_ROWS(64); break;
    case 32: COPY_ROWS(32); break;
    case 16: COPY_ROWS(16); break;
    case 8: COPY_ROWS(8); break;
    default: COPY_ROWS(4);
    }
}

/* The rows k..k + K of `count` lanes that follow each other in the source, or are past the end. */
static void copy_lanes(const turned_job *a, int64_t lane, int64_t count, int64_t k, int64_t K) {
    int64_t column = column_at(a, lane), from_row = a->columns * a->item, to_row = a->lanes * a->item;
    int64_t panel = lane / a->lanes, within = lane % a->lanes;
    char *to = a->target + ((panel * a->K + k) * a->lanes + within) * a->item;
    if (column >= 0)
        copy_rows(a->source + k * from_row + column * a->item, from_row, to, to_row, K,
                  count * a->item);
    else
        for (int64_t i = 0; i < K; i++) memset(to + i * to_row, 0, count * a->item);
}

/* Some rows of all panels before the next rows: a source is read as it lies. */
static int32_t pack_panels(void *context, int64_t begin, int64_t end, int64_t worker) {
    const turned_job *a = context;
    (void)worker;
    for (int64_t k = 0; k < a->K; k += ROWS) {
        int64_t K = a->K - k < ROWS ? a->K - k : ROWS;
        for (int64_t v = begin * a->lanes; v < end * a->lanes; v += a->width) {
            int64_t count = is_whole(a, v) ? a->width : 1;
            for (int64_t w = 0; w < a->width; w += count) copy_lanes(a, v + w, count, k, K);
        }
    }
    return 0;
}

static void number_columns(void *row, int64_t columns, int64_t item) {
    for (int64_t n = 0; n < columns; n++)
        if (item == 8)
            ((double *)row)[n] = (double)(n + 1);
        else
            ((float *)row)[n] = (float)(n + 1);
}

void lf_pack_turned(const lf_part *part, const void *kernel, void *target, int64_t K, void *map) {
    int64_t columns = 4 * part->H, panels = (part->H + part->width - 1) / part->width;
    char *row = (char *)target; /* it has room for a row, and is overwritten below */
    number_columns(row, columns, part->item);
    memset(map, 0, panels * 4 * part->width * part->item);
    lf_pack one = {.source = row, .target = map, .K = 1, .columns = columns, .gates = 1};
    one.k_stride = one.n_stride = 1;
    ((lf_range_kernel)part->kernels->pack)(&one, 0, panels, 0);
    turned_job job = {.source = kernel, .map = map, .target = target, .K = K, .columns = columns};
    job.lanes = 4 * part->width, job.width = part->width, job.item = part->item;
    lf_run_range(pack_panels, &job, panels, 1, 8.0 * K * columns, lf_get_num_threads());
}

/* ---------------------------------------------------------------- transposes
 *
 * The kernel `pack` turns a matrix in registers, whose columns then lie in panels side by side. */

typedef struct turn_job {
    const lf_part *part;
    const char *source;
    char *target, *panels;
    int64_t rows, columns;
} turn_job;

static int32_t turn_panels(void *context, int64_t begin, int64_t end, int64_t worker) {
    const turn_job *a = context;
    int64_t item = a->part->item, lanes = 4 * a->part->width;
    for (int64_t p = begin; p < end; p++) {
        int64_t first = p * lanes, count = a->rows - first < lanes ? a->rows - first : lanes;
        char *panel = a->panels + first * a->columns * item;
        lf_pack one = {.source = (char *)a->source + first * a->columns * item, .target = panel};
        one.k_stride = 1, one.n_stride = one.K = a->columns, one.columns = count;
        ((lf_range_kernel)a->part->kernels->pack)(&one, 0, 1, worker);
        for (int64_t k = 0; k < a->columns; k++)
            memcpy(a->target + (k * a->rows + first) * item, panel + k * lanes * item, count * item);
    }
    return 0;
}

void lf_turn(const lf_part *part, const void *source, void *target, int64_t rows, int64_t columns,
             void *room) {
    turn_job job = {part, source, target, room, rows, columns};
    int64_t lanes = 4 * part->width;
    lf_run_range(turn_panels, &job, (rows + lanes - 1) / lanes, 1, 8.0 * rows * columns,
                 lf_get_num_threads());
}
