/* The table of kernels and the choice of one for this processor. */
#ifndef LF_KERNELS_H
#define LF_KERNELS_H
#include "kernel_table.h"

/* Choose the tables for this processor, or for a lesser instruction set named by `wanted`
 * ("v2", "v3", "v4", "neon"; NULL: the best). Returns 0, or -1 if `wanted` is unknown or beyond
 * this processor. */
int lf_choose_isa(const char *wanted);

/* The best instruction set of this processor, whether objects for it are linked in or not. */
const char *lf_best_isa(void);

/* "v4", ..., "jit", or "none" while no kernels are bound. */
const char *lf_isa_name(void);

/* The table for double (is_double) or float; its pointers are NULL while nothing is bound. */
const lf_table *lf_kernels(int is_double);

/* Put one kernel compiled at run time into the table. Returns 0, or -1 for an unknown name. */
int lf_bind_kernel(int is_double, const char *name, void *address);
void lf_bind_isa(int64_t register_bytes);

#endif
