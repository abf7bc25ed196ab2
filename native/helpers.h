/* Threads of our own that help in regions of team.h: they look at memory for a while after each, then
 * sleep. They take no signals, and a forked child makes its own. */
#ifndef LF_HELPERS_H
#define LF_HELPERS_H
#include <stdint.h>

/* Start helpers until there are `wanted` workers with the caller; returns the workers there are. */
int64_t lf_recruit(int64_t wanted);

/* Wake those of the first `workers` that sleep, if any: there is a region. */
void lf_wake_helpers(int64_t workers);

/* Does none of them sleep? */
int lf_helpers_are_awake(void);

/* In a child, after a fork. */
void lf_forget_helpers(void);

#endif
