/* The OpenMP runtime that this process has loaded, for regions of team.h.
 *
 * After each of its operators PyTorch's threads spin for some milliseconds, on the processors that
 * threads of ours would need: so its threads do our work, too. No runtime is ever loaded from here.
 * Where there are several, it is PyTorch's, else the one that was loaded first; GNU's, LLVM's and
 * Intel's have the entries that are used, on Linux. A forked child leaves alone what its parent had
 * loaded, as GNU's would wait there for threads that are the parent's.
 */
#ifndef LF_OPENMP_H
#define LF_OPENMP_H
#include <stdint.h>

/* Look for a runtime if the process has loaded any library since the last look. */
void lf_openmp_look(void);

/* The file of the runtime whose threads may do regions; NULL if there is none. */
const char *lf_openmp_path(void);

/* How many threads the caller's next region would have if it asked for no number; 0 without a runtime. */
int64_t lf_openmp_threads(void);

/* Can the caller have a region now? Inside another it cannot. */
int lf_openmp_serves(void);

/* Call member(thread, threads) on threads 0, 1, ...: the caller is 0, and there are as many as are
 * granted, which may be fewer than `wanted`, or more. */
void lf_openmp_run(void (*member)(int64_t thread, int64_t threads), int64_t wanted);

/* Around a fork (pthread_atfork): nobody looks meanwhile, and the child knows what it must not use. */
void lf_openmp_before_fork(void);
void lf_openmp_in_parent(void);
void lf_openmp_in_child(void);

#endif
