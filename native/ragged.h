/* Rows of unlike lengths: which row takes which step, and arrays brought into that order and back.
 *
 * Kernels want rows of falling length whose steps lie one after another. Callers have rows in any
 * order, steps that a mask leaves out anywhere, and may want them taken from the last to the first.
 */
#ifndef LF_ORDER_H
#define LF_ORDER_H
#include <stdint.h>

typedef struct lf_order {
    int64_t T, B;     /* the caller's */
    int64_t longest;  /* steps that the longest row takes */
    int64_t reversed; /* from the last step to the first */
    int64_t *row_ids; /* (B,): the caller's row of each sorted row */
    int64_t *lengths, *offsets, *active; /* as in lf_layer; offsets has longest + 1 */
    int64_t *steps;   /* (B, T): the caller's t of each step that a sorted row takes */
} lf_order;

/* Bytes of an order's arrays. */
int64_t lf_order_size(int64_t T, int64_t B);

/* Fill an order whose T, B and reversed are set. Row b takes the steps t < lengths[b], or those with
 * mask[t·mask_t + b·mask_b] != 0; one of the two is NULL. Lengths lie in 0..T. */
void lf_order_fill(lf_order *o, void *memory, const int64_t *lengths, const uint8_t *mask,
                   int64_t mask_t, int64_t mask_b);

/* Which steps the sorted rows begin anew: flags (T, B), in the order in which they take them, and
 * ends (B,): after their last one. A reset of a step that a mask leaves out counts for the next one
 * (`masked`); behind the end of a row there are none. Returns whether any flag is set. */
int lf_order_resets(const lf_order *o, const uint8_t *resets, int64_t t_stride, int64_t b_stride,
                    int masked, uint8_t *flags, uint8_t *ends);

/* Bytes of the arrays of a segment of an order. */
int64_t lf_segment_size(int64_t steps, int64_t B);

/* The `steps` steps from `first` on, counted as sorted rows take them: its lengths, offsets and
 * active are those of a sequence of its own. */
void lf_order_segment(const lf_order *o, int64_t first, int64_t steps, void *memory,
                      lf_order *segment);

/* An array of the caller, (t, b) at p + (t·t_stride + b·b_stride) elements, rows of `columns`. */
typedef struct lf_sequences {
    const lf_order *order;
    char *caller, *sorted; /* sorted: (longest, B, columns) */
    int64_t t_stride, b_stride, columns, item;
    int64_t repeat; /* steps left out hold the output of the step before, or else zeros */
} lf_sequences;

/* sorted = what the caller has at the steps taken. With `repeat` it is a gradient: what belongs to
 * steps left out is added to the step that they repeat. */
void lf_sort_sequences(const lf_sequences *a);

/* The caller's array = sorted, and zeros or repetitions where no step was taken. */
void lf_unsort_sequences(const lf_sequences *a);

/* The same of states (B, columns). */
void lf_sort_states(const lf_order *o, const void *caller, void *sorted, int64_t bytes);
void lf_unsort_states(const lf_order *o, const void *sorted, void *caller, int64_t bytes);

#endif
