/* Ranges of a kernel's items, and products, shared among threads and cut where they may be stopped
 * (watch.h). Nothing here allocates or can fail; statuses as in schedule.h. */
#ifndef LF_RANGES_H
#define LF_RANGES_H
#include "dispatch.h"

/* ns of one operation, to tell small work from large. */
#define LF_SPEED 0.005
/* Operations in a piece of a call that may be stopped, as far as it can be cut so small: some ms. */
#define LF_PIECE 8e8

typedef int32_t (*lf_range_kernel)(void *a, int64_t begin, int64_t end, int64_t worker);

/* kernel(a, ...) over 0..count, cut at multiples of `grain`, by at most `workers` threads (those
 * that there is scratch for; the number that is set may change at any time). `cost` estimates the
 * whole work in floating-point operations (or bytes): small work stays on one thread. */
int32_t lf_run_range(lf_range_kernel kernel, void *a, int64_t count, int64_t grain, double cost,
                     int64_t workers);

/* C = A·B + bias, and Σ A ⊗ X, with scratch for `workers` threads: by_rows is chosen here, by_columns
 * by the caller. */
int32_t lf_run_product(const lf_table *k, lf_product *a, int64_t workers);
int32_t lf_run_outer(const lf_table *k, lf_outer *a, int64_t workers);

#endif
