/* Where work is cut: into shares for threads, and into pieces between two questions to the watch. */
#ifndef LF_CUTS_H
#define LF_CUTS_H
#include "ranges.h"

static inline int64_t at_most(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t at_least(int64_t a, int64_t b) { return a > b ? a : b; }
static inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

/* The first of `count` items for this share, a multiple of `grain`. */
static inline int64_t share_begin(int64_t count, int64_t grain, int64_t share, int64_t shares) {
    return at_most(count, ceil_div(count, grain) * share / shares * grain);
}

/* How many items of this cost are a piece. */
static inline int64_t piece_of(double cost) {
    return cost < 1 ? (int64_t)LF_PIECE : at_least(1, (int64_t)(LF_PIECE / cost));
}

/* Bytes of a number of the kind that these kernels are for, and how many a vector has. */
static inline int64_t item_size(const lf_table *k) {
    return k == lf_kernels(1) ? (int64_t)sizeof(double) : (int64_t)sizeof(float);
}

static inline int64_t lanes(const lf_table *k) { return k->register_bytes / item_size(k); }

#endif
