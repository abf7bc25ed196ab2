/* The number of threads that a region may have.
 *
 * What set_num_threads said; else what a framework was told that calls us; else that of the process's
 * OpenMP runtime for the calling thread, as torch.set_num_threads sets it, but no more than a quota
 * pays for; else OMP_NUM_THREADS; else the processors of processors.h.
 */
#ifndef LF_THREADS_H
#define LF_THREADS_H
#include <stdint.h>

#define LF_MAX_THREADS 255

int64_t lf_get_num_threads(void);

/* Clipped to 1..LF_MAX_THREADS. */
void lf_set_num_threads(int64_t count);

/* As lf_set_num_threads, until it is called with the number that was `told` before: a limit for a
 * time, after which an OpenMP runtime is followed again. (Another may be limited first.) */
void lf_limit_num_threads(int64_t count, int64_t told);

/* What a framework was told; 0: nothing. */
void lf_follow_num_threads(int64_t count);

/* In a child, after a fork: what nobody has set is found anew. */
void lf_threads_after_fork(void);

#endif
