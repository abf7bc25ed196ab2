/* Long calls of Python's main thread look at signals now and then, so that Ctrl-C ends them.
 *
 * Whoever calls for Python (bindings.pxi) begins a watch around a call; on any other thread than the
 * process's first that does nothing. Work that is long enough (schedule.c) is then cut into pieces
 * that leave the same bits; between two of them every thread asks lf_stop, and the first thread looks at
 * signals, a few times a second. After a stop all work that is left returns at once: outputs are
 * half-written, nothing else is. Callers of the C-level API never have a watch.
 */
#ifndef LF_WATCH_H
#define LF_WATCH_H
#include <stdatomic.h>
#include <stdint.h>

#include "flags.h"

enum { LF_STOPPED = 256 }; /* a bit of a status */

typedef struct lf_watch {
    struct lf_watch *outer; /* of the call under way when a signal's handler made this one */
    double begun;           /* ns of work, by estimate, since one was long enough to look */
    int64_t due;            /* when signals are to be looked at; 0: not known yet */
    lf_flags flags;         /* the caller's, for handlers */
    atomic_int stopped;
} lf_watch;

/* What looks at signals: true to stop. Called on the first thread only, with its own flags. */
void lf_watch_with(int (*look)(void));

void lf_watch_begin(lf_watch *watch);

/* LF_STOPPED if the call was stopped, else 0. */
int lf_watch_end(lf_watch *watch);

/* The watch that work of so many ns (an estimate) is to ask; NULL for none: short work need not. */
lf_watch *lf_watch_for(double ns);

/* Is the work to end? Any thread may ask; NULL is never stopped. */
int lf_stop(lf_watch *watch);

#endif
