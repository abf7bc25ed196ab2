/* Where a thread helps.
 *
 * Linux likes to wake a thread on the processor of the one that wakes it, and then takes
 * milliseconds to move one of the two to an idle processor. So a sleeper is kept off its waker's
 * processor until it sleeps again, or until a caller comes from where it is awake: then it is kept
 * off that one, as frameworks call from threads of theirs by turns. Meanwhile it may run where its
 * caller may, as the thread that started it may have been bound elsewhere. Elsewhere than on Linux
 * nothing is done.
 */
#ifndef LF_AFFINITY_H
#define LF_AFFINITY_H
#if defined(__linux__)
#ifndef _GNU_SOURCE
#error "lstmfast: _GNU_SOURCE, for cpu_set_t"
#endif
#include <sched.h>
#include <sys/types.h>
#endif

typedef struct lf_affinity {
    int moved; /* from `allowed` to `narrowed` */
#if defined(__linux__)
    pid_t thread;
    cpu_set_t allowed, narrowed;
    cpu_set_t given; /* what we have set, or it began with: others are a user's */
#endif
} lf_affinity;

/* That of the calling thread, as it begins. */
void lf_know_thread(lf_affinity *a);

/* The calling thread's processor; negative if that is unknown. */
int lf_this_processor(void);

/* Keep a thread off a processor, among those of the calling thread, and off no other. */
void lf_keep_off(lf_affinity *a, int processor);

/* Before it sleeps again. */
void lf_restore_processors(lf_affinity *a);

#endif
