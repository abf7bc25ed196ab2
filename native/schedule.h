/* How a layer's work is shared among threads, and cut where it may be stopped (watch.h). Nothing
 * here allocates or can fail.
 *
 * All functions take the kernels of one kind of float and return the kernels' status (0: all is
 * well; with LF_STOPPED, too, once the watch has stopped). Sizes and pointers have been checked by the caller.
 */
#ifndef LF_SCHEDULE_H
#define LF_SCHEDULE_H
#include "ranges.h"

/* The forward pass over a->T steps, `chunk` steps projected at a time: with a->keep into z for all
 * steps, else into z for two chunks (one if that is one step). */
int32_t lf_run_forward(const lf_table *k, lf_layer *a, int64_t chunk);

/* May threads share a step of one row, of a plain layer? */
int lf_shares_step(int64_t I, int64_t H);

/* dz for all steps, dc0 in a->dc, and dh0 unless a->dh0 is NULL. */
int32_t lf_run_backward(const lf_table *k, lf_layer *a);

#endif
