#include "turned.h"

#include <string.h>

#include "ranges.h"
#include "threads.h"

/* The kernel `pack` turns a matrix in registers, whose columns then lie in panels side by side. */

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
