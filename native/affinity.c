#define _GNU_SOURCE
#include "affinity.h"

#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>

void lf_know_thread(lf_affinity *a) {
    a->thread = (pid_t)syscall(SYS_gettid);
    if (sched_getaffinity(0, sizeof a->given, &a->given)) CPU_ZERO(&a->given);
}

int lf_this_processor(void) { return sched_getcpu(); }

void lf_keep_off(lf_affinity *a, int processor) {
    size_t size = sizeof(cpu_set_t);
    lf_restore_processors(a);
    if (processor < 0 || sched_getaffinity(a->thread, size, &a->allowed)) return;
    if (CPU_EQUAL(&a->allowed, &a->given) && sched_getaffinity(0, size, &a->allowed)) return;
    a->narrowed = a->allowed;
    CPU_CLR((size_t)processor, &a->narrowed);
    a->moved = CPU_COUNT(&a->narrowed) && !sched_setaffinity(a->thread, size, &a->narrowed);
}

/* (If somebody else has bound the thread meanwhile, that stands; but for the very processors that we
 * gave it, which nothing tells apart.) */
void lf_restore_processors(lf_affinity *a) {
    cpu_set_t now;
    if (a->moved && !sched_getaffinity(a->thread, sizeof now, &now) &&
        CPU_EQUAL(&now, &a->narrowed) && !sched_setaffinity(a->thread, sizeof now, &a->allowed))
        a->given = a->allowed;
    a->moved = 0;
}
#else
void lf_know_thread(lf_affinity *a) { (void)a; }
int lf_this_processor(void) { return -1; }
void lf_keep_off(lf_affinity *a, int processor) { (void)a, (void)processor; }
void lf_restore_processors(lf_affinity *a) { (void)a; }
#endif
