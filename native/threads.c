#include "threads.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "openmp.h"
#include "processors.h"

static atomic_llong asked, followed; /* 0: nothing */
static atomic_llong unlimited;       /* the number before a limit where none was asked for */
static atomic_llong own, paid;       /* 0: not known yet; paid -1: no quota */

static int64_t clip(long long count) {
    return count < 1 ? 1 : count > LF_MAX_THREADS ? LF_MAX_THREADS : count;
}

static int64_t own_default(void) {
    const char *text = getenv("OMP_NUM_THREADS");
    long long count = text ? strtoll(text, NULL, 10) : 0;
    return clip(count > 0 ? count : lf_processors());
}

/* What is kept in `kept`, or else found by `find`, unless another thread found it meanwhile. */
static int64_t once(atomic_llong *kept, int64_t (*find)(void)) {
    long long count = atomic_load(kept);
    if (count) return count;
    long long first = find();
    return atomic_compare_exchange_strong(kept, &count, first) ? first : count;
}

static int64_t paid_or_none(void) {
    int64_t count = lf_paid_processors();
    return count ? count : -1;
}

int64_t lf_get_num_threads(void) {
    long long count = atomic_load(&asked);
    if (count || (count = atomic_load(&followed))) return count;
    if (!(count = lf_openmp_threads())) return once(&own, own_default);
    long long quota = once(&paid, paid_or_none);
    return clip(quota > 0 && quota < count ? quota : count);
}

void lf_set_num_threads(int64_t count) {
    atomic_store(&unlimited, 0);
    atomic_store(&asked, clip(count));
}

void lf_limit_num_threads(int64_t count, int64_t told) {
    long long before = atomic_load(&unlimited);
    if (before && before == count) {
        atomic_store(&asked, 0);
        atomic_store(&unlimited, 0);
        return;
    }
    if (!atomic_load(&asked)) before = told;
    atomic_store(&asked, clip(count));
    atomic_store(&unlimited, before);
}

void lf_follow_num_threads(int64_t count) { atomic_store(&followed, count > 0 ? clip(count) : 0); }

void lf_threads_after_fork(void) {
    atomic_store(&own, 0);
    atomic_store(&paid, 0);
}
