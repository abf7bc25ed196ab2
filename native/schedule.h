/* How the kernels' work is shared among threads, and cut where it may be stopped (watch.h). Nothing
 * here allocates or can fail.
 *
 * All functions take the kernels of one kind of float and return the kernels' status (0: all is
 * well; with LF_STOPPED, too, once the watch has stopped). Sizes and pointers have been checked by the caller.
 */
#ifndef LF_LAYER_H
#define LF_LAYER_H
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

/* The forward pass over a->T steps, `chunk` steps projected at a time: with a->keep into z for all
 * steps, else into z for two chunks (one if that is one step). */
int32_t lf_run_forward(const lf_table *k, lf_layer *a, int64_t chunk);

/* dz for all steps, dc0 in a->dc, and dh0 unless a->dh0 is NULL. */
int32_t lf_run_backward(const lf_table *k, lf_layer *a);

#endif
