/* A team of threads for one region of work at a time.
 *
 * lf_team_run(work, context, wanted) calls work(context, worker, workers) for each worker in
 * 0..workers-1, worker 0 on the calling thread, and returns when all have returned. `workers` is at
 * most `wanted`, and less when threads cannot be had: another thread's region is running, or the
 * system grants no more. Kernels leave the same bits whatever it is, so nothing is lost but time.
 * Inside a region flush-to-zero is set on every worker and restored when it leaves.
 * A forked child starts with no threads and makes its own.
 */
#ifndef LF_TEAM_H
#define LF_TEAM_H
#include <stdint.h>

#define LF_MAX_THREADS 255

typedef void (*lf_work)(void *context, int64_t worker, int64_t workers);

void lf_team_run(lf_work work, void *context, int64_t wanted);

/* Inside a region: wait until all its workers have come here. */
void lf_team_wait(int64_t workers);

/* The number of threads that a region may have: OMP_NUM_THREADS or the processors of this process
 * until it is set. Setting is clipped to 1..LF_MAX_THREADS. */
int64_t lf_get_num_threads(void);
void lf_set_num_threads(int64_t count);

#endif
