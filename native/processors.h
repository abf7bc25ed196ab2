/* How many processors this process may use. */
#ifndef LF_PROCESSORS_H
#define LF_PROCESSORS_H
#include <stdint.h>

/* Those that it may run on, or those that its container pays for if they are fewer; at least 1. */
int64_t lf_processors(void);

/* Those that its container pays for; 0 if there is no quota. */
int64_t lf_paid_processors(void);

/* The processors that control groups pay for, rounded up; 0 if they set no quota: the smallest of the
 * group that the file `membership` names (/proc/self/cgroup) and of those around it, as far as
 * `mount` shows them (/sys/fs/cgroup). */
int64_t lf_quota(const char *membership, const char *mount);

#endif
