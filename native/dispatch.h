/* The table of kernels and the choice of one for this processor. */
#ifndef LF_KERNELS_H
#define LF_KERNELS_H
#include "kernel_table.h"

/* Choose the tables for this processor, or for a lesser instruction set named by `wanted`
 * ("v2", "v3", "v4", "v4vnni", "v4bf16", "neon"; NULL: the best). Returns 0, or -1 if `wanted` is
 * unknown or beyond this processor. */
int lf_choose_isa(const char *wanted);

/* The best instruction set of this processor, whether objects for it are linked in or not. */
const char *lf_best_isa(void);

/* "v4bf16", ..., "jit", or "none" while no kernels are bound. */
const char *lf_isa_name(void);

/* The table of a kind of numbers, LF_F32, LF_F64, LF_BF16 or LF_I8: floats, of which products with
 * weights take the nearest bfloat16, or int8. Its pointers are NULL while nothing is bound. */
const lf_table *lf_kernels(int kind);

/* Put one kernel compiled at run time into the table. Returns 0, or -1 for an unknown name. */
int lf_bind_kernel(int kind, const char *name, void *address);
void lf_bind_isa(int64_t register_bytes);

#endif
