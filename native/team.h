/* A team of threads for one region of work at a time: those of the process's OpenMP runtime (openmp.h),
 * or helpers of our own (helpers.h) where there is none, or the caller is inside a region of it.
 *
 * A region is a number of shares, each done once by a call work(context, share, shares). Kernels
 * leave the same bits however many shares there are and whoever does them: nothing is lost but time
 * when threads cannot be had, because another thread's region is running, because the system grants
 * no more, or because a neighbour has the processor. Inside a region every thread has the flags of
 * flags.h, and its own when it leaves. A forked child has helpers of its own.
 */
#ifndef LF_TEAM_H
#define LF_TEAM_H
#include <stdint.h>

#include "watch.h"

/* Whose threads regions may have. Where LF_OPENMP_POOL finds none, their callers do them alone. */
typedef enum { LF_ANY_POOL, LF_OWN_POOL, LF_OPENMP_POOL } lf_pool;

/* Once for the process, before any region. */
void lf_team_begin(lf_pool pool);

/* Are regions that this thread opens for our own helpers only, where any pool would do? Set by the
 * threads of frameworks that have a pool beside OpenMP's and call from its threads by turns: a runtime
 * would start a team for each of them. Returns what was said before. */
int lf_team_keep_own(int own);

/* The file of the runtime that would do the next region; NULL for helpers of our own. */
const char *lf_team_openmp(void);

typedef void (*lf_work)(void *context, int64_t share, int64_t shares);

/* Is work of so many ns worth sharing? Much work is; less than LF_LITTLE is not; what lies between is
 * when the threads are awake, or when such calls follow each other and will find them so. */
#define LF_LITTLE 8000
int lf_team_is_worth(double ns);

/* Shares that do not meet, for as many threads as `wanted` or fewer; all in one where no thread can be
 * had. Whoever has done one takes another that nobody has begun. Where a thread may come late, as one
 * of our own does, there are `times` as many shares as threads: some are left for it then. Shares ask
 * lf_stop of `watch`, or NULL, where they can be cut; the caller does so while it waits. */
void lf_team_run(lf_work work, void *context, int64_t wanted, int64_t times, lf_watch *watch);

/* Shares that wait for each other: as many as threads have come within `patience` ns. Between two
 * waits they may take times that differ by `step` ns; longer waits are for a thread that has lost
 * its processor. */
void lf_team_run_together(lf_work work, void *context, int64_t wanted, int64_t patience,
                          int64_t step, lf_watch *watch);

/* Inside such a region: wait until all its shares have come here. All are told the same: LF_ALONE if
 * too much time went by in waiting, and share 0 is to do all the rest, the others to return; LF_END
 * if the watch has stopped, and all are to return. */
enum { LF_GO_ON, LF_ALONE, LF_END };
int lf_team_wait(int64_t shares);

/* Has this thread been forked in the middle of a region, by a signal's handler? What helpers of the
 * parent have done in it is lost; it is to stop its watch. */
int lf_team_is_lost(void);

/* For helpers: the number of the last region that was theirs to help in; and to do so, as worker 1,
 * 2, ..., which returns the number of the region that it came to, open or not. */
uint64_t lf_team_region(void);
uint64_t lf_team_help(int64_t worker);

#endif
