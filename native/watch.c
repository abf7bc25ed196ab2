#define _GNU_SOURCE
#include "watch.h"

#include <unistd.h>

#include "glibc.h"
#include "look.h"
#if defined(__linux__)
#include <sys/syscall.h>
#endif

/* ns of work, by estimate, that need not be cut; ns between two looks at signals. */
#define SHORT 2e6
#ifndef LF_EVERY
#define LF_EVERY 100000000
#endif

static int (*look_at_signals)(void);
static _Thread_local lf_watch *current;
static _Thread_local int is_first; /* 0: not known, 1: the process's first thread, -1: another */

/* ---------------------------------------------------------------- whose signals they are */

static int find_out(void) {
#if defined(__linux__)
    return syscall(SYS_gettid) == getpid() ? 1 : -1;
#elif defined(__APPLE__)
    return pthread_main_np() ? 1 : -1;
#else
    return -1;
#endif
}

/* Whoever forked is the child's first thread. */
static void after_fork_in_child(void) { is_first = 0; }

static void watch_forks(void) { pthread_atfork(NULL, NULL, after_fork_in_child); }

void lf_watch_with(int (*look)(void)) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, watch_forks);
    look_at_signals = look;
}

/* ---------------------------------------------------------------- calls */

void lf_watch_begin(lf_watch *watch) {
    if (!is_first) is_first = find_out();
    if (is_first < 0 || !look_at_signals) return;
    watch->outer = current;
    watch->begun = 0;
    watch->due = 0;
    watch->flags = lf_get_flags();
    atomic_init(&watch->stopped, 0);
    current = watch;
}

int lf_watch_end(lf_watch *watch) {
    if (current != watch) return 0;
    current = watch->outer;
    return atomic_load(&watch->stopped) ? LF_STOPPED : 0;
}

lf_watch *lf_watch_for(double ns) {
    lf_watch *watch = current;
    if (!watch) return NULL;
    watch->begun += ns;
    if (watch->begun < SHORT && !atomic_load(&watch->stopped)) return NULL;
    watch->begun = 0;
    return watch;
}

static int handle_signals(const lf_watch *watch) {
    lf_flags inside = lf_get_flags();
    lf_set_flags(watch->flags);
    int stop = look_at_signals();
    lf_set_flags(inside);
    return stop;
}

int lf_stop(lf_watch *watch) {
    if (!watch) return 0;
    if (atomic_load_explicit(&watch->stopped, memory_order_relaxed)) return 1;
    if (watch != current) return 0;
    int64_t now = lf_nanoseconds();
    if (!watch->due) watch->due = now + LF_EVERY;
    if (now < watch->due) return 0;
    int stop = handle_signals(watch);
    watch->due = lf_nanoseconds() + LF_EVERY;
    atomic_store(&watch->stopped, stop);
    return stop;
}
