#include "turned.h"

#include <string.h>

#include "schedule.h"
#include "threads.h"

/* ---------------------------------------------------------------- packing
 *
 * Where columns go only the kernel `pack` knows: it is given the numbers 1, 2, ... of the columns as a
 * matrix of one row, and 0 stands for what is past the end. Lanes of a vector that follow each other in a row
 * of the source are copied at once. */

typedef struct turned_job {
    const char *source, *map;
    char *target;
    int64_t K, columns, lanes, width, item; /* lanes: of a panel; width: of a vector */
} turned_job;

static int64_t column_at(const turned_job *a, int64_t lane) {
    const char *p = a->map + lane * a->item;
    return (int64_t)(a->item == 8 ? *(const double *)p : *(const float *)p) - 1;
}

static int is_whole(const turned_job *a, int64_t lane) {
    int64_t first = column_at(a, lane);
    for (int64_t w = 1; w < a->width; w++)
        if (column_at(a, lane + w) != first + w) return 0;
    return first >= 0;
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

static void copy_lane(const turned_job *a, int64_t lane, char *to) {
    int64_t column = column_at(a, lane);
    if (column >= 0) {
        copy_rows(a->source + column * a->item, a->columns * a->item, to, a->lanes * a->item, a->K,
                  a->item);
        return;
    }
    for (int64_t k = 0; k < a->K; k++) memset(to + k * a->lanes * a->item, 0, a->item);
}

static int32_t pack_panels(void *context, int64_t begin, int64_t end, int64_t worker) {
    const turned_job *a = context;
    (void)worker;
    for (int64_t p = begin; p < end; p++)
        for (int64_t v = 0; v < a->lanes; v += a->width) {
            int64_t lane = p * a->lanes + v;
            char *to = a->target + (p * a->K * a->lanes + v) * a->item;
            if (is_whole(a, lane))
                copy_rows(a->source + column_at(a, lane) * a->item, a->columns * a->item, to,
                          a->lanes * a->item, a->K, a->width * a->item);
            else
                for (int64_t w = 0; w < a->width; w++) copy_lane(a, lane + w, to + w * a->item);
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
    char *row = (char *)target; /* overwritten below; a row has as much room */
    number_columns(row, columns, part->item);
    memset(map, 0, panels * 4 * part->width * part->item);
    lf_pack one = {.source = row, .target = map, .K = 1, .columns = columns, .gates = 1};
    one.k_stride = one.n_stride = 1;
    ((lf_range_kernel)part->kernels->pack)(&one, 0, panels, 0);
    turned_job job = {.source = kernel, .map = map, .target = target, .K = K, .columns = columns};
    job.lanes = 4 * part->width, job.width = part->width, job.item = part->item;
    lf_run_range(pack_panels, &job, panels, 1, 8.0 * K * columns, lf_get_num_threads());
}

/* ---------------------------------------------------------------- transposes */

enum { SIDE = 16 }; /* rows and columns that are turned at a time */

#define TURN(kind)                                                                  \
    for (int64_t n = 0; n < columns; n++)                                           \
        for (int64_t m = 0; m < rows; m++)                                          \
            ((kind *)target)[n * all_rows + m] = ((const kind *)source)[m * all_columns + n]

static void turn_block(const char *source, char *target, int64_t rows, int64_t columns,
                       int64_t all_rows, int64_t all_columns, int64_t item) {
    if (item == 8)
        TURN(double);
    else
        TURN(float);
}

void lf_turn(const void *source, void *target, int64_t rows, int64_t columns, int64_t item) {
    for (int64_t m = 0; m < rows; m += SIDE)
        for (int64_t n = 0; n < columns; n += SIDE)
            turn_block((const char *)source + (m * columns + n) * item,
                       (char *)target + (n * rows + m) * item, rows - m < SIDE ? rows - m : SIDE,
                       columns - n < SIDE ? columns - n : SIDE, rows, columns, item);
}
